//! The input as the worker sees it: assignments, runs of records, and what recovery reads.
//!
//! A thread of its own calls the consumer's poll, in which librdkafka runs the callbacks of the
//! group; it never blocks for long, so the member is not taken for dead while the worker restores
//! a partition. Records come past it: partitions deliver to a queue that the worker reads in
//! batches.
//!
//! Invariants:
//! - What the poll thread has to say comes before any record.
//! - Records of a partition are delivered in order, from the position given to `resume`, and only
//!   between `resume` and the next revocation or `stop`.
//! - A position that is no longer, or not yet, in the log stops the partition; it is never
//!   skipped. Offsets without a record (markers, aborted or compacted records) are no gap.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cardlens_engine::{Bounds, Broken, Committed, EachPublished, Error, Polled, Source};
use cardlens_model::{PartitionId, Position, Record};
use crossbeam_channel::Receiver;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use crate::client::{Consumer, Deadline, Health, held};
use crate::config::Topics;
use crate::ffi::{Message, Messages, Queue};
use crate::group::{Event, Group, Stored};
use crate::recovery::{Recovery, Span, list, number, refused};
use crate::sink::untagged;
use crate::writer::Writer;

/// Most messages taken at a time.
pub const BATCH: usize = 4_096;
/// Longest single wait of a call other than a stretch of recovery.
pub const ASK: Duration = Duration::from_secs(5);
/// Longest wait for what others have committed, while records of this worker wait.
const ASK_ALL: Duration = Duration::from_secs(1);
/// The safe client spins through the last millisecond of each poll, so polls are long.
const POLL: Duration = Duration::from_millis(500);
/// How often the partitions of the input are counted.
const RECOUNT: Duration = Duration::from_secs(30);
/// Longest time that leaving may take; correctness never depends on leaving in good order.
const LEAVE: Duration = Duration::from_secs(5);

/// What the poll thread, the source and the sink have in common.
pub struct Member {
    /// The group's member.
    pub consumer: Arc<Consumer>,
    /// What it owns.
    pub group: Arc<Group>,
    /// What clients complain about.
    pub health: Arc<Health>,
    /// Topic names.
    pub topics: Topics,
    /// Partitions of the input when it was joined.
    pub partitions: usize,
    /// The producer: committed positions may be read only once it is in order.
    pub writer: Mutex<Writer>,
}

/// Records of the partitions that the group assigned to this instance.
pub struct KafkaSource {
    member: Arc<Member>,
    input: CString,
    queue: Arc<Queue>,
    events: Receiver<Event>,
    messages: Messages,
    /// First message of the batch that was not handed out.
    cursor: usize,
    /// Partitions being delivered, with the next offset of each.
    live: BTreeMap<PartitionId, i64>,
    /// Where the log of a partition was found to end for its reader.
    ends: BTreeMap<PartitionId, i64>,
    /// Partitions that began anew, or ended, while the batch held older messages of theirs.
    stale: BTreeSet<PartitionId>,
    /// Partitions of the input, once it has another number of them than when it was joined.
    recounted: Option<usize>,
    recovery: Recovery,
    thread: Option<JoinHandle<()>>,
}

impl KafkaSource {
    /// Starts the poll thread of a consumer that has subscribed.
    pub(crate) fn start(
        member: Arc<Member>,
        input: CString,
        events: Receiver<Event>,
        recovery: Recovery,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::new(&member.consumer));
        member.group.wake_at(&queue);
        let polled = Arc::clone(&member);
        let spawned = thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || poll_until_closed(&polled));
        let thread = spawned.map_err(|error| Error::caused("start the poll thread", error))?;
        Ok(Self {
            member,
            input,
            queue,
            events,
            messages: Messages::new(BATCH),
            cursor: 0,
            live: BTreeMap::new(),
            ends: BTreeMap::new(),
            stale: BTreeSet::new(),
            recounted: None,
            recovery,
            thread: Some(thread),
        })
    }

    /// What clients last complained about.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.member.health)
    }

    /// The next thing that the poll thread has to say.
    fn event(&mut self) -> Result<Option<Polled<'static>>, Error> {
        match self.events.try_recv() {
            Ok(Event::Assigned { partitions, epoch }) => {
                self.member.group.told(&partitions, epoch);
                let most = partitions.iter().map(|partition| partition.0 as usize + 1).max();
                self.recounted =
                    most.filter(|most| *most > self.member.partitions).or(self.recounted);
                return Ok(Some(Polled::Assigned(partitions)));
            }
            Ok(Event::Revoked { partitions, lost }) => {
                self.live.retain(|partition, _| !partitions.contains(partition));
                self.ends.retain(|partition, _| !partitions.contains(partition));
                self.stale.extend(&partitions);
                return Ok(Some(Polled::Revoked { partitions, lost }));
            }
            Ok(Event::Recounted(partitions)) => self.recounted = Some(partitions),
            Ok(Event::Fatal(detail)) => return Err(Error::Fenced { detail }),
            Err(_) => {}
        }
        match self.live.first_key_value().map(|(partition, _)| *partition) {
            Some(partition) if self.recounted.is_some() => {
                self.live.remove(&partition);
                self.countable(partition).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    /// Refuses a partition of an input that was given more partitions: customers have moved
    /// between them, and their history has not.
    fn countable(&self, partition: PartitionId) -> Result<(), Error> {
        let (topic, before) = (&self.member.topics.input, self.member.partitions);
        let now = self.recounted.unwrap_or(before);
        if now == before {
            return Ok(());
        }
        let detail = format!(
            "`{topic}` had {before} partitions and has others now: its customers have moved, but \
             not what is known of them; make a new topic of that many partitions, write the \
             history into it, and begin anew on it under another `service.name`"
        );
        Err(Error::Broken { partition, reason: Broken::Topology, detail })
    }

    /// The next run of records of one live partition in the batch.
    fn next_run(&mut self) -> Result<Option<(PartitionId, Range<usize>)>, Error> {
        let messages = self.messages.as_slice();
        while let Some(message) = messages.get(self.cursor) {
            let (start, (partition, offset)) = (self.cursor, message.place());
            self.cursor += 1;
            let Ok(partition) = u32::try_from(partition).map(PartitionId) else { continue };
            let Some(next) = self.live.get_mut(&partition) else { continue };
            if self.stale.contains(&partition) {
                continue;
            }
            if let Some((code, text)) = message.error() {
                let next = *next;
                // Everything before it was handed out.
                if code == RDKafkaErrorCode::PartitionEOF {
                    self.ends.insert(partition, offset);
                    continue;
                }
                return Err(self.explain(partition, next, code, &text));
            }
            if offset < *next {
                continue;
            }
            let same = |message: &&Message| {
                message.place().0 == number(partition) && message.error().is_none()
            };
            self.cursor += messages[self.cursor..].iter().take_while(same).count();
            *next = messages[self.cursor - 1].place().1 + 1;
            return Ok(Some((partition, start..self.cursor)));
        }
        Ok(None)
    }

    /// Finds out what an error of a partition means, by what its log holds.
    fn explain(
        &self,
        partition: PartitionId,
        at: i64,
        code: RDKafkaErrorCode,
        text: &str,
    ) -> Error {
        let topic = &self.member.topics.input;
        let missing = matches!(
            code,
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
        );
        match missing.then(|| self.recovery.bounds(topic, partition)) {
            Some(Ok(bounds)) => match outside(topic, partition, at, bounds) {
                Some(broken) => broken,
                None if code == RDKafkaErrorCode::LogTruncation => Error::Broken {
                    partition,
                    reason: Broken::Truncated,
                    detail: format!("`{topic}`: records before {at} were replaced: {text}"),
                },
                None => refused(topic, partition, code, text),
            },
            _ => refused(topic, partition, code, text),
        }
    }

    /// Errors of an output topic are outages: what it holds decides nothing about the input.
    fn read_output(
        &mut self,
        topic: &str,
        partition: PartitionId,
        each: &mut dyn FnMut(&Message),
    ) -> Result<(), Error> {
        let bounds = self.recovery.bounds(topic, partition)?;
        let span = Span { topic, partition, from: bounds.low.0, to: bounds.high.0 };
        let read = self.recovery.read(span, &mut |messages| {
            messages.iter().for_each(&mut *each);
            Ok(())
        });
        read.map_err(|error| match error {
            Error::Broken { detail, .. } => Error::unavailable(detail),
            error => error,
        })
    }
}

impl Source for KafkaSource {
    fn partitions(&mut self) -> Option<u32> {
        u32::try_from(self.member.partitions).ok()
    }

    fn reached(&mut self, partition: PartitionId) -> Option<Position> {
        self.ends.get(&partition).copied().map(Position)
    }

    /// One question for all, with a short wait: they are those of others, and change all the time.
    fn all_committed(&mut self) -> Result<Vec<(PartitionId, Committed)>, Error> {
        let topic = &self.member.topics.input;
        let failed =
            |error| Error::caused(format!("read all committed positions of `{topic}`"), error);
        let mut all = TopicPartitionList::with_capacity(self.member.partitions);
        for partition in 0..self.member.partitions {
            all.add_partition(topic, i32::try_from(partition).unwrap_or(i32::MAX));
        }
        let answer = self.member.consumer.committed_offsets(all, ASK_ALL).map_err(failed)?;
        let committed = answer.elements().into_iter().filter_map(|element| {
            let Offset::Offset(offset) = element.offset() else { return None };
            let partition = u32::try_from(element.partition()).ok().map(PartitionId)?;
            let metadata = untagged(element.metadata()).to_owned();
            Some((partition, Committed { position: Position(offset), metadata }))
        });
        Ok(committed.collect())
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled<'_>, Error> {
        if let Some(polled) = self.event()? {
            return Ok(polled);
        }
        let mut run = self.next_run()?;
        if run.is_none() {
            self.queue.fill(&mut self.messages, wait);
            self.cursor = 0;
            self.stale.clear();
            // The wait may have been ended to tell something.
            if let Some(polled) = self.event()? {
                return Ok(polled);
            }
            run = self.next_run()?;
        }
        let Some((partition, run)) = run else {
            // It ends only with a reason, and tells it; without one it has panicked.
            let gone = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            return match self.event()? {
                Some(polled) => Ok(polled),
                None if gone => Err(Error::Fenced { detail: "nobody polls the group".to_owned() }),
                None => Ok(Polled::Idle),
            };
        };
        let next = self.live.get(&partition).copied().unwrap_or_default();
        let records = self.messages.as_slice()[run].iter().map(Message::record).collect();
        Ok(Polled::Records { partition, records, next: Position(next) })
    }

    fn committed(&mut self, partition: PartitionId) -> Result<Option<Committed>, Error> {
        self.countable(partition)?;
        let deadline = Deadline::after(ASK);
        // First the producer: until it is replaced, an old one may still move the position.
        held(&self.member.writer).ready(deadline.left())?;
        let stored = self.member.stored(partition, deadline.left())?;
        self.member.group.store(partition, stored.clone());
        Ok(stored.map(|(offset, text)| Committed {
            position: Position(offset),
            metadata: untagged(&text).to_owned(),
        }))
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<Bounds, Error> {
        self.recovery.bounds(&self.member.topics.input, partition)
    }

    fn replay(
        &mut self,
        partition: PartitionId,
        from: Position,
        to: Position,
        each: &mut dyn FnMut(&[Record<'_>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let topic = self.member.topics.input.clone();
        let bounds = self.recovery.bounds(&topic, partition)?;
        for at in [from.0, to.0] {
            if let Some(broken) = outside(&topic, partition, at, bounds).filter(|_| from < to) {
                return Err(broken);
            }
        }
        let span = Span { topic: &topic, partition, from: from.0, to: to.0 };
        self.recovery.read(span, &mut |messages| {
            let records: Vec<Record<'_>> = messages.iter().map(Message::record).collect();
            each(&records)
        })
    }

    fn published(
        &mut self,
        partition: PartitionId,
        each: &mut EachPublished<'_>,
    ) -> Result<(), Error> {
        let topic = self.member.topics.current.clone();
        self.read_output(&topic, partition, &mut |message| {
            let (key, value) = message.pair();
            each(key.unwrap_or_default(), value);
        })
    }

    fn decisions(
        &mut self,
        partition: PartitionId,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        let topic = self.member.topics.decisions.clone();
        self.read_output(&topic, partition, &mut |message| {
            each(message.pair().1.unwrap_or_default());
        })
    }

    fn resume(&mut self, partition: PartitionId, at: Position) -> Result<(), Error> {
        let consumer = &self.member.consumer;
        let topic = &self.member.topics.input;
        let what = || format!("begin `{topic}` partition {} at {}", partition.0, at.0);
        self.queue.take(&self.input, number(partition));
        let deadline = Deadline::after(ASK);
        loop {
            let sought = list(topic, partition, Offset::Offset(at.0))?;
            let sought = consumer.seek_partitions(sought, deadline.left());
            let sought = sought.map_err(|error| Error::caused(what(), error))?;
            match sought.elements().first().map(|element| element.error()) {
                Some(Ok(())) => break,
                // The assignment is still on its way to the thread that carries it out.
                Some(Err(KafkaError::OffsetFetch(RDKafkaErrorCode::State)))
                    if !deadline.passed() =>
                {
                    thread::park_timeout(Duration::from_millis(5));
                }
                Some(Err(error)) => return Err(Error::caused(what(), error)),
                None => return Err(Error::unavailable(what())),
            }
        }
        let resumed = consumer.resume(&list(topic, partition, Offset::Invalid)?);
        resumed.map_err(|error| Error::caused(what(), error))?;
        self.live.insert(partition, at.0);
        self.ends.remove(&partition);
        // What the batch still holds was fetched for an earlier beginning.
        self.stale.insert(partition);
        Ok(())
    }

    fn stop(&mut self, partition: PartitionId) -> Result<(), Error> {
        self.live.remove(&partition);
        let paused = list(&self.member.topics.input, partition, Offset::Invalid)?;
        let paused = self.member.consumer.pause(&paused);
        paused.map_err(|error| Error::caused(format!("pause partition {}", partition.0), error))
    }

    fn released(&mut self, partitions: &[PartitionId]) {
        self.member.group.release(partitions);
    }

    fn close(&mut self) {
        self.live.clear();
        self.member.group.close();
        let Some(thread) = self.thread.take() else { return };
        let deadline = Deadline::after(LEAVE);
        while !thread.is_finished() && !deadline.passed() {
            thread::park_timeout(Duration::from_millis(5));
        }
        if thread.is_finished() {
            drop(thread.join());
        } else {
            warn!("the group was not left in time; it will notice by itself");
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.close();
    }
}

impl Member {
    /// How many partitions the input has now, if that can be told.
    fn count(&self) -> Option<usize> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topics.input), ASK).ok()?;
        let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
        Some(topic.partitions().len())
    }

    /// What is committed for a partition, once no transaction that could move it is open.
    pub fn stored(&self, partition: PartitionId, wait: Duration) -> Result<Stored, Error> {
        let topic = &self.topics.input;
        let what = || {
            let what =
                format!("read the committed position of `{topic}` partition {}", partition.0);
            self.health.explain(&what)
        };
        let deadline = Deadline::after(wait);
        // While a coordinator starts, or a transaction is open, it says so instead of answering.
        let answer = loop {
            let asked = list(topic, partition, Offset::Invalid)?;
            match self.consumer.committed_offsets(asked, deadline.left()) {
                Ok(answer) => break answer,
                Err(error) if deadline.passed() => return Err(Error::caused(what(), error)),
                Err(_) => thread::park_timeout(Duration::from_millis(20)),
            }
        };
        let elements = answer.elements();
        let element = elements.first().ok_or_else(|| Error::unavailable(what()))?;
        element.error().map_err(|error| Error::caused(what(), error))?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        })
    }
}

/// What it means when a position is not within what the log holds; none when it is.
fn outside(topic: &str, partition: PartitionId, at: i64, bounds: Bounds) -> Option<Error> {
    let (low, high) = (bounds.low.0, bounds.high.0);
    let (reason, detail) = if at < low {
        let gone = low - at;
        let detail = format!(
            "`{topic}`: position {at} is to be read, but the log begins at {low}: up to {gone} \
             records were removed unread; restore them, or begin anew under another `service.name`"
        );
        (Broken::InputGap, detail)
    } else if at > high {
        let detail = format!(
            "`{topic}`: position {at} is to be read, but the log ends at {high}: it was truncated, \
             or the topic was made anew; compare it with its replicas, or begin anew under another \
             `service.name`"
        );
        (Broken::Truncated, detail)
    } else {
        return None;
    };
    Some(Error::Broken { partition, reason, detail })
}

/// Serves the callbacks of the group until the source is closed; then leaves.
fn poll_until_closed(member: &Member) {
    let consumer = &member.consumer;
    let mut recount = Deadline::after(RECOUNT);
    while !member.group.closing() {
        match consumer.poll(POLL) {
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                let what = format!("the group refused this member: {code}");
                member.group.tell(Event::Fatal(member.health.explain(&what)));
                member.group.close();
            }
            Some(Err(error)) => debug!(%error, "consumer"),
            // Delivered between assignment and pause, and delivered again later.
            Some(Ok(_)) | None => {}
        }
        if recount.passed() {
            recount = Deadline::after(RECOUNT);
            let now = member.count().filter(|now| *now != member.partitions);
            now.into_iter().for_each(|now| member.group.tell(Event::Recounted(now)));
        }
    }
    // A static member does not say goodbye: its partitions wait for it until the session ends.
    let deadline = Deadline::after(LEAVE);
    if consumer.close_queue().is_ok() {
        while !consumer.closed() && !deadline.passed() {
            drop(consumer.poll(Duration::from_millis(100)));
        }
    }
}
