//! The truth: who was a customer when, and which needs each really had.

use std::collections::BTreeMap;
use std::path::Path;

use cardlens_model::{Day, Problem};

use super::csv::Csv;
use super::{ACTIVE_DAYS, Files, GRACE_DAYS};

/// Everything that is known to be true.
pub(super) struct Labels {
    pub customers: Vec<Customer>,
    places: BTreeMap<String, usize>,
    pub needs: Vec<Need>,
    /// `(customer, what happened, when)`, if a file says so.
    pub events: Option<Vec<(usize, String, Day)>>,
    /// What was left out, in sentences.
    pub notes: Vec<String>,
}

/// One customer.
pub(super) struct Customer {
    pub first_day: Day,
    /// The last day on which the customer was one.
    pub last_day: Day,
    /// Per need, in ascending order and apart from each other.
    pub truth: Vec<Vec<Interval>>,
}

/// A need that is scored, with the labels that stand for it.
pub(super) struct Need {
    pub name: String,
    pub labels: Vec<String>,
}

/// Days on which a label holds, the first and the last among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub from: Day,
    pub to: Day,
}

/// What the truth says of a need on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Has,
    HasNot,
    /// So shortly after an onset or an end that either answer is right.
    Grace,
}

impl Labels {
    pub fn read(files: &Files) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let needs = keep(read_map(&files.map), &mut problems);
        let customers = keep(read_customers(&files.customers), &mut problems);
        let (Some(needs), Some((customers, places))) = (needs, customers) else {
            return Err(problems);
        };
        let mut labels = Self { customers, places, needs, events: None, notes: Vec::new() };
        for customer in &mut labels.customers {
            customer.truth = vec![Vec::new(); labels.needs.len()];
        }
        keep(labels.read_truth(&files.truth), &mut problems);
        if let Some(path) = &files.events {
            labels.events = keep(labels.read_events(path), &mut problems);
        }
        if problems.is_empty() { Ok(labels) } else { Err(problems) }
    }

    /// The place of a customer.
    pub fn customer(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The place of a need that is scored.
    pub fn need(&self, name: &str) -> Option<usize> {
        self.needs.iter().position(|need| need.name == name)
    }

    fn read_truth(&mut self, path: &Path) -> Result<(), Vec<Problem>> {
        let csv = Csv::read(path)?;
        let mut unmapped: BTreeMap<String, u64> = BTreeMap::new();
        csv.each(&["customer_id", "need", "from_date", "to_date"], |row| {
            let (id, label) = (row.text(0)?, row.text(1)?);
            let interval = Interval { from: row.day(2)?, to: row.day(3)? };
            if interval.to < interval.from {
                return Err(row.fault(format!("ends on {} before it begins", interval.to)));
            }
            let Some(customer) = self.places.get(id) else {
                return Err(row.fault(format!("`{id}` is not among the customers")));
            };
            let stands_for = |need: &Need| need.labels.iter().any(|known| known == label);
            match self.needs.iter().position(stands_for) {
                Some(need) => self.customers[*customer].truth[need].push(interval),
                None => *unmapped.entry(label.to_owned()).or_default() += 1,
            }
            Ok(())
        })?;
        for customer in &mut self.customers {
            customer.truth.iter_mut().for_each(unite);
        }
        for (label, count) in unmapped {
            let note = format!("label `{label}` is not in the map: {count} intervals not scored");
            self.notes.push(note);
        }
        Ok(())
    }

    fn read_events(&self, path: &Path) -> Result<Vec<(usize, String, Day)>, Vec<Problem>> {
        let csv = Csv::read(path)?;
        let mut events = Vec::new();
        csv.each(&["customer_id", "event", "date"], |row| {
            let id = row.text(0)?;
            let Some(customer) = self.places.get(id) else {
                return Err(row.fault(format!("`{id}` is not among the customers")));
            };
            events.push((*customer, row.text(1)?.to_owned(), row.day(2)?));
            Ok(())
        })?;
        Ok(events)
    }
}

/// The value of a result, its problems set aside.
fn keep<T>(result: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

fn read_map(path: &Path) -> Result<Vec<Need>, Vec<Problem>> {
    let csv = Csv::read(path)?;
    let mut needs: Vec<Need> = Vec::new();
    csv.each(&["label", "need"], |row| {
        let (label, name) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        if needs.iter().any(|need| need.labels.contains(&label)) {
            return Err(row.fault(format!("label `{label}` stands twice")));
        }
        match needs.iter_mut().find(|need| need.name == name) {
            Some(need) => need.labels.push(label),
            None => needs.push(Need { name, labels: vec![label] }),
        }
        Ok(())
    })?;
    if needs.is_empty() {
        return Err(vec![super::fault(path, 0, "maps no label".to_owned())]);
    }
    Ok(needs)
}

type Customers = (Vec<Customer>, BTreeMap<String, usize>);

fn read_customers(path: &Path) -> Result<Customers, Vec<Problem>> {
    let csv = Csv::read(path)?;
    let (mut customers, mut places) = (Vec::new(), BTreeMap::new());
    csv.each(&["customer_id", "first_day", "last_day"], |row| {
        let id = row.text(0)?.to_owned();
        let (first_day, last_day) = (row.day(1)?, row.day(2)?);
        if last_day < first_day {
            return Err(row.fault(format!("leaves on {last_day} before the first day")));
        }
        if places.insert(id.clone(), customers.len()).is_some() {
            return Err(row.fault(format!("customer `{id}` stands twice")));
        }
        customers.push(Customer { first_day, last_day, truth: Vec::new() });
        Ok(())
    })?;
    Ok((customers, places))
}

/// Sorts intervals and joins those that touch.
fn unite(intervals: &mut Vec<Interval>) {
    intervals.sort_by_key(|interval| interval.from);
    let mut united: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals.drain(..) {
        match united.last_mut() {
            Some(last) if interval.from <= last.to.plus(1) => last.to = last.to.max(interval.to),
            _ => united.push(interval),
        }
    }
    *intervals = united;
}

impl Customer {
    /// Whether the customer counts on a day: long enough a customer, and not gone.
    pub fn counts_on(&self, day: Day) -> bool {
        self.first_day.plus(ACTIVE_DAYS) <= day && day <= self.last_day
    }

    /// Days as a customer.
    pub fn days(&self) -> i32 {
        self.last_day.0 - self.first_day.0 + 1
    }

    /// Whether the customer has a need on a day.
    pub fn truth_on(&self, need: usize, day: Day) -> Truth {
        for interval in &self.truth[need] {
            let since_onset = day.0 - interval.from.0;
            let since_end = day.0 - interval.to.0;
            // A label that holds from the first day on has no onset.
            let onset = interval.from > self.first_day && (0..=GRACE_DAYS).contains(&since_onset);
            if onset || (1..=GRACE_DAYS).contains(&since_end) {
                return Truth::Grace;
            }
            if since_onset >= 0 && since_end <= 0 {
                return Truth::Has;
            }
        }
        Truth::HasNot
    }

    /// Intervals that began while the customer was watched: after the first days.
    pub fn onsets(&self, need: usize) -> impl Iterator<Item = Interval> + '_ {
        let watched = self.first_day.plus(ACTIVE_DAYS);
        self.truth[need].iter().copied().filter(move |interval| interval.from > watched)
    }
}
