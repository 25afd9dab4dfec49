//! W1 from a real broker: taken and dropped, or through the whole product.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cardlens::config::{Config, Purpose};
use cardlens::run::Engine;
use cardlens_engine::{Metrics, Polled, Source};
use cardlens_kafka::{KafkaConfig, Topics};
use cardlens_model::Position;
use serde::{Deserialize, Serialize};

use crate::load::rules::faults;
use crate::load::w1::Answer;
use crate::measure::{Cost, Stopwatch};

/// The input topic of G1.
pub const TOPIC: &str = "w1";
/// Longest time in which nothing arrives before a side gives up.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// From which topic, and under which name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// `host:port` of the broker.
    pub(super) bootstrap: &'a str,
    /// The input topic.
    pub(super) topic: &'a str,
    /// The group, and the beginning of the names of its topics.
    pub(super) run: &'a str,
}

/// What the product did, and what it did up to the middle of the records.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ran {
    /// All of it.
    pub all: Part,
    /// The first half, by which most customers had their first segments.
    pub half: Part,
}

/// Records committed, changes told, and what both took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Part {
    /// Records.
    pub records: u64,
    /// Changes.
    pub changes: u64,
    /// Since the process began.
    pub cost: Cost,
}

/// Topics of one run.
fn topics(Job { topic, run, .. }: Job<'_>) -> Topics {
    Topics {
        input: topic.to_owned(),
        changes: format!("{run}.changes"),
        current: format!("{run}.current"),
        dead_letters: format!("{run}.dead-letters"),
        decisions: format!("{run}.decisions"),
    }
}

/// Takes `records` from the topic by the product's own source, which hands over what
/// `rd_kafka_consume_batch_queue` gave it, and drops them.
///
/// # Errors
/// The broker does not deliver.
pub fn consume(job: Job<'_>, records: u64) -> Result<Answer> {
    let defaults = Config::builtin().map_err(faults)?;
    let config = KafkaConfig {
        bootstrap_servers: job.bootstrap.to_owned(),
        group: job.run.to_owned(),
        instance_id: "bench".to_owned(),
        worker: 0,
        topics: topics(job),
        session_timeout: defaults.kafka.session_timeout,
        transaction_records_max: usize::try_from(defaults.kafka.transaction_records_max)?,
        create_topics: true,
        replication: None,
        sasl_password: None,
        properties: defaults.kafka.properties,
    };
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let (mut source, _sink) = cardlens_kafka::connect(&config, &Arc::default(), &metrics)?;
    let mut taken = Answer { records: 0, changes: 0, to_sum: 0 };
    let mut assigned = Vec::new();
    while taken.records < records {
        for partition in assigned.drain(..) {
            source.resume(partition, Position(0))?;
        }
        match source.poll(STALLED)? {
            Polled::Assigned(partitions) => assigned = partitions,
            Polled::Records { records, .. } => taken.records += records.len() as u64,
            Polled::Revoked { partitions, .. } => source.released(&partitions),
            Polled::Idle | Polled::Ended => anyhow::bail!("nothing arrived for {STALLED:?}"),
        }
    }
    source.close();
    Ok(taken)
}

/// What the product is told: names of its own for every run, and where to answer scans if anywhere;
/// all else as `default.toml` has it.
pub(super) fn configuration(job: Job<'_>, directory: &Path, scan: &str) -> Result<Config> {
    let Job { bootstrap, topic, run } = job;
    let topics = topics(job);
    let state = directory.join(run);
    let text = format!(
        "[service]\nname = \"{run}\"\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\n\
         instance_id = \"bench\"\n[[input]]\ntopic = \"{topic}\"\n[time]\nsettle = \"400d\"\n\
         [state]\nstore = \"{}\"\n[scan]\nlisten = \"{scan}\"\n\
         [output]\nchanges = \"{}\"\ncurrent = \"{}\"\ndead_letters = \"{}\"\n\
         decisions = \"{}\"\ncreate_topics = true\n[http]\nengine = \"\"\n",
        state.display(),
        topics.changes,
        topics.current,
        topics.dead_letters,
        topics.decisions
    );
    std::fs::create_dir_all(directory)?;
    let file = directory.join(format!("{run}.toml"));
    std::fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
    Config::load(&[file], [], Purpose::Run).map_err(faults)
}

/// Runs the product until `records` of the topic are committed.
///
/// # Errors
/// The engine stops for a reason of its own.
pub fn run(job: Job<'_>, records: u64, directory: &Path) -> Result<Ran> {
    let watch = Stopwatch::own()?;
    let config = configuration(job, directory, "")?;
    let rules = cardlens::wiring::rule_set(None).map_err(faults)?;
    let deployment = cardlens::wiring::deployment(&config, rules);
    let shared = deployment.shared().map_err(faults)?;
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let seen = metrics.clone();
    let engine = Engine::new(config, deployment, shared, metrics, Arc::new(|_| {}))?;
    let stop = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || -> Result<Ran> {
        let part = || -> Result<Part> {
            let (records, changes) = (committed(&seen), changes(&seen));
            Ok(Part { records, changes, cost: watch.read()? })
        };
        let mut half = Part::default();
        let mut all = part()?;
        while !watched.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(20));
            all = part()?;
            if half.records == 0 && all.records >= records / 2 {
                half = all;
            }
            if all.records >= records {
                watched.store(true, Ordering::Relaxed);
            }
        }
        Ok(Ran { all, half })
    });
    let result = engine.run(&stop);
    stop.store(true, Ordering::Relaxed);
    let ran = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
    result?;
    let ran = ran?;
    ensure!(ran.all.changes > 0, "nothing changed");
    Ok(ran)
}

/// Positions after the last commit, of all partitions together.
pub(super) fn committed(metrics: &Metrics) -> u64 {
    sum(&prometheus::core::Collector::collect(&metrics.partition_position))
}

fn changes(metrics: &Metrics) -> u64 {
    sum(&prometheus::core::Collector::collect(&metrics.segment_changes))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts, far below 2^53"
)]
fn sum(families: &[prometheus::proto::MetricFamily]) -> u64 {
    let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    let values =
        metrics.map(|metric| metric.get_gauge().get_value() + metric.get_counter().get_value());
    values.sum::<f64>() as u64
}
