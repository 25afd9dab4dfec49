//! `cardlens eval`: how well the needs of a backtest match labels.
//!
//! Owns the definitions: who counts on a date, what grace is left out, what a delay, a false change
//! and a flap are. Needs held on a day are put together again from the events alone, as any
//! consumer of the topic would, so that what is scored is what was published. Days are those of
//! the events (`since`); no zone and no clock is needed here.

mod bootstrap;
mod changes;
mod csv;
mod delay;
mod labels;
mod report;
mod score;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use cardlens_model::{Day, Problem};

pub use report::{Delays, Figure, LifeEvent, NeedReport, Report};

/// A customer counts after so many days.
const ACTIVE_DAYS: i32 = 90;
/// Days after an onset or an end in which either answer is right.
const GRACE_DAYS: i32 = 30;
/// A change undone within so many days is a flap.
const FLAP_DAYS: i32 = 30;
/// Month ends that are scored unless dates are given.
const MONTH_ENDS: usize = 6;

/// What to score against what.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Segment changes, as `backtest` writes them.
    pub changes: PathBuf,
    /// Labels: `customer_id,need,from_date,to_date`.
    pub truth: PathBuf,
    /// Customers: `customer_id,first_day,last_day`.
    pub customers: PathBuf,
    /// Life events: `customer_id,event,date`.
    pub events: Option<PathBuf>,
    /// From labels to needs: `label,need`.
    pub map: PathBuf,
}

/// Scores the needs of `files` on the days of `at`, or on the month ends of the last six months of
/// the data.
///
/// # Errors
/// Every fault of the files, up to a bound, each with its line.
pub fn evaluate(files: &Files, at: &[Day]) -> Result<Report, Vec<Problem>> {
    // Before anything is read, so that all that are missing are named at once.
    let Files { changes, truth, customers, events, map } = files;
    let named = [Some(map), Some(customers), Some(truth), events.as_ref(), Some(changes)];
    let unread = |path: &PathBuf| {
        let error = std::fs::metadata(path).err()?;
        Some(fault(path, 0, format!("read the file: {error}")))
    };
    let unread: Vec<Problem> = named.into_iter().flatten().filter_map(unread).collect();
    if !unread.is_empty() {
        return Err(unread);
    }
    let labels = labels::Labels::read(files)?;
    let history = changes::History::read(&files.changes, &labels)?;
    let mut dates = if at.is_empty() { month_ends(&labels, &history) } else { at.to_vec() };
    dates.sort_unstable();
    dates.dedup();
    if dates.is_empty() {
        let message = "no customer has a month end: nothing can be scored".to_owned();
        return Err(vec![fault(&files.customers, 0, message)]);
    }
    Ok(report::report(&labels, &history, &dates))
}

/// The last month ends of the data, which lasts to the last day of any customer.
fn month_ends(labels: &labels::Labels, history: &changes::History) -> Vec<Day> {
    let first = labels.customers.iter().map(|customer| customer.first_day).min();
    let last = labels.customers.iter().map(|customer| customer.last_day).max();
    let (Some(first), Some(last)) = (first, last.or(history.last_day())) else {
        return Vec::new();
    };
    let mut ends = Vec::new();
    let mut day = last.plus(1);
    while ends.len() < MONTH_ENDS {
        let (year, month, _) = day.civil();
        let Some(start) = Day::from_civil(year, month, 1) else { break };
        day = start.plus(-1);
        if day < first {
            break;
        }
        ends.push(day);
    }
    ends
}

/// A fault of a file; line 0 for the whole of it.
fn fault(path: &std::path::Path, line: u64, message: String) -> Problem {
    let file = path.display().to_string();
    let line = usize::try_from(line).unwrap_or_default();
    Problem { file, line, column: usize::from(line > 0), message, suggestion: None }
}
