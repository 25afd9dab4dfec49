//! What readers cost: the first view, later pins, and ingest beside a reader that never stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use cardlens::generator::Generator;
use cardlens_engine::view::{Desk, Layout, Pinned};
use cardlens_engine::{
    Clock, Deployment, Log, Metrics, Names, Pace, Retention, SystemClock, Worker, WorkerSetup,
};
use cardlens_model::{Day, PartitionId};
use serde::Serialize;

use crate::load::rules::faults;

const WINDOWS: [u16; 4] = [7, 30, 90, 365];
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

struct Running {
    log: Log,
    metrics: Metrics,
    topic: String,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
    desk: Option<Desk>,
}

impl Running {
    fn start(read: bool) -> Result<Self> {
        let rules = cardlens::wiring::rule_set(None).map_err(faults)?;
        let deployment = Deployment::new(rules);
        let shared = deployment.shared().map_err(faults)?;
        let metrics = Metrics::register(&prometheus::Registry::new())?;
        let clock = || Box::new(SystemClock::new());
        let layout = Layout::new(&shared, &WINDOWS)?;
        let desk = read.then(|| Desk::new(layout, 100_000, clock(), metrics.clone()));
        let log = Log::new(1, Retention { input: 10_000, outputs: 10_000 });
        let (source, sink) = log.join();
        let topic = deployment.topic.clone();
        let decoding_shared = Arc::clone(&shared);
        let setup = WorkerSetup {
            clock: clock(),
            shared,
            pace: Pace {
                commit_interval: Duration::from_millis(100),
                transaction_records_max: 100_000,
                snapshot_interval: None,
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: "bench".to_owned(), input: topic.clone() },
            store: None,
            history: None,
            metrics: metrics.clone(),
            decoding: Box::new(move || {
                deployment.decoding(&decoding_shared, cardlens_engine::Format::Json)
            }),
            observer: None,
            health: Box::new(|_| {}),
            desk: desk.clone(),
        };
        log.assign(&[&[0]]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            Worker::new(source, sink, setup).run(&stopped).map_err(anyhow::Error::from)
        });
        Ok(Self { log, metrics, topic, stop, thread, desk })
    }

    fn consumed(&self) -> u64 {
        self.metrics.records_consumed.with_label_values(&[self.topic.as_str()]).get()
    }

    /// Appends records and waits until they are committed; records a second.
    fn feed(&self, records: &[(Vec<u8>, Vec<u8>)]) -> u64 {
        let clock = SystemClock::new();
        let before = self.consumed();
        for (key, json) in records {
            self.log.append(PartitionId(0), key, json, 0);
        }
        // Appending is done ahead, so that the worker never waits for it.
        let started = clock.elapsed();
        let first = self.consumed();
        while self.log.lag() > 0 && !self.thread.is_finished() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let took = clock.elapsed().saturating_sub(started);
        let taken = (self.consumed() - first).min(self.consumed() - before);
        u64::try_from(u128::from(taken) * 1_000_000 / took.as_micros().max(1)).unwrap_or(0)
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the worker panicked"))?
    }
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
    let plain = Running::start(false)?;
    plain.feed(history);
    let without_desk = plain.feed(live);
    plain.end()?;
    let idle = Running::start(true)?;
    idle.feed(history);
    let with_desk = idle.feed(live);
    idle.end()?;

    let running = Running::start(true)?;
    running.feed(history);
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
            let rate = running.feed(live);
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
        fed.join().map_err(|_| anyhow!("feeding panicked"))
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
