//! `nearest_exit`: what a need that is held would be left by, judged here on the engine's figures.

use std::sync::Arc;

use cardlens_model::{Evidence, Number};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use datafusion::error::{DataFusionError, Result};
use serde::Serialize;

use super::catalog::Known;
use super::explode::NEED;
use super::shape::ints;

/// The features that rules read.
pub(super) fn reads(known: &Known) -> Result<Vec<String>> {
    let lens = known.lens()?;
    Ok(lens.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// The condition of each row's need, as JSON.
pub(super) fn array(batch: &RecordBatch, known: &Known) -> Result<ArrayRef> {
    let lens = known.lens()?;
    let judging = |error: cardlens_lens::Error| DataFusionError::External(Box::new(error));
    let schema = batch.schema();
    let mut places = Vec::with_capacity(lens.schema().fields().len());
    for field in lens.schema().fields() {
        places.push(schema.index_of(field.name())?);
    }
    let figures = batch.project(&places)?;
    let judged = lens.evaluate(&figures).map_err(judging)?;
    let mut told = StringBuilder::new();
    for (row, need) in ints(batch, NEED)?.values().iter().enumerate() {
        let need = usize::try_from(*need).ok().filter(|need| *need < lens.rules().needs.len());
        let exit = need.map(|need| lens.nearest_exit(need, &figures, &judged, row));
        told.append_option(exit.transpose().map_err(judging)?.flatten().and_then(|it| json(&it)));
    }
    Ok(Arc::new(told.finish()))
}

/// A condition, with the members that evidence of events has.
#[derive(Serialize)]
struct Condition<'a> {
    term: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'a str>,
    value: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<serde_json::Value>,
}

fn json(evidence: &Evidence<'_>) -> Option<String> {
    let condition = Condition {
        term: evidence.term,
        feature: evidence.feature,
        value: number(evidence.value),
        op: evidence.op,
        bound: evidence.bound.map(number),
        margin: evidence.margin.map(number),
    };
    serde_json::to_string(&condition).ok()
}

fn number(number: Number) -> serde_json::Value {
    match number {
        Number::Int(value) => value.into(),
        Number::Float(value) => value.into(),
        Number::Bool(value) => value.into(),
        Number::Null => serde_json::Value::Null,
    }
}
