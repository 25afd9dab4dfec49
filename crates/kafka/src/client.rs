//! How every client of this crate is configured, and what clients say when something is wrong.
//!
//! A wrong password, certificate or mechanism never reaches the call that suffers from it, which
//! only times out: the cause comes through the error callback alone. [`Health`] keeps its text.
//!
//! librdkafka logs each request that it sends and each answer that it gets (`debug=protocol`).
//! The producer's lines of these are read here, because they alone tell whether a transactional
//! request is still unanswered, of which a late copy could decide a later transaction.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cardlens_engine::{Clock as _, SystemClock};
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, warn};

use crate::group::Group;

/// A consumer of this crate.
pub type Consumer = BaseConsumer<Context>;

/// What clients last complained about, for readiness and diagnosis.
#[derive(Debug, Default)]
pub struct Health {
    last: Mutex<Option<String>>,
}

impl Health {
    /// The last error since something last went well.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        held(&self.last).clone()
    }

    pub(crate) fn failed(&self, text: &str) {
        let mut last = held(&self.last);
        // The sum of causes that were told one by one before.
        let sum = text.ends_with("brokers are down") && last.is_some();
        if !sum && last.as_deref() != Some(text) {
            warn!(error = text, "kafka client");
            *last = Some(text.to_owned());
        }
    }

    pub(crate) fn well(&self) {
        *held(&self.last) = None;
    }

    /// Adds what clients complained about to the text of a call that only timed out.
    pub(crate) fn explain(&self, what: &str) -> String {
        match self.last_error() {
            Some(error) => format!("{what}; the client says: {error}"),
            None => what.to_owned(),
        }
    }
}

/// Transactional requests sent and not answered.
#[derive(Debug, Default)]
struct Requests {
    seen: AtomicU64,
    open: AtomicI64,
}

/// Requests of which a late copy could decide a later transaction.
const TRANSACTIONAL: [&str; 4] =
    ["EndTxn", "TxnOffsetCommit", "AddOffsetsToTxn", "AddPartitionsToTxn"];

impl Requests {
    fn note(&self, facility: &str, line: &str) {
        let told = |verb: &str, end: &str| {
            let rest = line.split(verb).nth(1).and_then(|rest| rest.split(end).next());
            rest.is_some_and(|name| TRANSACTIONAL.contains(&name))
        };
        match facility {
            "SEND" if told(": Sent ", "Request ") => {
                self.seen.fetch_add(1, Ordering::Relaxed);
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            "RECV" if told(": Received ", "Response ") => {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// The context of every client.
#[derive(Default)]
pub struct Context {
    health: Arc<Health>,
    requests: Requests,
    group: Option<Arc<Group>>,
}

impl Context {
    /// Of a client that is no member of the group.
    pub fn new(health: &Arc<Health>) -> Self {
        Self { health: Arc::clone(health), ..Self::default() }
    }

    /// Of the member.
    pub fn of_member(health: &Arc<Health>, group: &Arc<Group>) -> Self {
        Self { group: Some(Arc::clone(group)), ..Self::new(health) }
    }

    /// Keeps the text of an error.
    pub fn failed(&self, text: &str) {
        self.health.failed(text);
    }

    /// Takes a line of librdkafka's log.
    pub fn logged(&self, facility: &str, line: &str) {
        self.requests.note(facility, line);
        if facility != "SEND" && facility != "RECV" {
            debug!(facility, line, "librdkafka");
        }
    }

    /// Whether every transactional request sent so far was answered, and at least one was seen:
    /// if none was, the log is not what it was taken for, and nothing may be concluded from it.
    /// All events of the client must have been taken.
    pub fn settled(&self) -> bool {
        self.requests.seen.load(Ordering::Relaxed) > 0
            && self.requests.open.load(Ordering::Relaxed) == 0
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        self.logged(facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.failed(&if reason.is_empty() { error.to_string() } else { reason.to_owned() });
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &Consumer, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if let Some(group) = &self.group {
            group.rebalance(consumer, err, list);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Takes the errors that lie in the queue of a client that is only asked questions: nobody else
/// polls it. What `poll` returns does not tell whether there are more; silence for a moment does.
pub fn take_errors(client: &Consumer) {
    for _ in 0..64 {
        if client.poll(Duration::from_millis(5)).is_none() {
            break;
        }
    }
}

/// The only place that makes a configuration.
#[allow(clippy::disallowed_methods, reason = "this is the wrapper that everyone else uses")]
pub fn configuration() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// A time by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    clock: SystemClock,
    most: Duration,
}

impl Deadline {
    /// That far from now.
    pub fn after(most: Duration) -> Self {
        Self { clock: SystemClock::new(), most }
    }

    /// What is left; zero when it has passed.
    pub fn left(&self) -> Duration {
        self.most.saturating_sub(self.clock.elapsed())
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Locks; what a panicking thread left behind is still whole, as every update is one assignment.
pub fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unanswered_requests_are_counted() {
        let sent =
            "[thrd:host:9092/1]: host:9092/1: Sent EndTxnRequest (v1, 65 bytes @ 0, CorrId 7)";
        let answered = "[thrd:host:9092/1]: host:9092/1: Received EndTxnResponse (v1, 10 bytes, CorrId 7, rtt 1ms)";
        let context = Context::default();
        assert!(!context.settled(), "nothing seen");
        context.logged("SEND", sent);
        assert!(!context.settled());
        context.logged("RECV", answered);
        assert!(context.settled());
        context.logged("SEND", "host: Sent ProduceRequest (v7, 65 bytes @ 0, CorrId 8)");
        context.logged("SEND", "host: Sent partial EndTxnRequest (v1, 0+10/65 bytes, CorrId 9)");
        assert!(context.settled(), "a request that is not whole cannot be obeyed");
    }
}
