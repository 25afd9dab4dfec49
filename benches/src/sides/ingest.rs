//! Records on the clock into the in-process log, and when they were committed.

use anyhow::Result;
use cardlens_engine::files::partition_of;
use cardlens_model::PartitionId;
use cardlens_tests::clocked::{self, Line, quantile};
use serde::{Deserialize, Serialize};

use super::running::Running;
use crate::load::w1::Drawn;

/// What became of the records.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ingested {
    /// How many.
    pub events: u64,
    /// Seconds from when the first was due until all were committed.
    pub took_s: f64,
    /// CPU seconds of the worker's thread, what it does for readers included.
    pub cpu_s: f64,
    /// 50, 99 and 100 of 100 were committed so many seconds after they were due.
    pub latency_s: [f64; 3],
    /// Customers' rows that the worker made anew for readers.
    pub rows_anew: u64,
}

/// A record as it is appended.
pub(super) fn line(drawn: &Drawn, partitions: u32) -> Result<Line> {
    let (key, mut json) = (drawn.customer_id(), Vec::with_capacity(448));
    drawn.write(&mut json)?;
    Ok((PartitionId(partition_of(&key, partitions)), key.to_vec(), json))
}

/// Appends records, so many a second, and waits for the last.
pub(super) fn run(running: &Running, lines: &[Line], rate: u64) -> Result<Ingested> {
    running.settle(0)?;
    let (before, rows_before) = (running.spent.read()?, running.metrics.view_rows.get());
    let clocked = clocked::run(&running.log, lines, rate);
    Ok(Ingested {
        events: u64::try_from(lines.len())?,
        took_s: clocked.took.as_secs_f64(),
        cpu_s: running.spent.read()? - before,
        latency_s: [500, 990, 1_000]
            .map(|thousandths| quantile(&clocked.latencies, thousandths).as_secs_f64()),
        rows_anew: running.metrics.view_rows.get() - rows_before,
    })
}
