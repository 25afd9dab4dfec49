//! Columns of any plan for customers as they are now: for files and for whoever asks.
//!
//! Knows nothing of evaluation points: nothing here is judged.

use arrow_array::RecordBatch;
use cardlens_model::{Day, EventTime};

use crate::{
    distinct::Window,
    gather::{Gather, Subject},
    ledger::Slot,
    names::place,
    plan::Plan,
    posting::Effect,
    rows::{Origin, Point, Rows},
    table::Table,
    value::Value,
    windows::instant,
};

/// Computes the columns of a plan, of any table of the same deployment, row after row.
pub struct Gatherer {
    plan: Plan,
    gather: Gather,
}

impl Gatherer {
    /// For the columns of a plan.
    #[must_use]
    pub fn new(plan: &Plan, table: &Table) -> Self {
        let value = Value::new(table.config.value.clone());
        Self { gather: Gather::new(plan, value), plan: plan.clone() }
    }

    /// Rows of its columns.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::new(&self.plan)
    }

    pub(crate) fn row(&mut self, subject: Subject<'_>, point: Point, rows: &mut Rows) {
        let row = rows.push(point);
        self.gather.row(subject, &self.plan, row);
    }
}

impl Table {
    /// Appends a customer's row of a gatherer's columns as of a day, which must not be before the
    /// customer's greatest event day.
    pub fn gather_with(&self, gatherer: &mut Gatherer, slot: Slot, as_of: Day, rows: &mut Rows) {
        let (origin, first) = (Origin::Asked, false);
        let first_day = self.ledger.header(slot).first_day;
        let subject = Subject { postings: self.ledger.postings(slot), first_day, as_of };
        gatherer.row(subject, Point { slot, as_of, origin, withheld: false, first }, rows);
    }

    /// What a customer's row is as of, as far as the customer was brought to closed days: that of
    /// [`Table::as_of`] once everybody was.
    #[must_use]
    pub fn brought_to(&self, slot: Slot) -> Day {
        let closed = Day(self.ledger.header(slot).closed).max(self.clock.before_first_open());
        self.ledger.as_of(slot, self.clock.open_day().map(|_| closed.plus(1)))
    }

    /// First day of an accepted record that is not withheld.
    #[must_use]
    pub fn first_day(&self, slot: Slot) -> Option<Day> {
        let day = self.ledger.header(slot).first_day;
        (day != i32::MAX).then_some(Day(day))
    }

    /// Time of the last purchase or cash advance up to a day, neither reversed nor withheld.
    #[must_use]
    pub fn last_at(&self, slot: Slot, as_of: Day) -> Option<EventTime> {
        let postings = Window::visible(self.ledger.postings(slot), as_of);
        let counts = postings.iter().rev().find(|posting| {
            let counts = matches!(posting.effect(), Effect::Purchase | Effect::Cash);
            counts && posting.category().0 != place::WITHHELD
        });
        counts.map(|posting| instant(*posting, self.clock.calendar()))
    }

    /// One row of a plan's columns for each customer as of a day, which must not be before the
    /// customer's greatest event day.
    #[must_use]
    pub fn columns_of(&self, plan: &Plan, customers: &[(Slot, Day)]) -> RecordBatch {
        let mut gatherer = Gatherer::new(plan, self);
        let mut rows = gatherer.rows();
        for &(slot, as_of) in customers {
            self.gather_with(&mut gatherer, slot, as_of, &mut rows);
        }
        rows.take().1
    }
}
