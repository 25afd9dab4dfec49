//! Records sent at a fixed rate whether or not anybody keeps up, and when what came of them could
//! be read.
//!
//! A record is due at a time that depends on its number alone. Whoever is late with one is charged
//! for that one and for all that wait behind it, so no pause is left out of what is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cardlens_engine::files::partition_of;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Headers as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message as _};

use crate::load::w1::customer_of;
use crate::measure::now;

/// Header of an output that names the record behind it: `topic/partition/offset`.
pub const SOURCE: &str = "cardlens_source";
/// Longest silence of the outputs once everything was committed.
const QUIET: Duration = Duration::from_secs(1);
/// Longest time without an output before that.
const STALLED: Duration = Duration::from_secs(60);

/// What became of a partition's records, in the order of their offsets.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// Offset of the first.
    pub first: i64,
    /// When each was due, since the start.
    pub due: Vec<Duration>,
    /// When it was known that the broker has it.
    pub acknowledged: Vec<Duration>,
    /// Checksums of their values.
    pub sums: Vec<u32>,
}

/// An output, when it became readable.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Partition and offset of the record behind it.
    pub source: (u32, i64),
    /// Since the start.
    pub at: Duration,
    /// Checksum of its value.
    pub sum: u32,
}

/// Acknowledgements as they come in.
struct Acknowledged {
    started: Instant,
    taken: Mutex<Taken>,
}

struct Taken {
    lanes: Vec<Vec<(i64, Duration)>>,
    failed: Option<KafkaError>,
}

impl Acknowledged {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut taken = self.lock();
        match result {
            Ok(message) => {
                let at = (message.offset(), self.started.elapsed());
                let lane = usize::try_from(message.partition()).ok();
                if let Some(lane) = lane.and_then(|lane| taken.lanes.get_mut(lane)) {
                    lane.push(at);
                }
            }
            Err((error, _)) => _ = taken.failed.get_or_insert_with(|| error.clone()),
        }
    }
}

/// Where records go, and how many a second.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: u32,
    /// Records a second.
    pub rate: u64,
    /// When the first is due: late enough for the client to have found everything that it needs.
    pub started: Instant,
}

/// Sends transactions, a line of JSON each, to the partitions of their customers. Returns what
/// became of each partition's.
///
/// # Errors
/// A record is not taken, or records of a partition are not in the order of their sending.
pub fn send(mut config: ClientConfig, lines: &[String], pace: Pace<'_>) -> Result<Vec<Lane>> {
    config.set("linger.ms", "1").set("enable.idempotence", "true");
    let lanes = vec![Vec::new(); pace.partitions as usize];
    let taken = Mutex::new(Taken { lanes, failed: None });
    let context = Acknowledged { started: pace.started, taken };
    let producer: BaseProducer<Acknowledged> = config.create_with_context(context)?;
    producer.client().fetch_metadata(Some(pace.topic), STALLED)?;
    let mut lanes = vec![Lane::default(); pace.partitions as usize];
    for (number, line) in (0_u64..).zip(lines) {
        let due = Duration::from_nanos(number * 1_000_000_000 / pace.rate.max(1));
        // In steps of a millisecond: to wait for less is to spin.
        while now() < pace.started + due {
            producer.poll(Duration::from_millis(1));
        }
        if number.is_multiple_of(256) {
            producer.poll(Duration::ZERO);
        }
        let customer = customer_of(line).context("a line without customer")?;
        let partition = partition_of(customer.as_bytes(), pace.partitions);
        let record = BaseRecord::to(pace.topic).partition(i32::try_from(partition)?);
        put(&producer, record.key(customer).payload(line.as_str()))?;
        let lane = &mut lanes[partition as usize];
        lane.due.push(due);
        lane.sums.push(crc32c::crc32c(line.as_bytes()));
    }
    producer.flush(STALLED).context("write the records")?;
    let mut taken = producer.context().lock();
    if let Some(error) = taken.failed.take() {
        return Err(error).context("write the records");
    }
    for (lane, acknowledged) in lanes.iter_mut().zip(&taken.lanes) {
        lane.first = acknowledged.first().map_or(0, |(offset, _)| *offset);
        let whole =
            acknowledged.iter().map(|(offset, _)| *offset).eq((lane.first..).take(lane.due.len()));
        ensure!(whole, "records are not in the order in which they were sent");
        lane.acknowledged = acknowledged.iter().map(|(_, at)| *at).collect();
    }
    Ok(lanes)
}

fn put(producer: &BaseProducer<Acknowledged>, mut record: BaseRecord<'_, str, str>) -> Result<()> {
    while let Err((error, back)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        ensure!(error == full, "write a record: {error}");
        record = back;
        producer.poll(Duration::from_millis(1));
    }
    Ok(())
}

/// Reads outputs until everything was committed and nothing comes any more.
///
/// # Errors
/// The broker does not deliver, or an output does not name its source.
pub fn follow(consumer: &BaseConsumer, started: Instant, done: &AtomicBool) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut last = now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                let (message, at) = (message?, started.elapsed());
                let source = source_of(&message).context("an output without its source")?;
                let sum = crc32c::crc32c(message.payload().unwrap_or_default());
                seen.push(Seen { source, at, sum });
                last = now();
            }
            None if done.load(Ordering::Relaxed) && last.elapsed() > QUIET => return Ok(seen),
            None if last.elapsed() > STALLED => bail!("no output in {STALLED:?}"),
            None => {}
        }
    }
}

fn source_of(message: &BorrowedMessage<'_>) -> Option<(u32, i64)> {
    let headers = message.headers()?;
    let source = headers.iter().find(|header| header.key == SOURCE)?;
    place(source.value?)
}

/// Partition and offset of a [`SOURCE`].
#[must_use]
pub fn place(source: &[u8]) -> Option<(u32, i64)> {
    let (rest, offset) = std::str::from_utf8(source).ok()?.rsplit_once('/')?;
    let (_, partition) = rest.rsplit_once('/')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}
