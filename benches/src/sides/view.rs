//! What readers cost: the first view, later pins, and ingest beside a reader that never stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use cardlens::generator::Generator;
use cardlens_engine::view::Pinned;
use cardlens_engine::{Clock, Deployment, SystemClock};
use cardlens_model::{Day, PartitionId};
use serde::Serialize;

use super::running::Running;
use crate::load::rules::faults;

/// Columns that the reader adds up.
const READ: usize = 10;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Viewed {
    customers: usize,
    columns: usize,
    bytes_per_customer: usize,
    /// From asking to the first pin, nothing streaming in.
    first_pin_ms: u128,
    /// Of the worker's time for a row of it.
    row_ns: f64,
    /// Records a second through the whole worker, without a desk, with one, and beside a reader.
    without_desk: u64,
    with_desk: u64,
    beside_reader: u64,
    /// Scans of that reader, and how many rows the worker made anew for them.
    scans: u64,
    rows_anew: u64,
}

/// A worker on one partition, with the rules that come with cardlens.
fn start(read: bool) -> Result<Running> {
    let rules = cardlens::wiring::rule_set(None).map_err(faults)?;
    Running::start(Deployment::new(rules), 1, read)
}

/// Appends records and waits until they are committed; records a second.
fn feed(running: &Running, records: &[(Vec<u8>, Vec<u8>)]) -> Result<u64> {
    let clock = SystemClock::new();
    let before = running.consumed();
    for (key, json) in records {
        running.log.append(PartitionId(0), key, json, 0);
    }
    // Appending is done ahead, so that the worker never waits for it.
    let started = clock.elapsed();
    let first = running.consumed();
    running.settle(0)?;
    let took = clock.elapsed().saturating_sub(started);
    let taken = (running.consumed() - first).min(running.consumed() - before);
    Ok(u64::try_from(u128::from(taken) * 1_000_000 / took.as_micros().max(1)).unwrap_or(0))
}

fn sum(pinned: &Pinned) -> i64 {
    let mut sum = 0_i64;
    for page in 0..pinned.pages() {
        for column in 0..READ {
            let values = pinned.column(page, column);
            let values = values.as_primitive::<Int64Type>().values();
            sum = values.iter().fold(sum, |sum, value| sum.wrapping_add(*value));
        }
    }
    sum
}

/// Measures with so many customers and records.
///
/// # Errors
/// The worker fails, or turns the reader away.
pub fn run(customers: u32, records: usize) -> Result<Viewed> {
    let made = Generator::new(7, customers, Day(20_000)).take(records * 2);
    let made: Vec<_> = made.map(|record| (record.key, record.json)).collect();
    let (history, live) = made.split_at(records);
    let plain = start(false)?;
    feed(&plain, history)?;
    let without_desk = feed(&plain, live)?;
    plain.end()?;
    let idle = start(true)?;
    feed(&idle, history)?;
    let with_desk = feed(&idle, live)?;
    idle.end()?;

    let running = start(true)?;
    feed(&running, history)?;
    let desk = running.desk.clone().context("there is a desk")?;
    let epoch = desk.seats().0.first().context("there is a partition")?.epoch;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let take = || {
        let taken = runtime.block_on(desk.pin(PartitionId(0), epoch, false));
        taken.map_err(|refusal| anyhow!("the reader was turned away: {refusal:?}"))
    };
    let clock = SystemClock::new();
    let asked = clock.elapsed();
    let (pin, pinned) = take()?;
    let first_pin_ms = clock.elapsed().saturating_sub(asked).as_millis();
    let seconds = running.metrics.view_seconds.get();
    let (seats, _) = desk.seats();
    let bytes = seats.first().map_or(0, |seat| seat.view_bytes);
    let (columns, count) = (pinned.layout().columns().len(), pinned.customers());
    desk.unpin(pin);
    drop(pinned);
    let rows_before = running.metrics.view_rows.get();
    let (stop, mut scans) = (AtomicBool::new(false), 0);
    let beside_reader = std::thread::scope(|scope| -> Result<u64> {
        let fed = scope.spawn(|| {
            let rate = feed(&running, live);
            stop.store(true, Ordering::Relaxed);
            rate
        });
        while !stop.load(Ordering::Relaxed) {
            let (pin, pinned) = take()?;
            std::hint::black_box(sum(&pinned));
            desk.unpin(pin);
            scans += 1;
            // Half of the reader's core: the worker's is what is measured.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        fed.join().map_err(|_| anyhow!("feeding panicked"))?
    })?;
    let rows_anew = running.metrics.view_rows.get() - rows_before;
    running.end()?;
    #[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
    let row_ns = seconds * 1e9 / count.max(1) as f64;
    Ok(Viewed {
        customers: count,
        columns,
        bytes_per_customer: bytes / count.max(1),
        first_pin_ms,
        row_ns,
        without_desk,
        with_desk,
        beside_reader,
        scans,
        rows_anew,
    })
}
