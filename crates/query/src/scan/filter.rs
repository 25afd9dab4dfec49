//! Which rows of a batch pass comparisons.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::protocol::{Literal, NULL, Op, Predicate};
use crate::Error;

/// The rows that pass all comparisons. A row without a value passes none.
pub(crate) fn passing(
    batch: &RecordBatch,
    predicates: &[Predicate],
) -> Result<BooleanArray, Error> {
    let mut keep = vec![true; batch.num_rows()];
    for predicate in predicates {
        let Some(column) = batch.column_by_name(&predicate.column) else {
            return Err(Error::Refused(format!("there is no column `{}`", predicate.column)));
        };
        match (column.data_type(), &predicate.literal) {
            (DataType::Int64, Literal::Int(bound)) => {
                let values = column.as_primitive::<Int64Type>().values();
                each(&mut keep, values, |value| {
                    *value != NULL && holds(predicate.op, value, bound)
                });
            }
            (DataType::Float64, Literal::Float(bits)) => {
                let bound = f64::from_bits(*bits);
                let values = column.as_primitive::<Float64Type>().values();
                each(&mut keep, values, |value| holds(predicate.op, value, &bound));
            }
            (DataType::Utf8, Literal::Text(text)) if predicate.op == Op::Eq => {
                let values = column.as_string::<i32>();
                for (row, keep) in keep.iter_mut().enumerate() {
                    *keep &= values.value(row) == text;
                }
            }
            (data_type, literal) => {
                let name = &predicate.column;
                let message =
                    format!("`{name}` is {data_type} and cannot be compared: {literal:?}");
                return Err(Error::Refused(message));
            }
        }
    }
    Ok(BooleanArray::from(keep))
}

fn each<T>(keep: &mut [bool], values: &[T], pass: impl Fn(&T) -> bool) {
    for (keep, value) in keep.iter_mut().zip(values) {
        *keep &= pass(value);
    }
}

fn holds<T: PartialOrd>(op: Op, value: &T, bound: &T) -> bool {
    match op {
        Op::Eq => value == bound,
        Op::Ne => value != bound,
        Op::Lt => value < bound,
        Op::Le => value <= bound,
        Op::Gt => value > bound,
        Op::Ge => value >= bound,
    }
}
