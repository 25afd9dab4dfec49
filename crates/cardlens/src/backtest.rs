//! `cardlens backtest`: history in files through the same engine, into files.
//!
//! Results have their names in the folder once they are whole. Until then, and for good when the run
//! is interrupted or fails, they are in the folder [`UNFINISHED`] inside it.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use cardlens_engine::files::{
    FileOptions, FileSink, FileSource, Places, ReadProgress, write_tables,
};
use cardlens_engine::{Clock, Error, Metrics, Names, Pace, Sink, SystemClock, Worker, WorkerSetup};
use cardlens_lens::RuleSet;
use cardlens_model::{Day, Reason};

use crate::config::Config;
use crate::wiring;

/// Where results are until they are whole, below the folder of the results.
pub const UNFINISHED: &str = "unfinished";

/// The files that a backtest writes.
const RESULTS: [&str; 4] = ["changes.jsonl", REJECTED, "customers.parquet", "windows.parquet"];

/// The one of them that has the records that were rejected, each with its message.
pub const REJECTED: &str = "rejected.jsonl";

/// What to replay, and where to.
#[derive(Debug, Clone)]
pub struct Backtest {
    /// The files, in order of arrival.
    pub from: Vec<PathBuf>,
    /// Records are dealt to so many partitions.
    pub partitions: u32,
    /// Use records up to this day, and close it.
    pub as_of: Option<Day>,
    /// Folder of the results.
    pub out: PathBuf,
    /// Show how far it is.
    pub progress: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// Changes written.
    pub changes: u64,
    /// Records rejected.
    pub rejected: u64,
    /// How many for which reason, those of most first.
    pub reasons: Vec<(Reason, u64)>,
    /// Time it took.
    pub took: Duration,
}

impl Backtest {
    /// Replays the files, in place of older results. `stop` ends it early, without results.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a rule that fails on the data.
    pub fn run(
        &self,
        config: &Config,
        rules: RuleSet,
        stop: &AtomicBool,
    ) -> Result<Summary, Failure> {
        let unfinished = self.out.join(UNFINISHED);
        let input = Input { files: &self.from, partitions: self.partitions, as_of: self.as_of };
        let mut replay = Replay::new(input, config, rules, |places| {
            remove_results(&self.out)?;
            FileSink::create(&unfinished, places)
        })?;
        let mut meter = Meter::new(self.progress, replay.read.clone());
        let ended = replay.run(stop, |elapsed, metrics| meter.show(elapsed, metrics));
        meter.clear();
        ended?;
        write_tables(&replay.worker, &config.time.windows, self.as_of, &unfinished)?;
        for name in RESULTS {
            std::fs::rename(unfinished.join(name), self.out.join(name))
                .with_context(|| format!("move `{name}` to `{}`", self.out.display()))?;
        }
        // What else is there is not ours.
        drop(std::fs::remove_dir(&unfinished));
        let [changes, rejected] = replay.worker.sink().counts();
        let topic = config.input.topic.as_deref().unwrap_or("card.transactions");
        let records = replay.metrics.records_consumed.with_label_values(&[topic]).get();
        let reasons = reasons(&replay.metrics, topic);
        Ok(Summary { records, changes, rejected, reasons, took: replay.clock.elapsed() })
    }
}

impl Summary {
    /// Whether there were records and none was accepted.
    #[must_use]
    pub fn nothing_accepted(&self) -> bool {
        self.records > 0 && self.rejected == self.records
    }

    /// The reasons as `12 bad_type, 3 too_late`.
    #[must_use]
    pub fn why(&self) -> String {
        let each = self.reasons.iter().map(|(reason, count)| format!("{count} {}", reason.name()));
        each.collect::<Vec<_>>().join(", ")
    }
}

fn reasons(metrics: &Metrics, topic: &str) -> Vec<(Reason, u64)> {
    let count =
        |reason: Reason| metrics.records_rejected.with_label_values(&[topic, reason.name()]).get();
    let counts = Reason::ALL.into_iter().map(|reason| (reason, count(reason)));
    let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn remove_results(folder: &Path) -> Result<(), Error> {
    for path in RESULTS.map(|name| folder.join(name)) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::caused(format!("remove `{}`", path.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) partitions: u32,
    pub(crate) as_of: Option<Day>,
}

/// Files on their way through a worker.
pub(crate) struct Replay<K> {
    pub(crate) worker: Worker<FileSource, K>,
    as_of: Option<Day>,
    clock: SystemClock,
    metrics: Metrics,
    read: ReadProgress,
}

impl<K: Sink> Replay<K> {
    /// Opens the files, and after that the sink.
    pub(crate) fn new(
        input: Input<'_>,
        config: &Config,
        rules: RuleSet,
        sink: impl FnOnce(Places) -> Result<K, Error>,
    ) -> Result<Self, Failure> {
        let clock = SystemClock::new();
        let mut deployment = wiring::deployment(config, rules);
        deployment.key_is_customer = false;
        deployment.naive_time_is_utc = true;
        deployment.rejected_max = None;
        deployment.until = input.as_of;
        if !config.time.max_future_given {
            deployment.max_future_ms = None;
        }
        let shared = deployment.shared().map_err(Failure::Rules)?;
        let source = FileSource::open(FileOptions {
            files: input.files.to_vec(),
            partitions: input.partitions,
            mapped: wiring::mapped_fields(config),
            currency: config.service.currency.clone(),
        })?;
        let sink = sink(source.places())?;
        let format = source.format();
        deployment.decoding(&shared, format.clone())?;
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).context("register metrics")?;
        let read = source.progress();
        let decoding_shared = Arc::clone(&shared);
        let setup = WorkerSetup {
            clock: Box::new(clock),
            shared,
            pace: Pace {
                commit_interval: Duration::from_millis(100),
                transaction_records_max: 100_000,
                snapshot_interval: None,
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: config.service.name.clone(), input: deployment.topic.clone() },
            store: None,
            history: None,
            metrics: metrics.clone(),
            decoding: Box::new(move || deployment.decoding(&decoding_shared, format.clone())),
            observer: None,
            health: Box::new(|_| {}),
            desk: None,
        };
        let worker = Worker::new(source, sink, setup);
        Ok(Self { worker, as_of: input.as_of, clock, metrics, read })
    }

    /// Takes every record, and closes the days up to `as_of`.
    pub(crate) fn run(
        &mut self,
        stop: &AtomicBool,
        mut each: impl FnMut(Duration, &Metrics),
    ) -> Result<(), Failure> {
        while self.worker.step()? {
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            each(self.clock.elapsed(), &self.metrics);
        }
        self.worker.settle()?;
        if let Some(day) = self.as_of {
            self.worker.close_through(day)?;
        }
        Ok(())
    }
}

/// Why a backtest failed.
#[derive(Debug)]
pub enum Failure {
    /// The rules do not fit the features.
    Rules(Vec<cardlens_model::Problem>),
    /// It was asked to stop before all was read.
    Interrupted,
    /// Anything else.
    Other(anyhow::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// A progress line on a terminal.
struct Meter {
    on: bool,
    read: ReadProgress,
    shown: Duration,
}

impl Meter {
    fn new(wanted: bool, read: ReadProgress) -> Self {
        Self { on: wanted && std::io::stderr().is_terminal(), read, shown: Duration::ZERO }
    }

    fn show(&mut self, now: Duration, metrics: &Metrics) {
        if !self.on || now.saturating_sub(self.shown) < Duration::from_millis(200) {
            return;
        }
        self.shown = now;
        let percent = self.read.read().min(self.read.total) * 100 / self.read.total.max(1);
        let customers = metrics.state_customers.get();
        let line = format!("\r{percent:3} %  {customers} customers  {:.0} s ", now.as_secs_f64());
        let _cosmetic = std::io::stderr().write_all(line.as_bytes());
    }

    fn clear(&self) {
        if self.on {
            let _cosmetic = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
