//! Columns of any plan for customers as they are now: for files and for whoever asks.
//!
//! Knows nothing of evaluation points: nothing here is judged.

use arrow_array::RecordBatch;
use cardlens_model::Day;

use crate::{
    gather::{Gather, Subject},
    ledger::Slot,
    plan::Plan,
    rows::{Origin, Point, Rows},
    table::Table,
    value::Value,
};

impl Table {
    /// One row of a plan's columns for each customer as of a day, which must not be before the
    /// customer's greatest event day.
    #[must_use]
    pub fn columns_of(&self, plan: &Plan, customers: &[(Slot, Day)]) -> RecordBatch {
        let mut gather = Gather::new(plan, Value::new(self.config.value.clone()));
        let mut rows = Rows::new(plan);
        for &(slot, as_of) in customers {
            let (origin, first) = (Origin::Asked, false);
            let row = rows.push(Point { slot, as_of, origin, withheld: false, first });
            let first_day = self.ledger.header(slot).first_day;
            let subject = Subject { postings: self.ledger.postings(slot), first_day, as_of };
            gather.row(subject, plan, row);
        }
        rows.take().1
    }
}
