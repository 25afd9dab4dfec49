//! The least worker that keeps the rules of the seams: it answers each record with one change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use cardlens_engine::{
    Clock as _, Error, Metrics, Outputs, Polled, Progress, Sink as _, Source as _, SystemClock,
    Topic,
};
use cardlens_kafka::{KafkaConfig, KafkaSink, KafkaSource, Topics};
use cardlens_model::{PartitionId, Position};
use cardlens_tests::broker::{Broker, Written};

/// Longest time for anything that a test waits for.
const WAIT: Duration = Duration::from_secs(90);

/// A configuration for this broker.
pub fn config(broker: &Broker, instance: &str) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: broker.bootstrap(),
        group: "cardlens".to_owned(),
        instance_id: instance.to_owned(),
        worker: 0,
        topics: Topics {
            input: "cards".to_owned(),
            changes: "cardlens.segment-changes".to_owned(),
            current: "cardlens.customer-segments".to_owned(),
            dead_letters: "cardlens.dead-letters".to_owned(),
            decisions: "cardlens.decisions".to_owned(),
        },
        session_timeout: Duration::from_secs(6),
        transaction_records_max: 20_000,
        create_topics: true,
        replication: Some(1),
        sasl_password: None,
        properties: BTreeMap::new(),
    }
}

/// Records with a number each, spread over partitions in turn.
pub fn records(from: usize, count: usize, partitions: i32) -> Vec<Written> {
    (from..from + count)
        .map(|n| {
            let partition = i32::try_from(n).unwrap() % partitions;
            let mut record = Written::new(partition, &format!("C{n}"), &format!("{n}"));
            record.headers = vec![("n".to_owned(), n.to_string().into_bytes())];
            record
        })
        .collect()
}

/// Metrics of their own.
fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

/// Joins.
pub fn connect(config: &KafkaConfig) -> Result<(KafkaSource, KafkaSink), Error> {
    cardlens_kafka::connect(config, &Arc::default(), &metrics())
}

/// The worker.
pub struct Echo {
    pub source: KafkaSource,
    pub sink: KafkaSink,
    pub metrics: Metrics,
    /// Where each partition stands.
    pub at: BTreeMap<PartitionId, Position>,
    pub outputs: Outputs,
    /// Assigned and not yet begun.
    waiting: Vec<PartitionId>,
    /// Records taken so far, committed or not.
    pub taken: usize,
    pub revoked: usize,
}

impl Echo {
    pub fn new(config: &KafkaConfig) -> Result<Self> {
        let metrics = metrics();
        let (source, sink) = cardlens_kafka::connect(config, &Arc::default(), &metrics)?;
        let (at, outputs, waiting) = (BTreeMap::new(), Outputs::default(), Vec::new());
        Ok(Self { source, sink, metrics, at, outputs, waiting, taken: 0, revoked: 0 })
    }

    /// How many producers were replaced because a request was not answered.
    pub fn rebuilt_retried(&self) -> u64 {
        self.metrics.producer_rebuilds.with_label_values(&["retried"]).get()
    }

    /// One call of the source, and a commit whenever there is nothing to read.
    pub fn step(&mut self) -> Result<()> {
        if let Some(partition) = self.waiting.first().copied() {
            match self.begin(partition) {
                Err(error @ Error::Unavailable { .. }) => return Err(error.into()),
                begun => {
                    self.waiting.remove(0);
                    begun?;
                }
            }
        }
        match self.source.poll(Duration::from_millis(100))? {
            Polled::Assigned(partitions) => self.waiting.extend(partitions),
            Polled::Revoked { partitions, lost } => {
                self.revoked += partitions.len();
                if lost {
                    self.outputs.retain(|partition| !partitions.contains(&partition));
                } else {
                    self.commit()?;
                }
                self.at.retain(|partition, _| !partitions.contains(partition));
                self.waiting.retain(|partition| !partitions.contains(partition));
                self.source.released(&partitions);
            }
            Polled::Records { partition, records, next } => {
                self.taken += records.len();
                for record in &records {
                    self.outputs.push(Topic::Changes, partition, record.key, Some(record.value));
                    for (name, value) in record.headers.to_vec() {
                        self.outputs.header(&name, &value);
                    }
                }
                self.at.insert(partition, next);
                if self.outputs.len() > 500 {
                    self.commit()?;
                }
            }
            Polled::Idle => self.commit()?,
            Polled::Ended => anyhow::bail!("a topic has no end"),
        }
        Ok(())
    }

    fn begin(&mut self, partition: PartitionId) -> Result<(), Error> {
        let committed = self.source.committed(partition)?;
        let low = self.source.bounds(partition)?.low;
        let at = committed.map_or(low, |committed| committed.position);
        self.source.resume(partition, at)?;
        self.at.insert(partition, at);
        Ok(())
    }

    pub fn commit(&mut self) -> Result<()> {
        self.commit_unless_empty()?;
        self.outputs.clear();
        Ok(())
    }

    /// The commit alone: the outputs stay, to be sent again.
    pub fn commit_unless_empty(&mut self) -> Result<(), Error> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        self.sink.commit(&self.outputs, &self.progress())
    }

    pub fn progress(&self) -> Vec<Progress> {
        let progress = |(partition, position): (&PartitionId, &Position)| Progress {
            partition: *partition,
            position: *position,
            metadata: format!("mark={}", position.0),
        };
        self.at.iter().map(progress).collect()
    }

    /// A step after which it goes on in any case: an outage passes, and who was fenced begins
    /// anew with what is committed.
    pub fn endure(&mut self, config: &KafkaConfig) -> Result<()> {
        let Err(error) = self.step() else { return Ok(()) };
        match error.downcast::<Error>()? {
            Error::Unavailable { .. } => Ok(()),
            Error::Fenced { .. } => {
                // First the old one leaves, then a new one comes: they have one name.
                self.source.close();
                *self = Self { revoked: self.revoked + 1, ..Self::new(config)? };
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    /// Another worker of the same name, which begins with what is committed.
    pub fn anew(mut self, config: &KafkaConfig) -> Result<Self> {
        self.source.close();
        Self::new(config)
    }

    /// Steps until something is so.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let clock = SystemClock::new();
        while !done(self) {
            ensure!(clock.elapsed() < WAIT, "not within {WAIT:?}: {what}");
            self.step()?;
        }
        Ok(())
    }

    /// Steps until that many records were taken and committed.
    pub fn take(&mut self, records: usize) -> Result<()> {
        let all = |echo: &Self| echo.taken >= records && echo.outputs.is_empty();
        self.until(&format!("{records} records"), all)
    }
}
