//! The transactional producer, and when it has to be replaced.
//!
//! librdkafka repeats a transactional request whose answer is missing, and the copy that is late
//! can decide the *next* transaction of the same producer: abort it, commit half of it, or move
//! the group's position back, while every call reports success. So a producer lives only as long
//! as each of its transactional requests was answered once. The next one fences it: the broker
//! refuses whatever the old one still has on its way.
//!
//! Invariant: before a committed position is read, the producer that could still move it is
//! replaced; so [`Writer::ready`] comes first.

use std::sync::Arc;
use std::time::Duration;

use cardlens_engine::{Error, Metrics};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};
use tracing::{info, warn};

use crate::client::{Context, Deadline, Health};
use crate::ffi;

/// The producer of this crate.
pub type Producer = BaseProducer<Context>;

/// Why a producer is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A call failed.
    Failed,
    /// A call did not end in time.
    TimedOut,
    /// A request was sent and not answered, although everything went well.
    Retried,
}

/// What has become of messages.
#[derive(Debug, Default)]
pub struct Reports {
    /// Acknowledged.
    pub delivered: usize,
    /// The first failure.
    pub failed: Option<RDKafkaErrorCode>,
}

/// The place of the producer.
pub struct Writer {
    config: ClientConfig,
    id: String,
    health: Arc<Health>,
    metrics: Metrics,
    producer: Option<Producer>,
}

impl Writer {
    /// A place without a producer yet.
    pub fn new(config: ClientConfig, id: String, health: Arc<Health>, metrics: Metrics) -> Self {
        Self { config, id, health, metrics, producer: None }
    }

    /// A producer that no older one can disturb.
    pub fn ready(&mut self, wait: Duration) -> Result<&Producer, Error> {
        if self.producer.is_none() {
            self.producer = Some(self.connect(wait)?);
        }
        self.producer.as_ref().ok_or_else(|| Error::unavailable("no producer"))
    }

    fn connect(&self, wait: Duration) -> Result<Producer, Error> {
        let id = &self.id;
        let made = self.config.create_with_context(Context::new(&self.health));
        let producer: Producer =
            made.map_err(|error| Error::Setup(format!("make the producer `{id}`: {error}")))?;
        // Its events are taken while it waits, or the cause of a failure would not be known.
        let deadline = Deadline::after(wait);
        loop {
            let step = deadline.left().min(Duration::from_secs(1));
            let outcome = producer.init_transactions(step);
            take_events(&producer);
            match outcome {
                Ok(()) => break,
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !deadline.passed() => {}
                Err(error) => {
                    let what = format!("initialise the transactions of `{id}`");
                    return Err(Error::caused(self.health.explain(&what), error));
                }
            }
        }
        info!(id, "producer initialised");
        Ok(producer)
    }

    /// Replaces the producer before it is used again.
    pub fn retire(&mut self, doubt: Doubt) {
        if self.producer.take().is_some() {
            let reason = match doubt {
                Doubt::Failed => "failed",
                Doubt::TimedOut => "timed_out",
                Doubt::Retried => "retried",
            };
            self.metrics.producer_rebuilds.with_label_values(&[reason]).inc();
            warn!(id = self.id, ?doubt, "producer replaced");
        }
    }

    /// Replaces the producer if one of its transactional requests was never answered.
    pub fn inspect(&mut self) {
        let settled = self.producer.as_ref().is_none_or(|producer| {
            take_events(producer);
            producer.context().settled()
        });
        if !settled {
            self.retire(Doubt::Retried);
        }
    }
}

/// Takes what lies in the producer's queue.
fn take_events(producer: &Producer) {
    let mut reports = Reports::default();
    while ffi::next_event(producer, Duration::ZERO, &mut reports) {}
}
