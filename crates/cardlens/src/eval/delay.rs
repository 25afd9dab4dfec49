//! When needs are found, and how often they are changed for nothing.

use std::collections::BTreeMap;

use cardlens_model::Day;

use super::changes::History;
use super::labels::{Interval, Labels, Truth};
use super::{FLAP_DAYS, report};

/// A life event and the onset of a label belong together when so near to each other.
const LINK_DAYS: i32 = 60;

/// Days from onsets to the first entry; nothing for one that was missed.
pub(super) type Delay = Option<i32>;

/// The delays of every onset of a need.
pub(super) fn delays(labels: &Labels, history: &History, need: usize) -> Vec<Delay> {
    let mut delays = Vec::new();
    for (place, customer) in labels.customers.iter().enumerate() {
        for onset in customer.onsets(need) {
            delays.push(delay(history, (place, need), onset));
        }
    }
    delays
}

/// From the first day of an interval to the first on which the need is held within it. A need that
/// was held before is found at once.
fn delay(history: &History, (customer, need): (usize, usize), onset: Interval) -> Delay {
    if history.held_on(customer, need, onset.from) {
        return Some(0);
    }
    let entered = history
        .switches(customer, need)
        .iter()
        .find(|switch| switch.entered && (onset.from..=onset.to).contains(&switch.day));
    entered.map(|switch| switch.day.0 - onset.from.0)
}

/// Changes of labelled needs, and those among them that were wrong or did not last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Changes {
    pub count: u64,
    /// Contradict the truth, outside of the grace.
    pub false_count: u64,
    /// Undone by the next one within few days.
    pub undone: u64,
}

/// Counts the changes of one need while its customers were some.
pub(super) fn changes(labels: &Labels, history: &History, need: usize) -> Changes {
    let mut counted = Changes::default();
    for (place, customer) in labels.customers.iter().enumerate() {
        let switches = history.switches(place, need);
        for (idx, switch) in switches.iter().enumerate() {
            if switch.day < customer.first_day || switch.day > customer.last_day {
                continue;
            }
            counted.count += 1;
            let wrong = match customer.truth_on(need, switch.day) {
                Truth::Has => !switch.entered,
                Truth::HasNot => switch.entered,
                Truth::Grace => false,
            };
            counted.false_count += u64::from(wrong);
            let undone = switches.get(idx + 1).is_some_and(|next| {
                next.entered != switch.entered && next.day.0 - switch.day.0 <= FLAP_DAYS
            });
            counted.undone += u64::from(undone);
        }
    }
    counted
}

/// What life events led to, by name of the event. An event stands for a need when with at least
/// half of the events of its name a label of that need begins near it.
pub(super) fn life_events(labels: &Labels, history: &History) -> Vec<report::LifeEvent> {
    let mut by_name: BTreeMap<&str, Vec<(usize, Day)>> = BTreeMap::new();
    for (customer, name, day) in labels.events.iter().flatten() {
        by_name.entry(name).or_default().push((*customer, *day));
    }
    let mut found = Vec::new();
    for (name, events) in by_name {
        let mut linked = false;
        for need in 0..labels.needs.len() {
            let near = |(customer, day): &(usize, Day)| near(labels, (*customer, need), *day);
            let onsets: Vec<(usize, Day, Interval)> = events
                .iter()
                .filter_map(|event| near(event).map(|onset| (event.0, event.1, onset)))
                .collect();
            if onsets.is_empty() || onsets.len() * 2 < events.len() {
                continue;
            }
            linked = true;
            let delays = onsets.iter().map(|(customer, day, onset)| {
                let from = (*day).min(onset.to);
                delay(history, (*customer, need), Interval { from, to: onset.to })
            });
            found.push(report::LifeEvent {
                event: name.to_owned(),
                events: events.len(),
                need: Some(labels.needs[need].name.clone()),
                delays: Some(report::Delays::of(delays.collect())),
            });
        }
        if !linked {
            let event = name.to_owned();
            found.push(report::LifeEvent { event, events: events.len(), need: None, delays: None });
        }
    }
    found
}

/// The interval of a need that begins near a day, if one does and was watched.
fn near(labels: &Labels, (customer, need): (usize, usize), day: Day) -> Option<Interval> {
    let onsets = labels.customers[customer].onsets(need);
    let distance = |onset: &Interval| (onset.from.0 - day.0).abs();
    onsets.filter(|onset| distance(onset) <= LINK_DAYS).min_by_key(distance)
}
