//! Records on the clock into the in-process log, and when they were committed.

use std::time::Duration;

use anyhow::{Result, ensure};
use cardlens_engine::files::partition_of;
use cardlens_model::PartitionId;
use serde::{Deserialize, Serialize};

use super::kafka::STALLED;
use super::running::Running;
use crate::load::w1::Drawn;
use crate::measure::now;
use crate::open_loop::quantile;

/// A record as it is appended: its partition, key and JSON.
pub(super) type Line = (PartitionId, [u8; 10], Vec<u8>);

/// What became of the records.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ingested {
    /// How many.
    pub events: u64,
    /// Seconds from when the first was due until all were committed.
    pub took_s: f64,
    /// CPU seconds of the worker's thread, what it does for readers included.
    pub cpu_s: f64,
    /// 50 and 99 of 100 were committed so many seconds after they were due.
    pub latency_s: [f64; 2],
    /// Customers' rows that the worker made anew for readers.
    pub rows_anew: u64,
}

/// A record as it is appended.
pub(super) fn line(drawn: &Drawn, partitions: u32) -> Result<Line> {
    let (key, mut json) = (drawn.customer_id(), Vec::with_capacity(448));
    drawn.write(&mut json)?;
    Ok((PartitionId(partition_of(&key, partitions)), key, json))
}

/// Appends records, so many a second, whether or not the worker keeps up. A record is due at a time
/// that depends on its number alone.
pub(super) fn run(running: &Running, lines: &[Line], rate: u64) -> Result<Ingested> {
    running.settle(0)?;
    let due = |number: usize| {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        Duration::from_nanos(number.saturating_mul(1_000_000_000) / rate.max(1))
    };
    let (before, rows_before) = (running.spent.read()?, running.metrics.view_rows.get());
    let (started, mut moved) = (now(), now());
    let (mut appended, mut committed) = (0, 0);
    let mut latencies = Vec::with_capacity(lines.len());
    while committed < lines.len() {
        let at = started.elapsed();
        while appended < lines.len() && due(appended) <= at {
            let (partition, key, json) = &lines[appended];
            running.log.append(*partition, key, json, 0);
            appended += 1;
        }
        let left = usize::try_from(running.log.lag())?;
        let at = started.elapsed();
        // A transaction holds records of all partitions: what is left is taken for what came last.
        while committed < appended - left.min(appended) {
            latencies.push(at.saturating_sub(due(committed)));
            committed += 1;
            moved = now();
        }
        ensure!(moved.elapsed() < STALLED, "{committed} of {} records in {at:?}", lines.len());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let took_s = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Ok(Ingested {
        events: u64::try_from(lines.len())?,
        took_s,
        cpu_s: running.spent.read()? - before,
        latency_s: [500, 990].map(|thousandths| quantile(&latencies, thousandths).as_secs_f64()),
        rows_anew: running.metrics.view_rows.get() - rows_before,
    })
}
