//! Records into the in-process log by the clock, and how long until they are committed.

use std::time::Duration;

use cardlens_engine::Log;
use cardlens_model::PartitionId;

use crate::live::{now, pause};

/// Longest time without any progress.
const STALLED: Duration = Duration::from_secs(120);

/// A record as it is appended: its partition, key and JSON.
pub type Line = (PartitionId, Vec<u8>, Vec<u8>);

/// What became of records.
#[derive(Debug, Clone)]
pub struct Clocked {
    /// From when the first was due until all were committed.
    pub took: Duration,
    /// From when each was due until it was committed, sorted.
    pub latencies: Vec<Duration>,
}

/// Appends records, so many a second, whether or not the worker keeps up. A record is due at a time
/// that depends on its number alone, so a stall is charged to every record that waits behind it.
/// Nothing may be left in the log before.
///
/// # Panics
/// Nothing is committed for minutes.
#[must_use]
pub fn run(log: &Log, lines: &[Line], rate: u64) -> Clocked {
    let due = |number: usize| {
        let number = u64::try_from(number).unwrap();
        Duration::from_nanos(number.saturating_mul(1_000_000_000) / rate.max(1))
    };
    let (started, mut moved) = (now(), now());
    let (mut appended, mut committed) = (0, 0);
    let mut latencies = Vec::with_capacity(lines.len());
    while committed < lines.len() {
        let at = started.elapsed();
        while appended < lines.len() && due(appended) <= at {
            let (partition, key, json) = &lines[appended];
            log.append(*partition, key, json, 0);
            appended += 1;
        }
        let left = usize::try_from(log.lag()).unwrap();
        let at = started.elapsed();
        // A transaction holds records of all partitions: what is left is taken for what came last.
        while committed < appended - left.min(appended) {
            latencies.push(at.saturating_sub(due(committed)));
            committed += 1;
            moved = now();
        }
        assert!(moved.elapsed() < STALLED, "{committed} of {} records in {at:?}", lines.len());
        pause(Duration::from_millis(1));
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    Clocked { took, latencies }
}

/// The time by which so many thousandths of some sorted times had passed, and zero of none.
#[must_use]
pub fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    let at = (sorted.len() * thousandths / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
