//! A file through the product as it is: the worker, its events, files as a sink.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use cardlens_engine::files::{FileOptions, FileSink, FileSource};
use cardlens_engine::{Deployment, Metrics, Names, Pace, SystemClock, Worker, WorkerSetup};
use cardlens_model::DAY_MS;

use crate::load::rules::{faults, w1};
use crate::load::w1::{Answer, DAYS};

/// Which rules are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Those of W1.
    Task,
    /// Those that come with cardlens.
    Default,
}

/// Replays files dealt to partitions, one after the other, and writes `changes.jsonl` into a directory.
///
/// # Errors
/// The files cannot be read or written.
pub fn replay(
    files: Vec<PathBuf>,
    directory: &Path,
    partitions: u32,
    rules: Rules,
) -> Result<Answer> {
    let mut deployment = match rules {
        Rules::Task => Deployment { withheld: Vec::new(), ..Deployment::new(w1()?) },
        Rules::Default => Deployment::new(cardlens::wiring::rule_set(None).map_err(faults)?),
    };
    // As far back as a configuration may reach.
    deployment.settle_ms = DAYS * DAY_MS;
    let shared = deployment.shared().map_err(faults)?;
    let source = FileSource::open(FileOptions {
        files,
        partitions,
        mapped: Vec::new(),
        currency: deployment.currency.clone(),
    })?;
    let sink = FileSink::create(directory, source.places())?;
    let format = source.format();
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let (topic, decoding_shared) = (deployment.topic.clone(), Arc::clone(&shared));
    let setup = WorkerSetup {
        clock: Box::new(SystemClock::new()),
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
        decoding: Box::new(move || deployment.decoding(&decoding_shared, format.clone())),
        observer: None,
        health: Box::new(|_| {}),
        desk: None,
    };
    let mut worker = Worker::new(source, sink, setup);
    worker.run(&AtomicBool::new(false))?;
    let records = metrics.records_consumed.with_label_values(&[topic.as_str()]).get();
    Ok(Answer { records, changes: worker.sink().counts()[0], to_sum: 0 })
}
