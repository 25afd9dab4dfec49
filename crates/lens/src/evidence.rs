//! Why: the terms a change was judged on, and what nearly happened too.
//!
//! Computed for rows that change and on request, never for every row. A plain comparison of a
//! feature with a constant is read straight from its column, and so is a feature divided by a
//! constant, which counts in full from there on; anything else is evaluated for the one row. Numbers are rounded to six decimals, so an explanation is the same on every machine.

mod exit;

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, BooleanArray, Float64Array, PrimitiveArray, RecordBatch};
use arrow_schema::SchemaRef;
use cardlens_model::{
    Axis, Cause, Change, ChangeKind, EventTime, Evidence, NearestMiss, Now, Number,
};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

use crate::compile::Compiler;
use crate::error::Error;
use crate::expression::{Expression, SCORE};
use crate::lens::{Judged, Lens};
use crate::ruleset::{RuleSet, Stage};
use crate::standings::{Move, Placement};
use exit::OfScore;

/// What tipped a change and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Tip<'a> {
    /// The customer.
    pub customer: &'a str,
    /// What tipped it.
    pub cause: Cause,
    /// The transaction that tipped it, if one did.
    pub causation_id: Option<&'a str>,
    /// Event time of the causing record, or the end of the day that closed.
    pub effective_at: EventTime,
}

/// What a rule says about a row, held or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation<'a> {
    /// The axis of the rule.
    pub axis: Axis,
    /// Name of the rule.
    pub rule: &'a str,
    /// `enter` of a need, or `when` of a tier or stage, holds.
    pub enter: bool,
    /// `exit` holds.
    pub exit: bool,
    /// The score, for a need.
    pub score: Option<f64>,
    /// Its terms and conditions on this row.
    pub evidence: Vec<Evidence<'a>>,
}

/// One condition or term, ready to be looked at for a row.
#[derive(Debug, Clone)]
struct Fact {
    text: String,
    plain: Option<Plain>,
    physical: Arc<dyn PhysicalExpr>,
    weight: Option<f64>,
}

/// A comparison of a feature with a constant.
#[derive(Debug, Clone)]
struct Plain {
    feature: String,
    column: usize,
    op: &'static str,
    bound: Number,
}

/// The facts of one rule.
#[derive(Debug, Clone)]
struct Facts {
    terms: Vec<Fact>,
    /// Conditions of `enter` or `when`, the score's excepted.
    enter: Vec<Fact>,
    exit: Vec<Fact>,
    /// What `enter` asks of the score.
    bound: Option<f64>,
    /// What `exit` asks of the score, or `enter` where there is no `exit`.
    leaving: Option<OfScore>,
}

/// The facts of all rules.
#[derive(Debug)]
pub(crate) struct Explain {
    needs: Vec<Facts>,
    tiers: Vec<Facts>,
    lifecycle: Vec<Facts>,
}

impl Explain {
    pub(crate) fn new(
        rules: &RuleSet,
        compiler: &Compiler,
        schema: &SchemaRef,
    ) -> datafusion_common::Result<Self> {
        let fact = |ast: &Expr, text: String, weight: Option<f64>| {
            let physical = compiler.compile(ast)?.physical;
            let plain =
                plain(ast, schema).or_else(|| portion(ast, schema).filter(|_| weight.is_some()));
            Ok(Fact { text, plain, physical, weight })
        };
        let conditions = |rule: Option<&Expression>| -> datafusion_common::Result<Vec<Fact>> {
            let arms = rule.map(Expression::conjuncts).unwrap_or_default();
            let arms = arms.into_iter().filter(|arm| !reads_score(arm) && !constant(arm));
            arms.map(|arm| fact(arm, arm.to_string(), None)).collect()
        };
        let stages = |stages: &[Stage]| -> datafusion_common::Result<Vec<Facts>> {
            let facts = stages.iter().map(|stage| {
                Ok(Facts {
                    terms: Vec::new(),
                    enter: conditions(Some(&stage.when))?,
                    exit: conditions(stage.exit.as_ref())?,
                    bound: None,
                    leaving: None,
                })
            });
            facts.collect()
        };
        let needs = rules.needs.iter().map(|need| {
            let terms = need.terms.iter().map(|term| {
                let weight = f64::from(term.weight_micro) / 1e6;
                fact(&term.expression.ast, term.expression.text.clone(), Some(weight))
            });
            Ok(Facts {
                terms: terms.collect::<datafusion_common::Result<_>>()?,
                enter: conditions(Some(&need.enter))?,
                exit: conditions(need.exit.as_ref())?,
                bound: need.enter.conjuncts().into_iter().find_map(score_bound),
                leaving: OfScore::new(need.exit.as_ref().unwrap_or(&need.enter)),
            })
        });
        Ok(Self {
            needs: needs.collect::<datafusion_common::Result<_>>()?,
            tiers: stages(&rules.tiers)?,
            lifecycle: stages(&rules.lifecycle)?,
        })
    }

    fn of(&self, axis: Axis) -> &[Facts] {
        match axis {
            Axis::Need => &self.needs,
            Axis::Value => &self.tiers,
            Axis::Lifecycle => &self.lifecycle,
        }
    }
}

fn reads_score(expr: &Expr) -> bool {
    let text = expr.to_string().to_ascii_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| word == SCORE)
}

fn constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(_))
}

/// `score >= x` or `score > x`.
fn score_bound(expr: &Expr) -> Option<f64> {
    let (name, op, bound) = comparison(expr)?;
    (name == SCORE && matches!(op, ">=" | ">")).then(|| float(bound)).flatten()
}

fn plain(expr: &Expr, schema: &SchemaRef) -> Option<Plain> {
    let (feature, op, bound) = comparison(expr)?;
    let (column, _) = schema.column_with_name(&feature)?;
    Some(Plain { feature, column, op, bound })
}

/// A term such as `txn_90d / 8.0`: it counts in full where the column is at least the constant, and
/// is shown as that comparison.
fn portion(expr: &Expr, schema: &SchemaRef) -> Option<Plain> {
    let Expr::BinaryOp { left, op: BinaryOperator::Divide, right } = unnested(expr) else {
        return None;
    };
    let Expr::Identifier(name) = unnested(left) else { return None };
    let bound = number(right).filter(|bound| float(*bound).is_some_and(|bound| bound > 0.0))?;
    let feature = name.value.to_ascii_lowercase();
    let (column, _) = schema.column_with_name(&feature)?;
    Some(Plain { feature, column, op: ">=", bound })
}

/// Column, operator and constant of a plain comparison, the column on the left.
fn comparison(expr: &Expr) -> Option<(String, &'static str, Number)> {
    let expr = unnested(expr);
    let Expr::BinaryOp { left, op, right } = expr else { return None };
    let (op, swapped) = match op {
        BinaryOperator::GtEq => (">=", "<="),
        BinaryOperator::Gt => (">", "<"),
        BinaryOperator::LtEq => ("<=", ">="),
        BinaryOperator::Lt => ("<", ">"),
        BinaryOperator::Eq => ("=", "="),
        BinaryOperator::NotEq => ("<>", "<>"),
        _ => return None,
    };
    match (unnested(left), unnested(right)) {
        (Expr::Identifier(name), bound) => {
            Some((name.value.to_ascii_lowercase(), op, number(bound)?))
        }
        (bound, Expr::Identifier(name)) => {
            Some((name.value.to_ascii_lowercase(), swapped, number(bound)?))
        }
        _ => None,
    }
}

fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        expr => expr,
    }
}

fn number(expr: &Expr) -> Option<Number> {
    match unnested(expr) {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match number(expr)? {
            Number::Int(value) => value.checked_neg().map(Number::Int),
            Number::Float(value) => Some(Number::Float(-value)),
            Number::Bool(_) | Number::Null => None,
        },
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => {
                let text = digits.to_string();
                let int = text.parse().ok().map(Number::Int);
                int.or_else(|| text.parse().ok().map(Number::Float))
            }
            _ => None,
        },
        _ => None,
    }
}

fn float(number: Number) -> Option<f64> {
    match number {
        #[expect(clippy::cast_precision_loss, reason = "as SQL casts")]
        Number::Int(value) => Some(value as f64),
        Number::Float(value) => Some(value),
        Number::Bool(_) | Number::Null => None,
    }
}

/// A figure as it is published.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    // A negative zero would print as one.
    if rounded == 0.0 { 0.0 } else { rounded }
}

fn less(value: Number, bound: Number) -> Option<Number> {
    match (value, bound) {
        (Number::Int(value), Number::Int(bound)) => value.checked_sub(bound).map(Number::Int),
        (value, bound) => Some(Number::Float(rounded(float(value)? - float(bound)?))),
    }
}

/// Whether a value compares so with a bound.
fn compares(value: f64, op: &str, bound: f64) -> bool {
    let order = value.total_cmp(&bound);
    match op {
        ">=" => order.is_ge(),
        ">" => order.is_gt(),
        "<=" => order.is_le(),
        "<" => order.is_lt(),
        "=" => order.is_eq(),
        _ => order.is_ne(),
    }
}

/// How far a value is from a bound, against the bound.
fn apart(value: f64, bound: f64) -> f64 {
    (value - bound).abs() / if bound == 0.0 { 1.0 } else { bound.abs() }
}

/// The value of a column on a row.
fn cell(batch: &RecordBatch, column: usize, row: usize) -> Number {
    let array = batch.column(column);
    if array.is_null(row) {
        return Number::Null;
    }
    if let Some(ints) = array.as_any().downcast_ref::<PrimitiveArray<Int64Type>>() {
        return Number::Int(ints.value(row));
    }
    match array.as_any().downcast_ref::<PrimitiveArray<Float64Type>>() {
        Some(floats) => Number::Float(floats.value(row)),
        None => Number::Null,
    }
}

impl Fact {
    /// The value of the whole term on a row.
    fn evaluate(&self, batch: &RecordBatch, row: usize) -> Result<Number, Error> {
        let value = self.physical.evaluate(&batch.slice(row, 1));
        let array = value.and_then(|value| value.into_array(1)).map_err(|source| {
            Error::Evaluate { expression: self.text.clone(), source: Box::new(source) }
        })?;
        if array.is_null(0) {
            return Ok(Number::Null);
        }
        if let Some(condition) = array.as_any().downcast_ref::<BooleanArray>() {
            return Ok(Number::Bool(condition.value(0)));
        }
        let number = array.as_any().downcast_ref::<Float64Array>().map(|floats| floats.value(0));
        Ok(number.map_or(Number::Null, Number::Float))
    }

    fn evidence(&self, batch: &RecordBatch, row: usize) -> Result<Evidence<'_>, Error> {
        let shown = |number| match number {
            Number::Float(value) => Number::Float(rounded(value)),
            other => other,
        };
        let Some(plain) = &self.plain else {
            return Ok(Evidence {
                term: &self.text,
                feature: None,
                value: shown(self.evaluate(batch, row)?),
                op: None,
                bound: None,
                margin: None,
                weight: self.weight,
            });
        };
        let value = cell(batch, plain.column, row);
        Ok(Evidence {
            term: &self.text,
            feature: Some(&plain.feature),
            value: shown(value),
            op: Some(plain.op),
            bound: Some(plain.bound),
            margin: less(value, plain.bound),
            weight: self.weight,
        })
    }

    /// Whether the condition holds, or the number is as large as counts.
    fn met(&self, batch: &RecordBatch, row: usize) -> Result<bool, Error> {
        if let Some(plain) = &self.plain {
            let value = float(cell(batch, plain.column, row));
            if let (Some(value), Some(bound)) = (value, float(plain.bound)) {
                return Ok(compares(value, plain.op, bound));
            }
        }
        Ok(match self.evaluate(batch, row)? {
            Number::Bool(holds) => holds,
            number => float(number).is_some_and(|number| number >= 1.0),
        })
    }

    /// How far off a term is, against its bound; 1 for what is no plain comparison.
    fn distance(&self, batch: &RecordBatch, row: usize) -> f64 {
        let Some(plain) = &self.plain else { return 1.0 };
        let value = float(cell(batch, plain.column, row));
        let (Some(value), Some(bound)) = (value, float(plain.bound)) else { return f64::MAX };
        apart(value, bound)
    }
}

impl Lens {
    /// A change with its evidence, as it is published.
    ///
    /// # Errors
    /// When a term cannot be evaluated for the row.
    pub fn assemble<'a>(
        &'a self,
        moved: &Move,
        tip: &Tip<'a>,
        batch: &RecordBatch,
        judged: &Judged,
    ) -> Result<Change<'a>, Error> {
        let place = moved.rule();
        let need = (moved.axis == Axis::Need).then(|| &self.rules.needs[place]);
        let stage = (moved.axis != Axis::Need).then(|| &self.stages(moved.axis)[place]);
        let name = |place: u8| self.name(moved.axis, usize::from(place));
        let lens = match moved.axis {
            Axis::Need => need.map_or("", |need| need.lens.as_str()),
            Axis::Value => "L1",
            Axis::Lifecycle => "L0",
        };
        let action = need.map_or_else(
            || stage.and_then(|it| it.action_key.as_deref()),
            |need| need.action_key.as_deref(),
        );
        let tier = moved.now.tier.and_then(|tier| self.rules.tiers.get(usize::from(tier)));
        Ok(Change {
            customer: tip.customer,
            axis: moved.axis,
            kind: moved.kind,
            from: moved.from.map(name),
            to: moved.to.map(name),
            cause: tip.cause,
            causation_id: tip.causation_id,
            rule: self.name(moved.axis, place),
            rules_version: self.rules.version,
            lens,
            score: need.map(|_| judged.score(place, moved.row)),
            sequence: moved.sequence,
            since: moved.since,
            previous_since: moved.previous_since,
            effective_at: tip.effective_at,
            evidence: self.evidence(moved, batch)?,
            nearest_miss: self.nearest_miss(moved.now.needs, batch, judged, moved.row)?,
            margin_365d: judged.margin(moved.row),
            team: tier.and_then(|tier| tier.team.as_deref()),
            action_key: action,
            purpose: need.map(|need| need.purpose.as_str()),
            now: self.now(moved.now),
        })
    }

    /// The terms that a move was judged on: those of the need; of a tier or stage, the conditions
    /// that ended the one left and those that hold for the one entered.
    fn evidence(&self, moved: &Move, batch: &RecordBatch) -> Result<Vec<Evidence<'_>>, Error> {
        let facts = self.explain.of(moved.axis);
        let place = |place: Option<u8>| place.and_then(|place| facts.get(usize::from(place)));
        let mut chosen: Vec<&Fact> = Vec::new();
        if moved.axis == Axis::Need {
            let rule = &facts[moved.rule()];
            let entered = moved.kind == ChangeKind::Entered;
            // A rule without an exit is left because `enter` no longer holds.
            let exit = if rule.exit.is_empty() { &rule.enter } else { &rule.exit };
            chosen.extend(&rule.terms);
            chosen.extend(if entered { &rule.enter } else { exit });
        } else {
            if let (Some(from), true) =
                (place(moved.from), moved.to.is_none_or(|to| Some(to) > moved.from))
            {
                chosen.extend(if from.exit.is_empty() { &from.enter } else { &from.exit });
            }
            if let Some(to) = place(moved.to) {
                chosen.extend(&to.enter);
            }
        }
        let mut evidence: Vec<Evidence<'_>> = Vec::with_capacity(chosen.len());
        for fact in chosen {
            if evidence.iter().all(|known| known.term != fact.text || known.weight != fact.weight) {
                evidence.push(fact.evidence(batch, moved.row)?);
            }
        }
        Ok(evidence)
    }

    /// Of the needs that are not held, the one whose score comes nearest to what `enter` asks, and
    /// the unmet term of it that is missed by least against its bound.
    ///
    /// # Errors
    /// When a term cannot be evaluated for the row.
    pub fn nearest_miss(
        &self,
        held: u64,
        batch: &RecordBatch,
        judged: &Judged,
        row: usize,
    ) -> Result<Option<NearestMiss<'_>>, Error> {
        let mut nearest: Option<(f64, usize)> = None;
        for (place, facts) in self.explain.needs.iter().enumerate() {
            let Some(bound) = facts.bound.filter(|bound| *bound > 0.0) else { continue };
            let ratio = judged.score(place, row) / bound;
            if held >> place & 1 == 0 && ratio > nearest.map_or(0.0, |(ratio, _)| ratio) {
                nearest = Some((ratio, place));
            }
        }
        let Some((_, place)) = nearest else { return Ok(None) };
        let facts = &self.explain.needs[place];
        let mut least: Option<(f64, &Fact)> = None;
        for fact in facts.terms.iter().chain(&facts.enter) {
            let counts = fact.weight.is_none_or(|weight| weight > 0.0);
            if !counts || fact.met(batch, row)? {
                continue;
            }
            let distance = fact.distance(batch, row);
            if least.is_none_or(|(known, _)| distance < known) {
                least = Some((distance, fact));
            }
        }
        let Some((_, fact)) = least else { return Ok(None) };
        let rule = self.rules.needs[place].name.as_str();
        Ok(Some(NearestMiss { rule, evidence: fact.evidence(batch, row)? }))
    }

    /// What every rule says about a row.
    ///
    /// # Errors
    /// When a term cannot be evaluated for the row.
    pub fn explain(
        &self,
        batch: &RecordBatch,
        judged: &Judged,
        row: usize,
    ) -> Result<Vec<Explanation<'_>>, Error> {
        let mut explanations = Vec::new();
        let (enter, exit, axes) = (judged.enter(row), judged.exit(row), judged.axes(row));
        let words = [
            (Axis::Value, axes, axes >> 16),
            (Axis::Lifecycle, axes >> 32, axes >> 48),
            (Axis::Need, enter, exit),
        ];
        for (axis, enter, exit) in words {
            for (place, facts) in self.explain.of(axis).iter().enumerate() {
                let facts = facts.terms.iter().chain(&facts.enter);
                let evidence = facts.map(|fact| fact.evidence(batch, row));
                explanations.push(Explanation {
                    axis,
                    rule: self.name(axis, place),
                    enter: enter >> place & 1 == 1,
                    exit: exit >> place & 1 == 1,
                    score: (axis == Axis::Need).then(|| judged.score(place, row)),
                    evidence: evidence.collect::<Result<_, _>>()?,
                });
            }
        }
        Ok(explanations)
    }

    /// The names of where a customer stands.
    #[must_use]
    pub fn now(&self, placement: Placement) -> Now<'_> {
        let tier = placement.tier.and_then(|place| self.rules.tiers.get(usize::from(place)));
        let stage = placement.stage.and_then(|place| self.rules.lifecycle.get(usize::from(place)));
        let held = self.rules.needs.iter().enumerate();
        let held = held.filter(|(place, _)| placement.needs >> place & 1 == 1);
        Now {
            value_tier: tier.map(|tier| tier.name.as_str()),
            needs: held.map(|(_, need)| need.name.as_str()).collect(),
            lifecycle: stage.map(|stage| stage.name.as_str()),
        }
    }

    fn stages(&self, axis: Axis) -> &[Stage] {
        if axis == Axis::Value { &self.rules.tiers } else { &self.rules.lifecycle }
    }

    /// The name of a rule.
    #[must_use]
    pub fn name(&self, axis: Axis, place: usize) -> &str {
        match axis {
            Axis::Need => &self.rules.needs[place].name,
            Axis::Value | Axis::Lifecycle => &self.stages(axis)[place].name,
        }
    }
}
