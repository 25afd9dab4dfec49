//! From a row a customer to a row a need held.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result;

use super::shape::{Meaning, each_bit, floats, ints};
use crate::scan::{Axis, NULL};

/// Columns that come from the need of a row.
pub(super) const NEED: &str = "need";
pub(super) const SCORE: &str = "need_score";
pub(super) const SINCE: &str = "need_since";

/// The stored columns that one of these is made from.
pub(super) fn reads(column: &str, meaning: &Meaning) -> Vec<String> {
    let needs = meaning.description.segments(Axis::Need);
    let each = |prefix: &str| needs.iter().map(|need| format!("{prefix}{need}")).collect();
    match column {
        SCORE => each("score_"),
        SINCE => each("since_"),
        NEED => Vec::new(),
        other => vec![other.to_owned()],
    }
}

/// One row a need held, in the order of customers and then of the rules.
pub(super) fn explode(batch: &RecordBatch, meaning: &Meaning) -> Result<RecordBatch> {
    let (mut rows, mut held) = (Vec::new(), Vec::new());
    for (row, bits) in (0_u32..).zip(ints(batch, "needs")?.values()) {
        each_bit(*bits, |need| {
            rows.push(row);
            held.push(need);
        });
    }
    let needs = meaning.description.segments(Axis::Need);
    let places: Int64Array = held.iter().map(|need| i64::try_from(*need).ok()).collect();
    let mut columns: Vec<(Field, ArrayRef)> =
        vec![(Field::new(NEED, DataType::Int64, false), Arc::new(places))];
    let present = |prefix: &str| {
        needs.iter().all(|need| batch.column_by_name(&format!("{prefix}{need}")).is_some())
    };
    if present("score_") {
        let mut scores = Vec::new();
        for need in &needs {
            scores.push(floats(batch, &format!("score_{need}"))?);
        }
        let pairs = rows.iter().zip(&held);
        let of = pairs.map(|(row, need)| scores.get(*need).map(|s| s.value(*row as usize)));
        let field = Field::new(SCORE, DataType::Float64, true);
        columns.push((field, Arc::new(of.collect::<Float64Array>())));
    }
    if present("since_") {
        let mut since = Vec::new();
        for need in &needs {
            since.push(ints(batch, &format!("since_{need}"))?);
        }
        let pairs = rows.iter().zip(&held);
        let of = pairs.map(|(row, need)| since.get(*need).map_or(NULL, |s| s.value(*row as usize)));
        let field = Field::new(SINCE, DataType::Int64, true);
        columns.push((field, Arc::new(Int64Array::from_iter_values(of))));
    }
    let indices = UInt32Array::from(rows);
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !field.name().starts_with("score_") && !field.name().starts_with("since_") {
            columns.push((field.as_ref().clone(), take(column, &indices, None)?));
        }
    }
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(held.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

/// Whether a column comes from the need of a row, so that no scan can compare it.
pub(super) fn computed(column: &str) -> bool {
    [NEED, SCORE, SINCE].contains(&column)
}
