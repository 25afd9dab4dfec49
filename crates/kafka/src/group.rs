//! Which partitions this instance owns, and how the poll thread and the worker agree on it.
//!
//! The poll thread runs the callbacks; the worker owns the state. A partition is owned from when the
//! worker is told of its assignment until it released it, the wait for that ran out, or it was lost. Only what
//! is owned may be committed: the broker checks that a member is current, not which partitions
//! are its own.
//!
//! Invariants:
//! - A partition is assigned once, at an explicit offset, paused: librdkafka never resolves a
//!   position by `auto.offset.reset`, and nothing is delivered before the worker asks for it.
//! - The wait for the worker is bounded well below `max.poll.interval.ms`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use cardlens_engine::Metrics;
use cardlens_model::PartitionId;
use crossbeam_channel::Sender;
use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use crate::client::{Consumer, Deadline, held};
use crate::ffi::Queue;

/// How long partitions asked back may be kept to commit what was done.
const RELEASE_WAIT: Duration = Duration::from_secs(15);

/// What the poll thread tells the worker.
#[derive(Debug)]
pub enum Event {
    /// Assigned and paused, none perhaps; owned as soon as the worker is told.
    Assigned {
        /// Which.
        partitions: Vec<PartitionId>,
        /// The number of this assignment.
        epoch: u64,
    },
    /// To be given up.
    Revoked {
        /// Which.
        partitions: Vec<PartitionId>,
        /// They are somebody else's already.
        lost: bool,
    },
    /// The input has another number of partitions now.
    Recounted(usize),
    /// The consumer cannot go on.
    Fatal(String),
}

/// What stands committed for a partition: its offset and the text beside it; none when nothing
/// was ever committed.
pub type Stored = Option<(i64, String)>;

/// A partition that the group has assigned.
struct Owned {
    /// By which assignment.
    epoch: u64,
    /// The worker knows. One that does not may still hold what it had of an earlier assignment,
    /// and others may have committed in between.
    told: bool,
    /// What is known to be committed.
    stored: Option<Stored>,
}

/// What this instance knows of its membership.
pub struct Group {
    events: Sender<Event>,
    metrics: Metrics,
    owned: Mutex<BTreeMap<PartitionId, Owned>>,
    epoch: AtomicU64,
    /// Asked back and not yet released.
    leaving: Mutex<BTreeSet<PartitionId>>,
    released: Condvar,
    queue: OnceLock<Weak<Queue>>,
    closing: AtomicBool,
}

impl Group {
    /// Nothing is owned yet.
    pub fn new(events: Sender<Event>, metrics: Metrics) -> Self {
        Self {
            events,
            metrics,
            owned: Mutex::default(),
            epoch: AtomicU64::new(0),
            leaving: Mutex::default(),
            released: Condvar::new(),
            queue: OnceLock::new(),
            closing: AtomicBool::new(false),
        }
    }

    /// The queue at which the worker waits, to be woken for events.
    pub fn wake_at(&self, queue: &Arc<Queue>) {
        _ = self.queue.set(Arc::downgrade(queue));
    }

    /// Tells the worker.
    pub fn tell(&self, event: Event) {
        // A worker that is gone needs to know nothing.
        drop(self.events.send(event));
        if let Some(queue) = self.queue.get().and_then(Weak::upgrade) {
            queue.wake();
        }
    }

    /// Nobody waits for the worker any longer.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        held(&self.owned).clear();
        self.release_all();
    }

    /// Whether the poll thread is to end.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The worker is being told of an assignment, and of whatever was taken away before it.
    pub fn told(&self, partitions: &[PartitionId], epoch: u64) {
        let mut owned = held(&self.owned);
        for (_, of) in
            owned.iter_mut().filter(|(id, of)| partitions.contains(id) && of.epoch == epoch)
        {
            of.told = true;
        }
    }

    /// Whether all of these may be committed.
    pub fn owns(&self, partitions: impl IntoIterator<Item = PartitionId>) -> bool {
        let owned = held(&self.owned);
        partitions.into_iter().all(|partition| owned.get(&partition).is_some_and(|of| of.told))
    }

    /// What is known to be committed for a partition; none when it is not known.
    pub fn stored(&self, partition: PartitionId) -> Option<Stored> {
        held(&self.owned).get(&partition).and_then(|of| of.stored.clone())
    }

    /// Remembers what is committed for a partition, while it is owned.
    pub fn store(&self, partition: PartitionId, stored: Stored) {
        if let Some(of) = held(&self.owned).get_mut(&partition) {
            of.stored = Some(stored);
        }
    }

    /// The worker has let go of partitions.
    pub fn release(&self, partitions: &[PartitionId]) {
        let mut leaving = held(&self.leaving);
        for partition in partitions {
            leaving.remove(partition);
        }
        self.released.notify_all();
    }

    fn release_all(&self) {
        held(&self.leaving).clear();
        self.released.notify_all();
    }

    /// The callback: assigns or gives up.
    pub fn rebalance(&self, member: &Consumer, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(member, list),
            _ => self.revoke(member, list),
        };
        if let Err(error) = done {
            self.tell(Event::Fatal(format!("rebalance failed: {error}")));
        }
    }

    fn assign(&self, member: &Consumer, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions(list);
        list.set_all_offsets(Offset::Beginning)?;
        if cooperative(member) {
            member.incremental_assign(list)?;
        } else {
            member.assign(list)?;
        }
        member.pause(list)?;
        if self.closing() {
            return Ok(());
        }
        self.count("assigned");
        info!(partitions = partitions.len(), "assigned by the group");
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let owned =
            |partition: &PartitionId| (*partition, Owned { epoch, told: false, stored: None });
        held(&self.owned).extend(partitions.iter().map(owned));
        self.tell(Event::Assigned { partitions, epoch });
        Ok(())
    }

    fn revoke(&self, member: &Consumer, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions(list);
        let lost = member.assignment_lost();
        if !self.closing() && !partitions.is_empty() {
            self.count(if lost { "lost" } else { "revoked" });
            if lost {
                self.disown(&partitions);
            } else {
                held(&self.leaving).extend(partitions.iter().copied());
            }
            self.tell(Event::Revoked { partitions: partitions.clone(), lost });
            if !lost {
                self.wait_for(&partitions);
                self.disown(&partitions);
            }
        }
        if cooperative(member) { member.incremental_unassign(list) } else { member.unassign() }
    }

    fn count(&self, kind: &str) {
        self.metrics.rebalances.with_label_values(&[kind]).inc();
    }

    fn disown(&self, partitions: &[PartitionId]) {
        held(&self.owned).retain(|partition, _| !partitions.contains(partition));
    }

    fn wait_for(&self, partitions: &[PartitionId]) {
        let deadline = Deadline::after(RELEASE_WAIT);
        let mut leaving = held(&self.leaving);
        while partitions.iter().any(|partition| leaving.contains(partition)) {
            if deadline.passed() {
                warn!(partitions = partitions.len(), "the worker did not release in time");
                leaving.retain(|partition| !partitions.contains(partition));
                break;
            }
            let waited = self.released.wait_timeout(leaving, deadline.left());
            leaving = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn cooperative(member: &Consumer) -> bool {
    matches!(member.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

fn partitions(list: &TopicPartitionList) -> Vec<PartitionId> {
    let elements = list.elements();
    elements.iter().filter_map(|e| u32::try_from(e.partition()).ok().map(PartitionId)).collect()
}
