//! Rows of features, by columns.
//!
//! Owns the buffers that rows are written into and that become Arrow arrays as they are. Knows
//! nothing of what columns mean.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, SchemaRef};
use cardlens_model::{Day, EventTime};

use crate::{ledger::Slot, plan::Plan};

/// Why a row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A record was applied.
    Record {
        /// The record's place in what was decoded.
        record_idx: u32,
        /// Its event time.
        time: EventTime,
        /// Its day was closed already.
        late: bool,
        /// It is a reversal.
        reversal: bool,
    },
    /// A day closed.
    DayClose(Day),
    /// Somebody asked: another rule set, or an explanation.
    Asked,
}

/// An evaluation point: whose row, as of when, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The customer.
    pub slot: Slot,
    /// Last day of the row's windows.
    pub as_of: Day,
    /// Why the row is there.
    pub origin: Origin,
    /// The record was withheld: only value can have changed, so needs are not judged.
    pub withheld: bool,
    /// The customer's first row ever.
    pub first: bool,
}

/// Rows under way.
pub struct Rows {
    schema: SchemaRef,
    points: Vec<Point>,
    ints: Vec<Vec<i64>>,
    floats: Vec<Vec<f64>>,
}

impl Rows {
    /// No rows yet, of a plan's columns.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let schema = plan.schema();
        let floats =
            schema.fields().iter().filter(|field| *field.data_type() == DataType::Float64).count();
        Self {
            points: Vec::new(),
            ints: vec![Vec::new(); schema.fields().len() - floats],
            floats: vec![Vec::new(); floats],
            schema,
        }
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The evaluation points so far.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Hands over all rows and begins anew, with room for as many.
    #[must_use]
    pub fn take(&mut self) -> (Vec<Point>, RecordBatch) {
        let len = self.points.len();
        let points = std::mem::replace(&mut self.points, Vec::with_capacity(len));
        let (mut ints, mut floats) = (self.ints.iter_mut(), self.floats.iter_mut());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            if *field.data_type() == DataType::Float64 {
                let column = floats.next().map(|it| std::mem::replace(it, Vec::with_capacity(len)));
                arrays.push(Arc::new(Float64Array::from(column.unwrap_or_default())));
            } else {
                let column = ints.next().map(|it| std::mem::replace(it, Vec::with_capacity(len)));
                arrays.push(Arc::new(Int64Array::from(column.unwrap_or_default())));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("every column has one value per point, of the type in the schema");
        (points, batch)
    }

    pub(crate) fn push_point(&mut self, point: Point) {
        self.points.push(point);
    }

    pub(crate) fn push_int(&mut self, column: u16, value: i64) {
        self.ints[usize::from(column)].push(value);
    }

    pub(crate) fn push_float(&mut self, column: u16, value: f64) {
        self.floats[usize::from(column)].push(value);
    }
}
