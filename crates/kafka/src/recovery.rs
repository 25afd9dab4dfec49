//! What recovery reads: watermarks, and stretches of a partition from one offset to another.
//!
//! Readers live long and are assigned by hand, at numeric offsets: a fresh one costs a second.
//! A stretch ends where the *position* is, not at the last record: the last offsets of a log may
//! hold markers that are no records, or records that compaction removed. The end of a partition
//! is told by the reader itself.
//!
//! Invariants:
//! - The high watermark comes from a client that reads uncommitted data: one that reads committed
//!   data is told the last stable offset, below which a committed record can be missing.
//! - Every read ends: without progress for [`STALL`] it fails and says where it stood.

use std::ffi::CString;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cardlens_engine::{Bounds, Broken, Error};
use cardlens_model::{PartitionId, Position};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Consumer, Context, Deadline, Health, take_errors};
use crate::config::KafkaConfig;
use crate::ffi::{Message, Messages, Queue};

/// Longest time without progress: more than the timeout of a dead owner's transaction and the
/// interval at which a broker looks for such.
const STALL: Duration = Duration::from_secs(25);
/// Longest time for a question to a broker.
const ASK: Duration = Duration::from_secs(5);
const BATCH: usize = 4_096;

/// A stretch of a partition, `from..to`.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: PartitionId,
    /// First offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// The clients that recovery uses.
pub struct Recovery {
    reader: Arc<Consumer>,
    watermarks: Consumer,
    messages: Messages,
    health: Arc<Health>,
}

impl Recovery {
    /// Makes them.
    pub fn new(config: &KafkaConfig, health: &Arc<Health>) -> Result<Self, Error> {
        let make = |config: rdkafka::ClientConfig| -> Result<Consumer, Error> {
            let made = config.create_with_context(Context::new(health));
            made.map_err(|error| Error::Setup(format!("make a reader: {error}")))
        };
        Ok(Self {
            reader: Arc::new(make(config.recovery())?),
            watermarks: make(config.watermarks())?,
            messages: Messages::new(BATCH),
            health: Arc::clone(health),
        })
    }

    /// The oldest offset, the high watermark and the last stable offset.
    pub fn bounds(&self, topic: &str, partition: PartitionId) -> Result<Bounds, Error> {
        let ask = |client: &Consumer| match client.fetch_watermarks(topic, number(partition), ASK) {
            Ok(both) => {
                drop(client.poll(Duration::ZERO));
                Ok(both)
            }
            Err(error) => {
                take_errors(client);
                let what = format!("ask where `{topic}` partition {} begins and ends", partition.0);
                Err(Error::caused(self.health.explain(&what), error))
            }
        };
        let (low, high) = ask(&self.watermarks)?;
        // What was written between the two questions is looked at next time.
        let stable = ask(&self.reader)?.1.min(high);
        Ok(Bounds { low: Position(low), high: Position(high), stable: Position(stable) })
    }

    /// Reads a stretch, in batches, in order.
    pub fn read(
        &mut self,
        span: Span<'_>,
        each: &mut dyn FnMut(&[Message]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if span.from >= span.to {
            return Ok(());
        }
        let name = topic_name(span.topic)?;
        let queue = Queue::new(&self.reader);
        queue.take(&name, number(span.partition));
        let list = list(span.topic, span.partition, Offset::Offset(span.from))?;
        let assigned = self.reader.assign(&list);
        let read = match assigned {
            Ok(()) => self.drain(&queue, span, each),
            Err(error) => Err(Error::caused(format!("read `{}`", span.topic), error)),
        };
        drop(self.reader.unassign());
        read
    }

    fn drain(
        &mut self,
        queue: &Queue,
        span: Span<'_>,
        each: &mut dyn FnMut(&[Message]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut next = span.from;
        let mut stall = Deadline::after(STALL);
        while next < span.to {
            queue.fill(&mut self.messages, Duration::from_millis(100));
            drop(self.reader.poll(Duration::ZERO));
            let before = next;
            for run in runs(self.messages.as_slice(), span, &mut next)? {
                each(&self.messages.as_slice()[run])?;
            }
            if next > before {
                stall = Deadline::after(STALL);
            } else if stall.passed() {
                let what = format!(
                    "read `{}` partition {}: stuck at {next}, {} short of the high watermark (if \
                     it stays so, `kafka-transactions.sh find-hanging` names the transaction)",
                    span.topic,
                    span.partition.0,
                    span.to - next
                );
                return Err(Error::unavailable(self.health.explain(&what)));
            }
        }
        Ok(())
    }
}

/// Which of the messages belong to the span, in runs without an error between them; moves `next`
/// past them, or to where the log ends.
fn runs(messages: &[Message], span: Span<'_>, next: &mut i64) -> Result<Vec<Range<usize>>, Error> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (idx, message) in messages.iter().enumerate() {
        let offset = message.place().1;
        match message.error() {
            None => {
                *next = (*next).max(offset + 1);
                match runs.last_mut() {
                    _ if offset >= span.to => {}
                    Some(run) if run.end == idx => run.end += 1,
                    _ => runs.push(idx..idx + 1),
                }
            }
            // The offset of an error is where the reader stands.
            Some((RDKafkaErrorCode::PartitionEOF, _)) => *next = (*next).max(offset),
            Some((code, text)) => return Err(refused(span.topic, span.partition, code, &text)),
        }
    }
    Ok(runs)
}

/// What an error in the place of a message means.
pub fn refused(topic: &str, partition: PartitionId, code: RDKafkaErrorCode, text: &str) -> Error {
    let broken = |reason, what: &str| Error::Broken {
        partition,
        reason,
        detail: format!("`{topic}` partition {}: {what} ({text})", partition.0),
    };
    match code {
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition
        | RDKafkaErrorCode::UnknownTopicOrPartition => broken(
            Broken::Topology,
            "the topic or its partition is gone; restore it, or begin anew under another \
                 `service.name`",
        ),
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            broken(Broken::InputGap, "what is to be read next is not there")
        }
        _ => Error::unavailable(format!("read `{topic}` partition {}: {text}", partition.0)),
    }
}

/// librdkafka's number of a partition.
pub fn number(partition: PartitionId) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

/// A list of one partition.
pub fn list(
    topic: &str,
    partition: PartitionId,
    offset: Offset,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    let added = list.add_partition_offset(topic, number(partition), offset);
    added.map_err(|error| {
        Error::caused(format!("name `{topic}` partition {}", partition.0), error)
    })?;
    Ok(list)
}

/// A topic's name as C wants it.
pub fn topic_name(topic: &str) -> Result<CString, Error> {
    CString::new(topic).map_err(|_| Error::Setup(format!("`{topic}` is no name of a topic")))
}
