//! `explain_customer(id)`: what every rule says about one customer now, term by term.
//!
//! The rules are compiled here as the engine has them, and judged on the same figures.

use std::sync::Arc;

use cardlens_lens::{Explanation, Lens};
use cardlens_model::{Axis, Evidence, Number};
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use futures::{FutureExt, StreamExt};

use super::computed::Computed;
use crate::relations::catalog::Picture;
use crate::relations::shape::ints;
use crate::scan::{Literal, Op, Predicate, Stored};

/// Where a customer stands, beside the features of the rules.
const STANDING: [&str; 3] = ["value_tier", "lifecycle", "needs"];

fn schema() -> SchemaRef {
    let text = |name, null| Field::new(name, DataType::Utf8, null);
    let flag = |name| Field::new(name, DataType::Boolean, false);
    let figure = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        text("axis", false),
        text("rule", false),
        flag("held"),
        flag("enter"),
        flag("exit"),
        figure("score"),
        text("term", false),
        text("feature", true),
        figure("value"),
        text("op", true),
        figure("bound"),
        figure("margin"),
        figure("weight"),
    ]))
}

/// The table; money in it is in minor units, as rules have it.
pub(super) fn table(picture: &Arc<Picture>, customer: &str) -> Result<Arc<dyn TableProvider>> {
    let (picture, customer) = (Arc::clone(picture), customer.to_owned());
    let compute = move || {
        let (picture, customer) = (Arc::clone(&picture), customer.clone());
        async move { explain(&picture, customer).await }.boxed()
    };
    Ok(Arc::new(Computed::new(schema(), compute)))
}

async fn explain(picture: &Picture, customer: String) -> Result<RecordBatch> {
    let lens = picture.known.lens()?;
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
    let figures = row.project(&rules)?;
    let judging = |error: cardlens_lens::Error| DataFusionError::External(Box::new(error));
    let judged = lens.evaluate(&figures).map_err(judging)?;
    let explanations = lens.explain(&figures, &judged, 0).map_err(judging)?;
    let mut standing = Vec::with_capacity(STANDING.len());
    for name in STANDING {
        standing.push(ints(&row, name)?.value(0));
    }
    lines(&explanations, &lens, &standing)
}

/// One row a term.
fn lines(explanations: &[Explanation<'_>], lens: &Lens, standing: &[i64]) -> Result<RecordBatch> {
    let held = |explanation: &Explanation<'_>| {
        let rules = lens.rules();
        let named = |place: i64| usize::try_from(place).ok();
        match explanation.axis {
            Axis::Value => named(standing[0]).and_then(|at| rules.tiers.get(at)).map(|it| &it.name),
            Axis::Lifecycle => {
                named(standing[1]).and_then(|at| rules.lifecycle.get(at)).map(|it| &it.name)
            }
            Axis::Need => {
                let bits = standing[2];
                let mut needs = rules.needs.iter().enumerate();
                needs
                    .find(|(at, need)| need.name == explanation.rule && bits >> at & 1 == 1)
                    .map(|(_, need)| &need.name)
            }
        }
        .is_some_and(|name| name == explanation.rule)
    };
    let all: Vec<(&Explanation<'_>, &Evidence<'_>)> = explanations
        .iter()
        .flat_map(|explanation| explanation.evidence.iter().map(move |it| (explanation, it)))
        .collect();
    let text = |of: &dyn Fn(&(&Explanation<'_>, &Evidence<'_>)) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let flag = |of: &dyn Fn(&Explanation<'_>) -> bool| -> ArrayRef {
        Arc::new(all.iter().map(|(explanation, _)| Some(of(explanation))).collect::<BooleanArray>())
    };
    let figure = |of: &dyn Fn(&(&Explanation<'_>, &Evidence<'_>)) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<Float64Array>())
    };
    let arrays = vec![
        text(&|(explanation, _)| Some(explanation.axis.name().to_owned())),
        text(&|(explanation, _)| Some(explanation.rule.to_owned())),
        flag(&held),
        flag(&|explanation| explanation.enter),
        flag(&|explanation| explanation.exit),
        figure(&|(explanation, _)| explanation.score),
        text(&|(_, evidence)| Some(evidence.term.to_owned())),
        text(&|(_, evidence)| evidence.feature.map(str::to_owned)),
        figure(&|(_, evidence)| float(evidence.value)),
        text(&|(_, evidence)| evidence.op.map(str::to_owned)),
        figure(&|(_, evidence)| evidence.bound.and_then(float)),
        figure(&|(_, evidence)| evidence.margin.and_then(float)),
        figure(&|(_, evidence)| evidence.weight),
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
