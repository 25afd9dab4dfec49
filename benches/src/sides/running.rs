//! A worker on the in-process log, as the product sets one up, on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use cardlens_engine::view::{Desk, Layout, Pinned};
use cardlens_engine::{
    Deployment, Log, Metrics, Names, Pace, Retention, Shared, SystemClock, Worker, WorkerSetup,
};
use cardlens_model::PartitionId;

use super::kafka::STALLED;
use crate::load::rules::faults;
use crate::measure::{ThreadClock, now};

/// Windows of views: the product's default.
pub(super) const WINDOWS: [u16; 4] = [7, 30, 90, 365];
/// Entries that topics keep in memory.
const KEPT: usize = 10_000;
/// Changes that readers may see.
const CHANGES: usize = 100_000;

/// The worker, and what it works on.
pub(super) struct Running {
    pub(super) log: Log,
    pub(super) metrics: Metrics,
    pub(super) deployment: Deployment,
    pub(super) shared: Arc<Shared>,
    /// Where its views are asked for.
    pub(super) desk: Option<Desk>,
    /// What the worker's thread has spent.
    pub(super) spent: ThreadClock,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Running {
    /// Starts a worker that owns all of so many partitions, and can be read or not.
    pub(super) fn start(deployment: Deployment, partitions: u32, read: bool) -> Result<Self> {
        let shared = deployment.shared().map_err(faults)?;
        let metrics = Metrics::register(&prometheus::Registry::new())?;
        let layout = Layout::new(&shared, &WINDOWS)?;
        let clock = || Box::new(SystemClock::new());
        let desk = read.then(|| Desk::new(layout, CHANGES, clock(), metrics.clone()));
        let log = Log::new(partitions, Retention { input: KEPT, outputs: KEPT });
        let (source, sink) = log.join();
        let (decoding, decoding_shared) = (deployment.clone(), Arc::clone(&shared));
        let setup = WorkerSetup {
            clock: clock(),
            shared: Arc::clone(&shared),
            pace: Pace {
                commit_interval: Duration::from_millis(100),
                transaction_records_max: 100_000,
                snapshot_interval: None,
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: "bench".to_owned(), input: deployment.topic.clone() },
            store: None,
            history: None,
            metrics: metrics.clone(),
            decoding: Box::new(move || {
                decoding.decoding(&decoding_shared, cardlens_engine::Format::Json)
            }),
            observer: None,
            health: Box::new(|_| {}),
            desk: desk.clone(),
        };
        log.assign(&[&(0..partitions).collect::<Vec<_>>()]);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            tell.send(ThreadClock::own()?)?;
            Worker::new(source, sink, setup).run(&stopped).map_err(anyhow::Error::from)
        });
        let spent = told.recv().context("the worker did not start")?;
        Ok(Self { log, metrics, deployment, shared, desk, spent, stop, thread })
    }

    /// Records taken from the log so far.
    pub(super) fn consumed(&self) -> u64 {
        let topic = self.deployment.topic.as_str();
        self.metrics.records_consumed.with_label_values(&[topic]).get()
    }

    /// Waits until at most so many records are left to commit.
    pub(super) fn settle(&self, left: i64) -> Result<()> {
        let (mut lag, mut moved) = (self.log.lag(), now());
        while lag > left {
            ensure!(!self.thread.is_finished(), "the worker ended");
            ensure!(moved.elapsed() < STALLED, "{lag} records are left after {STALLED:?}");
            std::thread::park_timeout(Duration::from_millis(1));
            let less = self.log.lag();
            if less < lag {
                moved = now();
            }
            lag = less;
        }
        Ok(())
    }

    /// Holds every partition still, for as long as what is returned is kept.
    pub(super) async fn pins(&self) -> Result<Vec<Arc<Pinned>>> {
        let desk = self.desk.as_ref().context("nobody reads this worker")?;
        let mut pins = Vec::new();
        for partition in (0..self.log.partitions()).map(PartitionId) {
            let seats = desk.seats().0;
            let seat = seats.iter().find(|seat| seat.partition == partition);
            let epoch = seat.context("a partition without owner")?.epoch;
            let taken = desk.pin(partition, epoch, false).await;
            let (pin, pinned) =
                taken.map_err(|refusal| anyhow!("the reader was turned away: {refusal:?}"))?;
            // What is read in this process is held by itself.
            desk.unpin(pin);
            pins.push(pinned);
        }
        Ok(pins)
    }

    /// Stops the worker.
    pub(super) fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the worker panicked"))?
    }
}
