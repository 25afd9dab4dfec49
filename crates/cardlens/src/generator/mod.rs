//! Card customers with known needs, made up: the input of the demo.
//!
//! Every customer has habits, bills and a card to pay, some have needs, and now and then a life
//! event changes which. Records come in the order in which a log would take them: by time, with
//! some late, some twice, some reversed or refunded. Everything follows from the seed, and chance
//! is whole numbers, so that a seed means the same on every machine.
//!
//! Days are drafted one at a time, as small structs, and written when their time comes: what waits
//! is a day's records and the late ones.

mod day;
mod dice;
mod draft;
mod habits;
mod pace;
mod person;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::BTreeMap;

use cardlens_model::{DAY_MS, Day};

use day::{Scribe, Today};
use dice::Dice;
use draft::Draft;
use person::Person;

pub use pace::Pace;
pub use truth::{LifeEvent, TrueNeed, Truth};

/// A record, as a producer hands it to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// When the log takes it: never before the record before it.
    pub time_ms: i64,
    /// The customer's number.
    pub customer: u32,
    /// The record's key: the customer's id.
    pub key: Vec<u8>,
    /// The record's value: canonical transaction v1.
    pub json: Vec<u8>,
}

/// An endless stream of card records.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    people: Vec<Person>,
    /// The next day to draft.
    day: Day,
    /// What is ready, the last record first.
    ready: Vec<Draft>,
    /// What arrives on a later day.
    waiting: BTreeMap<i64, Vec<Draft>>,
    last_id: u64,
    truth: Truth,
}

impl Generator {
    /// Customers `0..customers` from the first day on; some join later.
    #[must_use]
    pub fn new(seed: u64, customers: u32, start: Day) -> Self {
        let mut truth = Truth::default();
        let people =
            (0..customers).map(|customer| Person::new(seed, customer, start, &mut truth)).collect();
        let (ready, waiting) = (Vec::new(), BTreeMap::new());
        Self { seed, people, day: start, ready, waiting, last_id: 0, truth }
    }

    /// The id of a customer.
    #[must_use]
    pub fn customer_id(customer: u32) -> String {
        format!("C{customer:07}")
    }

    /// The first day of every customer, in the order of their numbers.
    pub fn first_days(&self) -> impl Iterator<Item = Day> + '_ {
        self.people.iter().map(|person| person.first_day)
    }

    /// What is true of everyone up to the day that is being read.
    #[must_use]
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Drafts the next day and makes ready what arrives on it.
    fn next_day(&mut self) {
        let today = Today::new(self.day);
        let mut drafts = std::mem::take(&mut self.ready);
        for (customer, person) in (0..).zip(&mut self.people) {
            if !person.there(today.day) {
                continue;
            }
            let which = u64::from(today.day.0.unsigned_abs());
            let mut dice = Dice::of(self.seed, u64::from(customer), which);
            person.live(customer, today.day, &mut dice, &mut self.truth);
            let last_id = &mut self.last_id;
            Scribe { today, customer, person, dice, last_id, drafts: &mut drafts }.write();
        }
        let end = (i64::from(self.day.0) + 1) * DAY_MS;
        drafts.retain(|draft| {
            let now = draft.arrival_ms < end;
            if !now {
                let day = draft.arrival_ms.div_euclid(DAY_MS);
                self.waiting.entry(day).or_default().push(*draft);
            }
            now
        });
        drafts.extend(self.waiting.remove(&i64::from(self.day.0)).unwrap_or_default());
        drafts.sort_unstable_by_key(|draft| std::cmp::Reverse((draft.arrival_ms, draft.id)));
        self.ready = drafts;
        self.day = self.day.plus(1);
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        // Without customers no day would ever bring anything.
        while self.ready.is_empty() && !self.people.is_empty() {
            if self.people.iter().all(|person| person.last_day.is_some_and(|day| day < self.day))
                && self.waiting.is_empty()
            {
                return None;
            }
            self.next_day();
        }
        let draft = self.ready.pop()?;
        let (customer, time_ms) = (draft.customer, draft.arrival_ms);
        Some(Generated { time_ms, customer, key: draft::customer_id(customer), json: draft.json() })
    }
}
