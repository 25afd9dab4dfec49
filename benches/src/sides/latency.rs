//! Two ways from a topic to changes of it, each in one transaction every 100 ms: the product, and
//! the least that a program can do with librdkafka, which is to copy.
//!
//! Both stay alive and say when so many records are committed, with the CPU time of the records
//! since they last said so.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cardlens::run::Engine;
use cardlens_engine::Metrics;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::kafka::{Job, STALLED, committed, configuration};
use super::say;
use crate::load::rules::faults;
use crate::measure::{Stopwatch, now};
use crate::open_loop::SOURCE;

/// From commit to commit: the product's default.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_secs(30);

/// Runs the product with an endpoint for scans, until nobody asks any more.
///
/// # Errors
/// The engine stops for a reason of its own.
pub fn run(job: Job<'_>, warm: u64, directory: &Path, scan: &str) -> Result<()> {
    let config = configuration(job, directory, scan)?;
    ensure!(config.kafka.commit_interval == COMMIT_INTERVAL, "another commit interval");
    let rules = cardlens::wiring::rule_set(None).map_err(faults)?;
    let deployment = cardlens::wiring::deployment(&config, rules);
    let shared = deployment.shared().map_err(faults)?;
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let seen = metrics.clone();
    let engine = Engine::new(config, deployment, shared, metrics, Arc::new(|_| {}))?;
    let stop = attended(move || committed(&seen), warm);
    engine.run(&stop)
}

/// Copies a topic, until nobody asks any more.
///
/// # Errors
/// The broker refuses something.
pub fn copy(job: Job<'_>, warm: u64) -> Result<()> {
    let copied = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&copied);
    let stop = attended(move || count.load(Ordering::Relaxed), warm);
    let mut copying = Copying::start(job)?;
    while !stop.load(Ordering::Relaxed) {
        copied.fetch_add(copying.transaction()?, Ordering::Relaxed);
    }
    Ok(())
}

/// Answers whoever asks, on a thread of its own; says when nobody does any more. It ends with the
/// process: one whose work fails does not wait for questions.
fn attended(committed: impl Fn() -> u64 + Send + 'static, warm: u64) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::spawn(move || {
        if let Err(error) = attend(&committed, warm) {
            eprintln!("{error:#}");
        }
        stopped.store(true, Ordering::Relaxed);
    });
    stop
}

/// Says when the records before the measurement are committed, then, for every number that comes
/// in, when so many are.
fn attend(committed: &impl Fn() -> u64, warm: u64) -> Result<()> {
    let mut watch = Stopwatch::own()?;
    reach(committed, warm)?;
    say(&watch.read()?)?;
    watch = Stopwatch::own()?;
    for wanted in std::io::stdin().lock().lines() {
        reach(committed, wanted?.parse()?)?;
        say(&watch.read()?)?;
        watch = Stopwatch::own()?;
    }
    Ok(())
}

fn reach(committed: &impl Fn() -> u64, wanted: u64) -> Result<()> {
    let (mut before, mut moved) = (committed(), now());
    while before < wanted {
        std::thread::park_timeout(Duration::from_millis(20));
        let count = committed();
        if count > before {
            (before, moved) = (count, now());
        }
        ensure!(moved.elapsed() < STALLED, "{before} of {wanted} records in {STALLED:?}");
    }
    Ok(())
}

/// A consumer and a producer, with the settings of the product's where those matter.
struct Copying {
    consumer: BaseConsumer,
    producer: BaseProducer,
    to: String,
    committed_at: std::time::Instant,
}

impl Copying {
    fn start(job: Job<'_>) -> Result<Self> {
        let mut config = client(job.bootstrap);
        config.set("group.id", job.run).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("check.crcs", "true").set("partition.assignment.strategy", "range");
        config.set("fetch.wait.max.ms", "50").set("fetch.queue.backoff.ms", "10");
        config.set("queued.min.messages", "100000").set("fetch.message.max.bytes", "4194304");
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[job.topic])?;
        let mut config = client(job.bootstrap);
        config.set("transactional.id", job.run).set("transaction.timeout.ms", "10000");
        config.set("message.timeout.ms", "10000").set("compression.type", "lz4");
        config.set("linger.ms", "5").set("batch.size", "1000000");
        config.set("retry.backoff.ms", "10").set("retry.backoff.max.ms", "100");
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(WAIT)?;
        let to = format!("{}.changes", job.run);
        Ok(Self { consumer, producer, to, committed_at: now() })
    }

    /// Copies what comes until the next commit is due; says how many records that were.
    fn transaction(&mut self) -> Result<u64> {
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        let mut copied = 0;
        loop {
            let left = COMMIT_INTERVAL.saturating_sub(self.committed_at.elapsed());
            if left.is_zero() {
                break;
            }
            let Some(message) = self.consumer.poll(left.max(Duration::from_millis(1))) else {
                continue;
            };
            let message = message?;
            if copied == 0 {
                self.producer.begin_transaction()?;
            }
            self.put(&message)?;
            next.insert(message.partition(), message.offset() + 1);
            copied += 1;
        }
        self.committed_at = now();
        if copied > 0 {
            self.commit(&next)?;
        }
        Ok(copied)
    }

    fn put(&self, message: &rdkafka::message::BorrowedMessage<'_>) -> Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let source = format!("{}/{partition}/{offset}", message.topic());
        let headers = OwnedHeaders::new_with_capacity(1);
        let headers = headers.insert(Header { key: SOURCE, value: Some(&source) });
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.to).partition(partition);
        record = record.headers(headers);
        (record.key, record.payload) = (message.key(), message.payload());
        while let Err((error, back)) = self.producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            ensure!(error == full, "copy a record: {error}");
            record = back;
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }

    fn commit(&self, next: &BTreeMap<i32, i64>) -> Result<()> {
        let topic = self.consumer.subscription()?;
        let topic = topic.elements().first().map(|it| it.topic().to_owned()).context("a topic")?;
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in next {
            offsets.add_partition_offset(&topic, *partition, Offset::Offset(*offset))?;
        }
        let member = self.consumer.group_metadata().context("no member of the group")?;
        self.producer.send_offsets_to_transaction(&offsets, &member, WAIT)?;
        Ok(self.producer.commit_transaction(WAIT)?)
    }
}

#[allow(clippy::disallowed_methods, reason = "a rival has clients of its own")]
fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}
