//! Rows of features, by columns.
//!
//! Owns the buffer that rows are written into and that becomes Arrow arrays as it is: one for all
//! columns, each with the same room, so that a value is one store. The buffer is taken back when
//! whoever was given its arrays has dropped them. Knows nothing of what columns mean.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, SchemaRef};
use cardlens_model::{Day, EventTime};

use crate::{ledger::Slot, plan::Plan};

/// Values in a cache line.
const LINE: usize = 8;
/// Rows that there is room for at first: an odd number of cache lines, as ever after. Were it a
/// power of two, a row's values would lie in one and the same set of the cache.
const ROOM_MIN: usize = 9 * LINE;

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
    /// Column by column, `room` values each; fractions by their bits.
    values: Vec<i64>,
    room: usize,
    /// What was handed over last.
    lent: Option<Buffer>,
}

impl Rows {
    /// No rows yet, of a plan's columns.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let schema = plan.schema();
        Self { points: Vec::new(), values: Vec::new(), room: ROOM_MIN, lent: None, schema }
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

    /// Hands over all rows and begins anew.
    #[must_use]
    pub fn take(&mut self) -> (Vec<Point>, RecordBatch) {
        let len = self.points.len();
        let points = std::mem::replace(&mut self.points, Vec::with_capacity(len));
        let buffer = match len {
            0 => Buffer::default(),
            _ => Buffer::from_vec(std::mem::take(&mut self.values)),
        };
        let column = |at: usize| if len == 0 { 0 } else { at * self.room };
        let arrays = self.schema.fields().iter().enumerate().map(|(at, field)| -> ArrayRef {
            if *field.data_type() == DataType::Float64 {
                let values = ScalarBuffer::<f64>::new(buffer.clone(), column(at), len);
                Arc::new(Float64Array::new(values, None))
            } else {
                let values = ScalarBuffer::<i64>::new(buffer.clone(), column(at), len);
                Arc::new(Int64Array::new(values, None))
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, arrays.collect(), &options)
            .expect("every column has one value per point, of the type in the schema");
        if len > 0 {
            self.lent = Some(buffer);
        }
        (points, batch)
    }

    /// Adds a point and gives its row to be written.
    pub(crate) fn push(&mut self, point: Point) -> Row<'_> {
        let row = self.points.len();
        if self.values.is_empty() || row == self.room {
            self.make_room();
        }
        self.points.push(point);
        Row { values: &mut self.values, room: self.room, row }
    }

    fn make_room(&mut self) {
        let width = self.schema.fields().len();
        if self.values.is_empty() {
            let lent = self.lent.take().and_then(|buffer| buffer.into_vec().ok());
            let fits = lent.filter(|values: &Vec<i64>| values.len() == width * self.room);
            self.values = fits.unwrap_or_else(|| vec![0; width * self.room]);
            return;
        }
        let room = self.room * 2 - LINE;
        let mut larger = vec![0; width * room];
        let columns = self.values.chunks_exact(self.room).zip(larger.chunks_exact_mut(room));
        for (from, to) in columns {
            to[..self.room].copy_from_slice(from);
        }
        (self.values, self.room) = (larger, room);
    }
}

/// One row's place in each column.
pub(crate) struct Row<'a> {
    values: &'a mut [i64],
    room: usize,
    row: usize,
}

impl Row<'_> {
    pub(crate) fn set_int(&mut self, column: u16, value: i64) {
        self.values[usize::from(column) * self.room + self.row] = value;
    }

    pub(crate) fn set_float(&mut self, column: u16, value: f64) {
        self.set_int(column, value.to_bits().cast_signed());
    }
}
