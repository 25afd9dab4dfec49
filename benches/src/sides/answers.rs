//! Answers to statements, so that those of several engines can be compared.

use anyhow::{Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::measure::Cost;

/// How far fractions may be apart: sums of many depend on the order in which they are added.
const NEAR: f64 = 1e-9;

/// A statement's answer, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// From the text to the last row.
    pub cost: Cost,
    /// Its rows, in order.
    pub rows: Vec<Vec<Cell>>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    /// A whole number, money or a text; `NULL` without a value.
    Exact(String),
    /// A fraction.
    Near(f64),
}

impl Cell {
    /// Whether another engine's text says the same.
    #[must_use]
    pub fn agrees(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => own == text,
            Self::Near(own) => text.parse::<f64>().is_ok_and(|other| {
                let scale = own.abs().max(other.abs()).max(1.0);
                (own - other).abs() <= NEAR * scale
            }),
        }
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Exact(text) => text.clone(),
            Self::Near(value) => value.to_string(),
        }
    }
}

/// All rows of an answer.
///
/// # Errors
/// A column is of a type that statements of goals do not give.
pub(super) fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>> {
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    rows.map(|(batch, row)| batch.columns().iter().map(|column| cell(column, row)).collect())
        .collect()
}

fn cell(column: &ArrayRef, row: usize) -> Result<Cell> {
    if column.is_null(row) {
        return Ok(Cell::Exact("NULL".to_owned()));
    }
    if let Some(fractions) = column.as_primitive_opt::<Float64Type>() {
        return Ok(Cell::Near(fractions.value(row)));
    }
    let exact = if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        numbers.value(row).to_string()
    } else if let Some(amounts) = column.as_primitive_opt::<Decimal128Type>() {
        amounts.value_as_string(row)
    } else if let Some(texts) = column.as_string_opt::<i32>() {
        texts.value(row).to_owned()
    } else {
        bail!("a column of {} cannot be compared", column.data_type());
    };
    Ok(Cell::Exact(exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_compared_by_the_digit_and_fractions_nearly() {
        let money = Cell::Exact("1049159734.84".to_owned());
        assert!(money.agrees("1049159734.84"));
        assert!(!money.agrees("1049159734.85") && !money.agrees("1049159734.840"));
        let sum = Cell::Near(4_995_998_737.333_366);
        assert!(sum.agrees("4995998737.333327"));
        assert!(!sum.agrees("4995998747") && !sum.agrees("NULL") && !sum.agrees("NaN"));
    }
}
