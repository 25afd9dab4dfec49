//! Segment changes as published, as the needs each customer held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use cardlens_model::{Day, Problem};
use serde::Deserialize;

use super::fault;
use super::labels::Labels;

/// Faults shown of the file; a file of another kind has one on every line.
const FAULTS_MAX: usize = 20;

/// What happened to the needs of every customer.
pub(super) struct History {
    /// By customer and need, in the order in which it was published.
    switches: Vec<Vec<Vec<Switch>>>,
    /// Events on any axis.
    pub events: u64,
    pub notes: Vec<String>,
}

/// A need entered or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch {
    /// First day of the new state.
    pub day: Day,
    pub entered: bool,
}

#[derive(Deserialize)]
struct Line {
    value: Value,
}

#[derive(Deserialize)]
struct Value {
    customer_id: String,
    axis: String,
    change: String,
    segment: Option<String>,
    sequence: u64,
    since: Option<String>,
    effective_at: String,
}

impl Value {
    /// The first day of the new state. An event without one counts from the day in which it took
    /// effect; a day that closed at midnight is the one before.
    fn day(&self) -> Result<Day, String> {
        if let Some(since) = &self.since {
            return Day::parse(since).ok_or_else(|| format!("`since` is no day: `{since}`"));
        }
        let (day, time) = self.effective_at.split_once('T').unwrap_or_default();
        let day = Day::parse(day);
        let day = day.ok_or_else(|| format!("`effective_at` is no time: `{}`", self.effective_at));
        day.map(|day| if time == "00:00:00Z" { day.plus(-1) } else { day })
    }
}

impl History {
    pub fn read(path: &Path, labels: &Labels) -> Result<Self, Vec<Problem>> {
        let unread = |error| vec![fault(path, 0, format!("read the file: {error}"))];
        let mut reader = BufReader::new(File::open(path).map_err(unread)?);
        let mut gathered = Gathered::default();
        let mut problems = Vec::new();
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            match reader.read_line(&mut text) {
                Ok(0) => break,
                Ok(_) if text.trim().is_empty() => {}
                Ok(_) => {
                    if let Err(message) = gathered.take(&text, labels) {
                        problems.push(fault(path, line, message));
                    }
                }
                Err(error) => {
                    problems.push(fault(path, line, format!("read the line: {error}")));
                    break;
                }
            }
            if problems.len() >= FAULTS_MAX {
                break;
            }
        }
        if problems.is_empty() { Ok(gathered.finish(labels)) } else { Err(problems) }
    }

    /// What happened to a need of a customer.
    pub fn switches(&self, customer: usize, need: usize) -> &[Switch] {
        &self.switches[customer][need]
    }

    /// Whether a customer held a need at the end of a day.
    pub fn held_on(&self, customer: usize, need: usize, day: Day) -> bool {
        let switches = &self.switches[customer][need];
        switches.iter().rev().find(|switch| switch.day <= day).is_some_and(|last| last.entered)
    }

    /// The day of the last change.
    pub fn last_day(&self) -> Option<Day> {
        self.switches.iter().flatten().flatten().map(|switch| switch.day).max()
    }
}

/// What was read so far.
#[derive(Default)]
struct Gathered {
    /// `(sequence, need, switch)` by customer.
    switches: BTreeMap<usize, Vec<(u64, usize, Switch)>>,
    /// Sequences by customer, of events on every axis: a gap means a lost one.
    sequences: BTreeMap<usize, Vec<u64>>,
    events: u64,
    strangers: BTreeSet<String>,
    unlabelled: BTreeMap<String, u64>,
}

impl Gathered {
    fn take(&mut self, text: &str, labels: &Labels) -> Result<(), String> {
        let Line { value } =
            serde_json::from_str(text).map_err(|error| format!("no segment change: {error}"))?;
        self.events += 1;
        let Some(customer) = labels.customer(&value.customer_id) else {
            self.strangers.insert(value.customer_id);
            return Ok(());
        };
        self.sequences.entry(customer).or_default().push(value.sequence);
        if value.axis != "need" {
            return Ok(());
        }
        let entered = match value.change.as_str() {
            "entered" => true,
            "left" => false,
            other => return Err(format!("a need is entered or left, not `{other}`")),
        };
        let day = value.day()?;
        let Some(segment) = value.segment else {
            return Err("names no segment".to_owned());
        };
        let Some(need) = labels.need(&segment) else {
            *self.unlabelled.entry(segment).or_default() += 1;
            return Ok(());
        };
        let switch = (value.sequence, need, Switch { day, entered });
        self.switches.entry(customer).or_default().push(switch);
        Ok(())
    }

    fn finish(self, labels: &Labels) -> History {
        let mut notes = Vec::new();
        let (mut repeated, mut lost) = (0, 0);
        for mut sequences in self.sequences.into_values() {
            sequences.sort_unstable();
            let count = sequences.len();
            sequences.dedup();
            repeated += count - sequences.len();
            let span =
                sequences.last().zip(sequences.first()).map_or(0, |(last, first)| last - first);
            lost += (span + 1).saturating_sub(u64::try_from(sequences.len()).unwrap_or_default());
        }
        if repeated > 0 {
            notes.push(format!("{repeated} repeated events were counted once"));
        }
        if lost > 0 {
            notes.push(format!("{lost} events are missing, going by their sequence"));
        }
        if !self.strangers.is_empty() {
            let count = self.strangers.len();
            notes.push(format!("{count} customers of the changes are unknown and not scored"));
        }
        if !self.unlabelled.is_empty() {
            let names: Vec<&str> = self.unlabelled.keys().map(String::as_str).collect();
            notes.push(format!("no label, so not scored: {}", names.join(", ")));
        }
        let mut switches = vec![vec![Vec::new(); labels.needs.len()]; labels.customers.len()];
        for (customer, mut own) in self.switches {
            own.sort_by_key(|(sequence, ..)| *sequence);
            own.dedup_by_key(|(sequence, ..)| *sequence);
            // What was decided later cannot have been known before: a late record must not place
            // a change in front of one that was published earlier.
            let mut latest = Day(i32::MIN);
            for (_, need, switch) in own {
                latest = latest.max(switch.day);
                switches[customer][need].push(Switch { day: latest, ..switch });
            }
        }
        History { switches, events: self.events, notes }
    }
}
