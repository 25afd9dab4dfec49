//! The figures, for people and for machines, each with what it was counted on.

use std::fmt::Write as _;

use cardlens_model::Day;
use serde::Serialize;

use super::bootstrap::{self, Interval, NeedIntervals};
use super::changes::History;
use super::delay::{self, Changes, Delay};
use super::labels::Labels;
use super::score::{self, Counts};

/// Days in a year, on average.
const YEAR_DAYS: f64 = 365.25;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Dates that were scored.
    pub dates: Vec<String>,
    /// Customers in the file.
    pub customers: usize,
    /// Customers who counted on some date.
    pub customers_scored: usize,
    /// How long all were customers, together.
    pub customer_years: f64,
    /// Events read, on any axis.
    pub events: u64,
    /// By need, in the order of the map.
    pub needs: Vec<NeedReport>,
    /// Mean of F1 over the needs that have one.
    pub macro_f1: Figure,
    /// Needs in that mean.
    pub macro_f1_needs: usize,
    /// Delays of all needs together.
    pub delays: Delays,
    /// Changes of labelled needs.
    pub changes: u64,
    /// Those that contradict the truth outside of the grace.
    pub false_changes: u64,
    /// The same by customer and year.
    pub false_changes_per_customer_year: f64,
    /// Changes undone within 30 days.
    pub flaps: u64,
    /// The same as a share of all changes.
    pub flapping_share: Option<f64>,
    /// By name of life event; empty without a file of them.
    pub life_events: Vec<LifeEvent>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// A figure with its 95 % interval; nothing where it is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The figure.
    pub value: Option<f64>,
    /// Lower bound.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
}

impl Figure {
    fn of(value: Option<f64>, interval: Interval) -> Self {
        let (low, high) = interval.unzip();
        Self { value, low, high }
    }
}

/// How well one need was found.
#[derive(Debug, Clone, Serialize)]
pub struct NeedReport {
    /// The need.
    pub need: String,
    /// Labels that stand for it.
    pub labels: Vec<String>,
    /// Pairs of customer and date that were scored.
    pub scored: u32,
    /// Those among them in which the need was there.
    pub positives: u32,
    /// Held and there.
    pub hits: u32,
    /// Held and not there.
    pub false_alarms: u32,
    /// There and not held.
    pub misses: u32,
    /// Of those held, the share that was there.
    pub precision: Figure,
    /// Of those there, the share that was held.
    pub recall: Figure,
    /// Harmonic mean of both.
    pub f1: Figure,
    /// From onset to entry.
    pub delays: Delays,
    /// Changes of the need.
    pub changes: u64,
    /// Those that contradict the truth outside of the grace.
    pub false_changes: u64,
    /// Those undone within 30 days.
    pub flaps: u64,
}

/// Days from onsets to entries; a missed onset is later than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// Onsets.
    pub onsets: usize,
    /// Those that were never found.
    pub missed: usize,
    /// Half are found within so many days; nothing when half are missed.
    pub median_days: Option<i32>,
    /// Nine of ten are found within so many days; nothing when more are missed.
    pub p90_days: Option<i32>,
}

impl Delays {
    /// The figures of some delays; a missed onset has none.
    pub(super) fn of(mut delays: Vec<Delay>) -> Self {
        delays.sort_by_key(|delay| delay.unwrap_or(i32::MAX));
        let onsets = delays.len();
        let rank = |percent: usize| {
            let place = (onsets * percent).div_ceil(100).checked_sub(1)?;
            delays.get(place).copied().flatten()
        };
        let missed = delays.iter().filter(|delay| delay.is_none()).count();
        Self { onsets, missed, median_days: rank(50), p90_days: rank(90) }
    }
}

/// How soon a need was found after something happened.
#[derive(Debug, Clone, Serialize)]
pub struct LifeEvent {
    /// What happened.
    pub event: String,
    /// How often.
    pub events: usize,
    /// The need of which a label begins near such events, if there is one.
    pub need: Option<String>,
    /// From the event to the entry.
    pub delays: Option<Delays>,
}

pub(super) fn report(labels: &Labels, history: &History, dates: &[Day]) -> Report {
    let answers = score::answers(labels, history, dates);
    let sums = score::sum(answers.iter(), labels.needs.len());
    let (intervals, macro_interval) = bootstrap::intervals(&answers, labels.needs.len());
    let mut all_delays = Vec::new();
    let mut all = Changes::default();
    let mut needs = Vec::new();
    for (idx, (counts, intervals)) in sums.iter().zip(intervals).enumerate() {
        let delays = delay::delays(labels, history, idx);
        let changes = delay::changes(labels, history, idx);
        all_delays.extend_from_slice(&delays);
        all.count += changes.count;
        all.false_count += changes.false_count;
        all.undone += changes.undone;
        needs.push(need_report(&labels.needs[idx], (*counts, intervals), delays, changes));
    }
    let days: i64 = labels.customers.iter().map(|customer| i64::from(customer.days())).sum();
    let customer_years = float(days.unsigned_abs()) / YEAR_DAYS;
    let per_year = |count: u64| if days > 0 { float(count) / customer_years } else { 0.0 };
    Report {
        dates: dates.iter().map(ToString::to_string).collect(),
        customers: labels.customers.len(),
        customers_scored: answers.len(),
        customer_years,
        events: history.events,
        needs,
        macro_f1: Figure::of(score::macro_f1(&sums), macro_interval),
        macro_f1_needs: sums.iter().filter(|counts| counts.f1().is_some()).count(),
        delays: Delays::of(all_delays),
        changes: all.count,
        false_changes: all.false_count,
        false_changes_per_customer_year: per_year(all.false_count),
        flaps: all.undone,
        flapping_share: (all.count > 0).then(|| float(all.undone) / float(all.count)),
        life_events: delay::life_events(labels, history),
        notes: labels.notes.iter().chain(&history.notes).cloned().collect(),
    }
}

fn need_report(
    need: &super::labels::Need,
    (counts, intervals): (Counts, NeedIntervals),
    delays: Vec<Delay>,
    changes: Changes,
) -> NeedReport {
    NeedReport {
        need: need.name.clone(),
        labels: need.labels.clone(),
        scored: counts.scored(),
        positives: counts.positives(),
        hits: counts.hits,
        false_alarms: counts.false_alarms,
        misses: counts.misses,
        precision: Figure::of(counts.precision(), intervals.precision),
        recall: Figure::of(counts.recall(), intervals.recall),
        f1: Figure::of(counts.f1(), intervals.f1),
        delays: Delays::of(delays),
        changes: changes.count,
        false_changes: changes.false_count,
        flaps: changes.undone,
    }
}

/// Counts here are far below 2^53.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Report {
    /// The report as a table for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        writeln!(to, "dates      {}", self.dates.join(" "))?;
        writeln!(
            to,
            "customers  {} of {} scored, {:.1} customer-years, {} events\n",
            self.customers_scored, self.customers, self.customer_years, self.events
        )?;
        let width = self.needs.iter().map(|need| need.need.len()).max().unwrap_or_default().max(9);
        writeln!(
            to,
            "{:width$}  {:>7}  {:>9}  {:16}  {:16}  {:16}",
            "need", "scored", "positives", "precision", "recall", "F1"
        )?;
        for need in &self.needs {
            let (precision, recall) = (shown(need.precision), shown(need.recall));
            writeln!(
                to,
                "{:width$}  {:>7}  {:>9}  {precision:16}  {recall:16}  {:16}",
                need.need,
                need.scored,
                need.positives,
                shown(need.f1)
            )?;
        }
        let macro_f1 = shown(self.macro_f1);
        writeln!(to, "\nmacro-F1 {macro_f1}  n = {} needs\n", self.macro_f1_needs)?;
        writeln!(
            to,
            "{:width$}  {:>6}  {:>6}  {:>11}  {:>8}  {:>7}  {:>5}  {:>5}",
            "need", "onsets", "missed", "median days", "90% days", "changes", "false", "flaps"
        )?;
        for need in &self.needs {
            let changes = (need.changes, need.false_changes, need.flaps);
            line(to, (&need.need, width), need.delays, changes)?;
        }
        let changes = (self.changes, self.false_changes, self.flaps);
        line(to, ("all", width), self.delays, changes)?;
        writeln!(
            to,
            "\nfalse changes  {:.2} per customer-year  n = {} of {} changes",
            self.false_changes_per_customer_year, self.false_changes, self.changes
        )?;
        let share = self.flapping_share.map_or("-".to_owned(), |s| format!("{:.1} %", s * 100.0));
        let (flaps, changes) = (self.flaps, self.changes);
        writeln!(to, "flapping       {share} undone within 30 days  n = {flaps} of {changes}")?;
        self.write_events(to, width)?;
        for note in &self.notes {
            writeln!(to, "note: {note}")?;
        }
        Ok(())
    }

    fn write_events(&self, to: &mut String, width: usize) -> std::fmt::Result {
        if self.life_events.is_empty() {
            return Ok(());
        }
        writeln!(
            to,
            "\n{:20}  {:width$}  {:>6}  {:>6}  {:>6}  {:>11}  {:>8}",
            "life event", "need", "events", "onsets", "missed", "median days", "90% days"
        )?;
        for event in &self.life_events {
            let (name, count) = (&event.event, event.events);
            let Some((need, delays)) = event.need.as_ref().zip(event.delays) else {
                writeln!(to, "{name:20}  no label begins with it: not scored  n = {count}")?;
                continue;
            };
            let Delays { onsets, missed, .. } = delays;
            let (median, p90) = (days(delays.median_days), days(delays.p90_days));
            writeln!(
                to,
                "{name:20}  {need:width$}  {count:>6}  {onsets:>6}  {missed:>6}  {median:>11}  \
                 {p90:>8}"
            )?;
        }
        Ok(())
    }
}

fn line(
    to: &mut String,
    (name, width): (&str, usize),
    delays: Delays,
    (changes, wrong, flaps): (u64, u64, u64),
) -> std::fmt::Result {
    let Delays { onsets, missed, .. } = delays;
    let none = |days_of: Option<i32>| if onsets == 0 { "-".to_owned() } else { days(days_of) };
    let (median, p90) = (none(delays.median_days), none(delays.p90_days));
    writeln!(
        to,
        "{name:width$}  {onsets:>6}  {missed:>6}  {median:>11}  {p90:>8}  {changes:>7}  {wrong:>5}  \
         {flaps:>5}"
    )
}

/// A delay; one that is beyond all found is a miss.
fn days(days: Option<i32>) -> String {
    days.map_or("missed".to_owned(), |days| days.to_string())
}

fn shown(figure: Figure) -> String {
    let number = |value: f64| format!("{value:.3}");
    let Some(value) = figure.value else { return "-".to_owned() };
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("{} {low:.2}-{high:.2}", number(value)),
        _ => number(value),
    }
}
