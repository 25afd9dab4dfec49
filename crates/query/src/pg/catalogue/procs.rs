//! `pg_proc`: our own functions, and those that `pg_type` names for reading and writing a type, by
//! which clients tell arrays. No other of PostgreSQL's, which are not promised one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch, take};

use crate::front::{Fault, State};
use crate::relations::{FUNCTIONS, FunctionComment};

/// Number of the first function; below those of relations, above those of the types.
const FIRST: i32 = 16_000;

/// Columns of `pg_type` with the names of functions.
const OF_TYPES: [&str; 4] = ["typinput", "typoutput", "typreceive", "typsend"];

/// The function of a number.
pub(super) fn by_number(oid: i32) -> Option<&'static FunctionComment> {
    usize::try_from(oid.checked_sub(FIRST)?).ok().and_then(|at| FUNCTIONS.get(at))
}

/// The table, with the columns that it was given with: what is not told here of our own functions is
/// as of some function.
pub(super) fn rows(
    given: &RecordBatch,
    types: &RecordBatch,
    namespace: i32,
) -> Result<RecordBatch, Fault> {
    let internal = |error: datafusion::arrow::error::ArrowError| {
        Fault::new(State::Internal, error.to_string())
    };
    let of_some = UInt32Array::from(vec![0; FUNCTIONS.len()]);
    let mut arrays = Vec::with_capacity(given.num_columns());
    for (field, some) in given.schema().fields().iter().zip(given.columns()) {
        let array = match told(field.name(), namespace) {
            Some(array) => cast(&array, field.data_type()).map_err(internal)?,
            None => take(some.as_ref(), &of_some, None).map_err(internal)?,
        };
        arrays.push(array);
    }
    let ours = RecordBatch::try_new(given.schema(), arrays).map_err(internal)?;
    let named: BTreeSet<&str> = OF_TYPES.into_iter().flat_map(|name| texts(types, name)).collect();
    let kept: Vec<bool> = texts(given, "proname").map(|name| named.contains(name)).collect();
    let kept = filter_record_batch(given, &BooleanArray::from(kept)).map_err(internal)?;
    concat_batches(&given.schema(), [&ours, &kept]).map_err(internal)
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> impl Iterator<Item = &'a str> {
    let array = batch.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
    array.into_iter().flat_map(|array| array.iter().map(Option::unwrap_or_default))
}

fn told(column: &str, namespace: i32) -> Option<ArrayRef> {
    let numbers = FIRST..;
    Some(match column {
        "oid" => Arc::new(Int32Array::from_iter_values(numbers.take(FUNCTIONS.len()))),
        "proname" => Arc::new(FUNCTIONS.iter().map(|it| Some(it.name)).collect::<StringArray>()),
        "pronamespace" => Arc::new(Int32Array::from(vec![namespace; FUNCTIONS.len()])),
        "prokind" => Arc::new(FUNCTIONS.iter().map(|_| Some("f")).collect::<StringArray>()),
        "proretset" => {
            Arc::new(FUNCTIONS.iter().map(|it| Some(it.table)).collect::<BooleanArray>())
        }
        "pronargs" => {
            let arguments = FUNCTIONS.iter().map(|it| it.arguments.split_terminator(',').count());
            Arc::new(arguments.map(|count| i32::try_from(count).ok()).collect::<Int32Array>())
        }
        _ => return None,
    })
}
