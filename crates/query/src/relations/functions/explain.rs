//! `explain_customer(id [, day])`: what every rule says about one customer, term by term, now or at
//! the close of a past day.
//!
//! The rules are compiled here as the engine has them, and judged on the same figures. Of a past day
//! the history has the figures, what was held and the version of the rules, but not the rules
//! themselves: under another version than the one in force only what was held is told.

use std::sync::Arc;

use cardlens_lens::Lens;
use cardlens_model::{Axis, Day, Evidence, Number};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int32Type, Schema, SchemaRef,
};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{not_impl_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use futures::{FutureExt, StreamExt};

use super::as_of;
use super::computed::Computed;
use crate::relations::catalog::Picture;
use crate::relations::past::{PastTable, Source};
use crate::relations::shape::{Names, each_bit, ints, money};
use crate::scan::{Form, Literal, Op, Predicate, Stored};

/// Where a customer stands, beside the features of the rules.
const STANDING: [&str; 3] = ["value_tier", "lifecycle", "needs"];

fn schema() -> SchemaRef {
    let text = |name, null| Field::new(name, DataType::Utf8, null);
    let flag = |name, null| Field::new(name, DataType::Boolean, null);
    let figure = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        text("axis", false),
        text("rule", false),
        flag("held", false),
        flag("enter", true),
        flag("exit", true),
        figure("score"),
        text("term", true),
        text("feature", true),
        figure("value"),
        text("op", true),
        figure("bound"),
        figure("margin"),
        figure("weight"),
        Field::new("rules_version", DataType::Int32, false),
    ]))
}

/// The function; money in its answer is in minor units, as rules have it.
pub(super) struct Explain {
    pub(super) picture: Arc<Picture>,
}

impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explain").finish_non_exhaustive()
    }
}

impl TableFunctionImpl for Explain {
    fn call_with_args(
        &self,
        arguments: TableFunctionArgs<'_, '_>,
    ) -> Result<Arc<dyn TableProvider>> {
        let text = |it: &Expr| match it {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        let asked = match arguments.exprs() {
            [customer] => text(customer).map(|customer| (customer, None)),
            [customer, day] => text(customer).zip(as_of::day(day).map(Some)),
            _ => None,
        };
        let Some((customer, day)) = asked else {
            return plan_err!(
                "explain_customer() takes one constant text, and a constant day, such as \
                 '2026-06-30', where it is about the past"
            );
        };
        let past = day.map(|day| past(&self.picture, day)).transpose()?;
        let picture = Arc::clone(&self.picture);
        let compute = move |context: Arc<TaskContext>| {
            let (picture, past, customer) = (Arc::clone(&picture), past.clone(), customer.clone());
            async move {
                match past {
                    None => explain(&picture, customer).await,
                    Some(past) => explain_past(&picture, &past, &customer, &context).await,
                }
            }
            .boxed()
        };
        Ok(Arc::new(Computed::new(schema(), compute)))
    }
}

/// Where a customer stands, by name.
struct Standing {
    tier: Option<String>,
    stage: Option<String>,
    needs: Vec<String>,
}

impl Standing {
    fn holds(&self, axis: Axis, rule: &str) -> bool {
        match axis {
            Axis::Value => self.tier.as_deref() == Some(rule),
            Axis::Lifecycle => self.stage.as_deref() == Some(rule),
            Axis::Need => self.needs.iter().any(|need| need == rule),
        }
    }
}

async fn explain(picture: &Picture, customer: String) -> Result<RecordBatch> {
    let (lens, meaning) = (picture.known.lens()?, &picture.known.meaning);
    let mut columns: Vec<String> =
        lens.schema().fields().iter().map(|f| f.name().clone()).collect();
    columns.extend(STANDING.iter().map(|name| (*name).to_owned()));
    let column = "customer_id".to_owned();
    let id = Predicate { column, op: Op::Eq, literal: Literal::Text(customer) };
    let mut found = None;
    for taken in picture.pins().await?.values() {
        let scan = taken.scan(Stored::Customers, columns.clone(), vec![id.clone()]);
        let mut rows = picture.rows(taken, scan).await?;
        while let Some(batch) = rows.next().await {
            found = Some(batch?).filter(|batch| batch.num_rows() > 0).or(found);
        }
    }
    let Some(row) = found else { return Ok(RecordBatch::new_empty(schema())) };
    let rules: Vec<usize> = (0..lens.schema().fields().len()).collect();
    let [tier, stage, needs] = STANDING.map(|name| ints(&row, name).map(|it| it.value(0)));
    let name = |names, place| meaning.name(names, place).map(str::to_owned);
    let mut standing = Standing {
        tier: name(Names::Tiers, tier?),
        stage: name(Names::Stages, stage?),
        needs: Vec::new(),
    };
    each_bit(needs?, |need| {
        let place = i64::try_from(need).unwrap_or(i64::MAX);
        standing.needs.extend(name(Names::Needs, place));
    });
    judged(&lens, &row.project(&rules)?, &standing)
}

/// What the history has of a day: where customers stood, and the figures that the rules read.
fn past(picture: &Arc<Picture>, day: Day) -> Result<PastTable> {
    let Some(files) = picture.history.clone() else {
        return not_impl_err!("explain_customer() of a day reads [history], which is not enabled");
    };
    let description = &picture.known.meaning.description;
    let mut fields = as_of::customers(picture);
    let day_column = fields.pop();
    for field in picture.known.lens()?.schema().fields() {
        let data_type = match description.form(field.name()) {
            Some(Form::Money) => money(description.currency_exponent),
            _ => field.data_type().clone(),
        };
        fields.push(Field::new(field.name(), data_type, true));
    }
    fields.extend(day_column);
    let (picture, source) = (Arc::clone(picture), Source::Profiles(day));
    Ok(PastTable { picture, files, source, schema: Arc::new(Schema::new(fields)) })
}

async fn explain_past(
    picture: &Picture,
    past: &PastTable,
    customer: &str,
    context: &Arc<TaskContext>,
) -> Result<RecordBatch> {
    let Some(row) = past.row_of(customer, context).await? else {
        return Ok(RecordBatch::new_empty(schema()));
    };
    let text = |name: &str| {
        let column = row.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(0).then(|| column.value(0).to_owned())
    };
    let list = |name: &str| {
        let column = row.column_by_name(name)?.as_list_opt::<i32>()?;
        column.is_valid(0).then(|| column.value(0))
    };
    let needs = list("needs");
    let needs = needs.iter().filter_map(|it| it.as_string_opt::<i32>()).flatten().flatten();
    let standing = Standing {
        tier: text("value_tier"),
        stage: text("lifecycle"),
        needs: needs.map(str::to_owned).collect(),
    };
    let version = row.column_by_name("rules_version");
    let version = version.and_then(|it| it.as_primitive_opt::<Int32Type>()).map(|it| it.value(0));
    let lens = picture.known.lens()?;
    let now = i32::try_from(lens.rules().version).ok();
    let figures = if version == now { figures(&lens, &row)? } else { None };
    match figures {
        Some(figures) => judged(&lens, &figures, &standing),
        None => held(&standing, list("needs_score").as_ref(), version.unwrap_or_default()),
    }
}

/// The figures of a profile as rules read them; none when one of them was not kept.
fn figures(lens: &Lens, row: &RecordBatch) -> Result<Option<RecordBatch>> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(lens.schema().fields().len());
    for field in lens.schema().fields() {
        let known = row.column_by_name(field.name()).filter(|column| column.is_valid(0));
        let Some(column) = known else { return Ok(None) };
        let minor = column.as_primitive_opt::<Decimal128Type>().map(|money| money.value(0));
        arrays.push(match minor {
            Some(minor) => Arc::new(Int64Array::from(vec![i64::try_from(minor).ok()])),
            None => Arc::clone(column),
        });
    }
    Ok(Some(RecordBatch::try_new(Arc::clone(lens.schema()), arrays)?))
}

/// A rule, and one of its terms where they are known.
struct Line<'a> {
    axis: Axis,
    rule: &'a str,
    held: bool,
    /// Whether `enter` and `exit` hold.
    holds: Option<(bool, bool)>,
    score: Option<f64>,
    evidence: Option<&'a Evidence<'a>>,
}

/// What the rules in force say of figures: one row a term.
fn judged(lens: &Lens, figures: &RecordBatch, standing: &Standing) -> Result<RecordBatch> {
    let judging = |error: cardlens_lens::Error| DataFusionError::External(Box::new(error));
    let judged = lens.evaluate(figures).map_err(judging)?;
    let explanations = lens.explain(figures, &judged, 0).map_err(judging)?;
    let lines = explanations.iter().flat_map(|it| {
        let held = standing.holds(it.axis, it.rule);
        it.evidence.iter().map(move |evidence| Line {
            axis: it.axis,
            rule: it.rule,
            held,
            holds: Some((it.enter, it.exit)),
            score: it.score,
            evidence: Some(evidence),
        })
    });
    let version = i32::try_from(lens.rules().version).unwrap_or(i32::MAX);
    batch(&lines.collect::<Vec<_>>(), version)
}

/// What was held under rules that are not known any more: one row a segment.
fn held(standing: &Standing, scores: Option<&ArrayRef>, version: i32) -> Result<RecordBatch> {
    let line =
        |axis, rule, score| Line { axis, rule, held: true, holds: None, score, evidence: None };
    let scores = scores.and_then(|it| it.as_primitive_opt::<Float64Type>());
    let score = |at| scores.filter(|it| at < it.len() && it.is_valid(at)).map(|it| it.value(at));
    let tier = standing.tier.iter().map(|tier| line(Axis::Value, tier, None));
    let stage = standing.stage.iter().map(|stage| line(Axis::Lifecycle, stage, None));
    let needs = standing.needs.iter().enumerate();
    let needs = needs.map(|(at, need)| line(Axis::Need, need, score(at)));
    batch(&tier.chain(stage).chain(needs).collect::<Vec<_>>(), version)
}

fn batch(all: &[Line<'_>], version: i32) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Line<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let flag = |of: &dyn Fn(&Line<'_>) -> Option<bool>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<BooleanArray>())
    };
    let figure = |of: &dyn Fn(&Evidence<'_>) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(|line| line.evidence.and_then(of)).collect::<Float64Array>())
    };
    let arrays: Vec<ArrayRef> = vec![
        text(&|line| Some(line.axis.name().to_owned())),
        text(&|line| Some(line.rule.to_owned())),
        flag(&|line| Some(line.held)),
        flag(&|line| line.holds.map(|(enter, _)| enter)),
        flag(&|line| line.holds.map(|(_, exit)| exit)),
        Arc::new(all.iter().map(|line| line.score).collect::<Float64Array>()),
        text(&|line| line.evidence.map(|it| it.term.to_owned())),
        text(&|line| line.evidence.and_then(|it| it.feature).map(str::to_owned)),
        figure(&|evidence| float(evidence.value)),
        text(&|line| line.evidence.and_then(|it| it.op).map(str::to_owned)),
        figure(&|evidence| evidence.bound.and_then(float)),
        figure(&|evidence| evidence.margin.and_then(float)),
        figure(&|evidence| evidence.weight),
        Arc::new(Int32Array::from(vec![version; all.len()])),
    ];
    Ok(RecordBatch::try_new(schema(), arrays)?)
}

#[allow(clippy::cast_precision_loss, reason = "shown beside a bound, not added up")]
fn float(number: Number) -> Option<f64> {
    match number {
        Number::Int(value) => Some(value as f64),
        Number::Float(value) => Some(value),
        Number::Bool(value) => Some(f64::from(u8::from(value))),
        Number::Null => None,
    }
}
