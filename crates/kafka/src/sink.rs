//! Outputs and input positions in one transaction, and what became of it.
//!
//! A commit that fails leaves an open question: it may have happened. It is never repeated blind.
//! Each transaction writes a *tag* of its own beside the positions; after a failure the producer
//! is replaced, which decides the old transaction, and the committed positions are read again:
//! they carry the tag, or they stand where they stood, or somebody else moved them.
//!
//! Invariants:
//! - Only partitions owned by this instance are committed, as a member of a known generation.
//! - Success is reported only when every message was acknowledged and the commit answered.
//! - After an outage only the same call goes on, or the outcome of the first could not be told from
//!   that of the second. A worker that calls with anything else has lost track, and is fenced.

use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use cardlens_engine::{Clock as _, Error, Metrics, Output, Outputs, Progress, Sink, SystemClock};
use rdkafka::consumer::{Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use crate::client::{Deadline, held};
use crate::ffi;
use crate::recovery::number;
use crate::source::Member;
use crate::writer::{Doubt, Producer, Reports};

/// Longest time for one transaction, well within its timeout: one that is timed out by the broker
/// looks as if somebody else had taken over.
const ATTEMPT: Duration = Duration::from_secs(8);
/// Longest time for a commit with all its repetitions.
const COMMIT: Duration = Duration::from_secs(20);
/// Longest wait for one question to the brokers in between.
const ASK: Duration = Duration::from_secs(5);
/// Repetitions of a transaction that was certainly not committed.
const ATTEMPTS: usize = 5;
/// Separates the tag from the worker's text.
const TAG_END: char = '|';

/// The text beside a position without the tag; empty when another program wrote it.
pub fn untagged(text: &str) -> &str {
    text.split_once(TAG_END).filter(|(tag, _)| tag.starts_with("tx")).map_or("", |(_, text)| text)
}

/// Where the outputs of one worker go.
pub struct KafkaSink {
    member: Arc<Member>,
    metrics: Metrics,
    clock: SystemClock,
    /// Makes the tags of this sink its own.
    nonce: u64,
    serial: u64,
    /// The call that ended as an outage, and has to be repeated.
    owed: Option<Owed>,
}

/// A transaction, but for its outputs.
#[derive(Debug, Clone)]
struct Call {
    tag: String,
    progress: Vec<Progress>,
}

/// A call that is to be repeated.
#[derive(Debug)]
struct Owed {
    call: Call,
    outputs: u64,
    /// Nobody knows yet whether it was committed.
    open: bool,
}

/// Why a transaction did not succeed.
enum Failure {
    /// Somebody else has taken over.
    Fenced(String),
    /// It was not or may not have been committed.
    Doubtful(Doubt, Error),
    /// It can never be committed.
    Impossible(Error),
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    NotCommitted,
}

impl KafkaSink {
    pub(crate) fn new(member: Arc<Member>, metrics: Metrics) -> Self {
        let nonce = RandomState::new().build_hasher().finish();
        let clock = SystemClock::new();
        Self { member, metrics, clock, nonce, serial: 0, owed: None }
    }

    /// What became of a transaction; those that were committed the worker counts.
    fn count(&self, outcome: &str) {
        self.metrics.transactions.with_label_values(&[outcome]).inc();
    }

    fn fenced(&mut self, detail: &str) -> Error {
        self.count("fenced");
        // The worker drops what it holds; so nobody asks any more.
        self.owed = None;
        Error::Fenced { detail: detail.to_owned() }
    }

    /// Finds out about the call that ended as an outage, of which this one is the repetition.
    fn settle(
        &mut self,
        outputs: &Outputs,
        progress: &[Progress],
        deadline: Deadline,
    ) -> Result<Fate, Error> {
        let Some(owed) = &self.owed else { return Ok(Fate::NotCommitted) };
        if owed.call.progress != progress || owed.outputs != digest(outputs) {
            return Err(self.fenced("another call follows one that ended as an outage"));
        }
        if !owed.open {
            return Ok(Fate::NotCommitted);
        }
        let call = owed.call.clone();
        let fate = self.resolve(&call, deadline)?;
        self.owed = None;
        Ok(fate)
    }

    /// Replaces the producer and reads what is committed.
    fn resolve(&mut self, call: &Call, deadline: Deadline) -> Result<Fate, Error> {
        held(&self.member.writer).ready(deadline.left().min(ASK))?;
        let mut fates = Vec::new();
        for progress in &call.progress {
            let partition = progress.partition;
            let known = self.member.group.stored(partition);
            let stored = self.member.stored(partition, deadline.left().min(ASK))?;
            let ours = stored.as_ref().is_some_and(|(_, text)| text.starts_with(&call.tag));
            if !ours && known.as_ref().is_some_and(|known| *known != stored) {
                let detail = format!("somebody else committed partition {}", partition.0);
                return Err(self.fenced(&detail));
            }
            self.member.group.store(partition, stored);
            fates.push(if ours { Fate::Committed } else { Fate::NotCommitted });
        }
        match fates.first() {
            Some(fate) if fates.iter().all(|other| other == fate) => {
                debug!(tag = call.tag, ?fate, "transaction resolved");
                Ok(*fate)
            }
            _ => Err(self.fenced("one transaction, two outcomes")),
        }
    }

    /// Whether all of it belongs to partitions of this worker.
    fn owns(&self, outputs: &Outputs, progress: &[Progress]) -> bool {
        let mut partitions: Vec<_> = outputs.iter().map(|output| output.partition).collect();
        partitions.dedup();
        partitions.extend(progress.iter().map(|progress| progress.partition));
        self.member.group.owns(partitions)
    }

    /// One transaction.
    fn attempt(&self, outputs: &Outputs, call: &Call, wait: Duration) -> Result<(), Failure> {
        let deadline = Deadline::after(ATTEMPT.min(wait));
        let member = &self.member;
        let mut writer = held(&member.writer);
        let producer = match writer.ready(deadline.left()) {
            Ok(producer) => producer,
            Err(error) => return Err(Failure::Doubtful(Doubt::Failed, error)),
        };
        let doubt = |what: &str, error: KafkaError| self.judge(producer, what, error);
        producer.begin_transaction().map_err(|error| doubt("begin a transaction", error))?;
        let mut reports = Reports::default();
        for output in outputs.iter() {
            let sent = self.send(producer, &output, &mut reports, deadline);
            sent.map_err(|error| doubt("send an output", error))?;
        }
        // First the generation, then the ownership: were it lost in between, the generation is
        // outdated and the broker refuses it.
        let Some(generation) = self.generation() else {
            return Err(Failure::Fenced("this instance is no member of the group".to_owned()));
        };
        if !self.owns(outputs, &call.progress) {
            return Err(Failure::Fenced("a partition was taken away".to_owned()));
        }
        let offsets = self.offsets(call).map_err(|error| doubt("name the positions", error))?;
        let sent = producer.send_offsets_to_transaction(&offsets, &generation, deadline.left());
        sent.map_err(|error| doubt("send the positions", error))?;
        drain(producer, &mut reports, outputs.len(), deadline)
            .map_err(|error| doubt("wait for the outputs", error))?;
        let committed = producer.commit_transaction(deadline.left());
        committed.map_err(|error| doubt("commit the transaction", error))?;
        writer.inspect();
        Ok(())
    }

    fn send(
        &self,
        producer: &Producer,
        output: &Output<'_>,
        reports: &mut Reports,
        deadline: Deadline,
    ) -> KafkaResult<()> {
        let mut headers = OwnedHeaders::new_with_capacity(output.headers().len());
        for (key, value) in output.headers() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(self.member.topics.output(output.topic))
            .partition(number(output.partition))
            .timestamp(self.clock.now_ms())
            .headers(headers);
        record.key = output.key;
        record.payload = output.value;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if !deadline.passed() =>
                {
                    record = back;
                    ffi::next_event(producer, Duration::from_millis(100), reports);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// The member as the coordinator knows it. Taken between two looks at the generation: as -1,
    /// before it joined, a member would be believed without being checked.
    fn generation(&self) -> Option<ConsumerGroupMetadata> {
        let consumer = &self.member.consumer;
        let before = ffi::generation(consumer);
        let metadata = consumer.group_metadata();
        let same = before >= 0 && ffi::generation(consumer) == before;
        metadata.filter(|_| same)
    }

    fn offsets(&self, call: &Call) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(call.progress.len());
        for progress in &call.progress {
            let topic = &self.member.topics.input;
            let mut element = offsets.add_partition(topic, number(progress.partition));
            element.set_offset(Offset::Offset(progress.position.0))?;
            element.set_metadata(tagged(&call.tag, progress));
        }
        Ok(offsets)
    }

    /// Sorts an error of a call by what it means for this worker.
    fn judge(&self, producer: &Producer, what: &str, error: KafkaError) -> Failure {
        use RDKafkaErrorCode as Code;
        // Once a producer is done for, its calls and messages fail for reasons that follow.
        let fatal = producer.client().fatal_error().map(|(code, _)| code);
        let doubt = match fatal.or_else(|| error.rdkafka_error_code()) {
            Some(
                Code::Fenced
                | Code::ProducerFenced
                | Code::InvalidProducerEpoch
                | Code::TransactionCoordinatorFenced
                | Code::FencedInstanceId,
            ) => return Failure::Fenced(format!("{what}: {error}")),
            Some(
                Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::MessageTimedOut
                | Code::TimedOutQueue,
            ) => Doubt::TimedOut,
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
                let advice = "raise `message.max.bytes` here and max.message.bytes of the topics";
                return Failure::Impossible(Error::Setup(format!("{what}: {error}: {advice}")));
            }
            _ => Doubt::Failed,
        };
        Failure::Doubtful(doubt, Error::caused(self.member.health.explain(what), error))
    }

    fn committed(&self, call: &Call) {
        for progress in &call.progress {
            let stored = (progress.position.0, tagged(&call.tag, progress));
            self.member.group.store(progress.partition, Some(stored));
        }
        self.member.health.well();
    }
}

impl Sink for KafkaSink {
    fn commit(&mut self, outputs: &Outputs, progress: &[Progress]) -> Result<(), Error> {
        let deadline = Deadline::after(COMMIT);
        if self.settle(outputs, progress, deadline)? == Fate::Committed {
            return Ok(());
        }
        if progress.is_empty() {
            return match outputs.len() {
                0 => Ok(()),
                _ => Err(Error::Setup("outputs need a position beside them".to_owned())),
            };
        }
        self.serial += 1;
        let tag = format!("tx{:016x}-{}{TAG_END}", self.nonce, self.serial);
        let call = Call { tag, progress: progress.to_vec() };
        for left in (0..ATTEMPTS).rev() {
            if !self.owns(outputs, progress) {
                return Err(self.fenced("a partition was taken away"));
            }
            let (doubt, error) = match self.attempt(outputs, &call, deadline.left()) {
                Ok(()) => {
                    self.owed = None;
                    self.committed(&call);
                    return Ok(());
                }
                Err(Failure::Fenced(detail)) => {
                    held(&self.member.writer).retire(Doubt::Failed);
                    return Err(self.fenced(&detail));
                }
                Err(Failure::Impossible(error)) => {
                    held(&self.member.writer).retire(Doubt::Failed);
                    return Err(error);
                }
                Err(Failure::Doubtful(doubt, error)) => (doubt, error),
            };
            warn!(error = %error, cause = ?std::error::Error::source(&error), "transaction failed");
            held(&self.member.writer).retire(doubt);
            self.count("unknown");
            let outputs = digest(outputs);
            self.owed = Some(Owed { call: call.clone(), outputs, open: true });
            if self.resolve(&call, deadline)? == Fate::Committed {
                self.owed = None;
                return Ok(());
            }
            self.count("aborted");
            self.owed = Some(Owed { call: call.clone(), outputs, open: false });
            if left == 0 || deadline.passed() {
                return Err(error);
            }
        }
        Err(Error::unavailable("commit a transaction"))
    }
}

/// Tells outputs apart; only within this process, and only after an outage.
fn digest(outputs: &Outputs) -> u64 {
    let mut hasher = DefaultHasher::new();
    for output in outputs.iter() {
        (output.topic, output.partition, output.key, output.value).hash(&mut hasher);
    }
    hasher.finish()
}

fn tagged(tag: &str, progress: &Progress) -> String {
    format!("{tag}{}", progress.metadata)
}

/// Waits until every message is acknowledged.
fn drain(
    producer: &Producer,
    reports: &mut Reports,
    sent: usize,
    deadline: Deadline,
) -> KafkaResult<()> {
    loop {
        if let Some(code) = reports.failed {
            return Err(KafkaError::MessageProduction(code));
        }
        if reports.delivered >= sent {
            return Ok(());
        }
        if deadline.passed() {
            return Err(KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut));
        }
        ffi::next_event(producer, deadline.left().min(Duration::from_millis(500)), reports);
    }
}
