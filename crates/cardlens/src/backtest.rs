//! `cardlens backtest`: history in files through the same engine, into files.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use cardlens_engine::files::{FileOptions, FileSink, FileSource, ReadProgress, write_tables};
use cardlens_engine::{Clock, Metrics, Names, Pace, SystemClock, Worker, WorkerSetup};
use cardlens_lens::RuleSet;
use cardlens_model::Day;

use crate::config::Config;
use crate::wiring;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// Changes written.
    pub changes: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Time it took.
    pub took: Duration,
}

impl Backtest {
    /// Replays the files. `stop` ends it early, with what was done so far written.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a rule that fails on the data.
    pub fn run(
        &self,
        config: &Config,
        rules: RuleSet,
        stop: &Arc<AtomicBool>,
    ) -> Result<Summary, Failure> {
        let clock = SystemClock::new();
        let mut deployment = wiring::deployment(config, rules);
        deployment.key_is_customer = false;
        deployment.naive_time_is_utc = true;
        deployment.rejected_max = None;
        deployment.until = self.as_of;
        if !config.time.max_future_given {
            deployment.max_future_ms = None;
        }
        let shared = deployment.shared().map_err(Failure::Rules)?;
        let source = FileSource::open(FileOptions {
            files: self.from.clone(),
            partitions: self.partitions,
            mapped: wiring::mapped_fields(config),
            currency: config.service.currency.clone(),
        })?;
        let sink = FileSink::create(&self.out, source.places())?;
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
        let mut worker = Worker::new(source, sink, setup);
        let mut meter = Meter::new(self.progress, read);
        while !stop.load(Ordering::Relaxed) && worker.step()? {
            meter.show(clock.elapsed(), &metrics);
        }
        worker.settle()?;
        if let Some(day) = self.as_of {
            worker.close_through(day)?;
        }
        meter.clear();
        write_tables(&worker, &config.time.windows, self.as_of, &self.out)?;
        let [changes, rejected] = worker.sink().counts();
        let records = metrics.records_consumed.with_label_values(&[&config_topic(config)]).get();
        Ok(Summary { records, changes, rejected, took: clock.elapsed() })
    }
}

fn config_topic(config: &Config) -> String {
    config.input.topic.clone().unwrap_or_else(|| "card.transactions".to_owned())
}

/// Why a backtest failed.
#[derive(Debug)]
pub enum Failure {
    /// The rules do not fit the features.
    Rules(Vec<cardlens_model::Problem>),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<cardlens_engine::Error> for Failure {
    fn from(error: cardlens_engine::Error) -> Self {
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
