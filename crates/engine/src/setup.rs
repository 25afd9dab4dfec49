//! What a worker is made from, besides its source and sink.

use std::sync::Arc;
use std::time::Duration;

use cardlens_model::PartitionId;

use crate::decode::Decoding;
use crate::history::History;
use crate::partition::Shared;
use crate::publish::Names;
use crate::snapshot::SnapshotStore;
use crate::view::Desk;
use crate::{Clock, Error, Metrics, Outputs};

/// How often and how much.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Longest a record waits for its transaction to commit.
    pub commit_interval: Duration,
    /// Most records in one transaction.
    pub transaction_records_max: usize,
    /// Time between two snapshots of a partition; none without one.
    pub snapshot_interval: Option<Duration>,
    /// A partition without input for so long follows the slowest active one.
    pub idle_after: Option<Duration>,
    /// Most bytes of state; no limit when absent.
    pub memory_limit: Option<u64>,
}

/// Makes the decoder of a partition.
pub type MakeDecoding = Box<dyn Fn() -> Result<Decoding, Error> + Send>;

/// Receives what was committed, for a view or a screen.
pub type Observer = Box<dyn FnMut(&Outputs) + Send>;

/// Told what the outside may know.
pub type HealthReport = Box<dyn FnMut(News) + Send>;

/// What the outside may know of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The group has given it its partitions, be it none.
    Joined,
    /// It is not in the group, and owns nothing.
    Left,
    /// State takes more than it may, and nothing is taken in, for this reason; none when it is over.
    Full(Option<String>),
    /// How a partition stands; none when it was given back.
    Partition(PartitionId, Option<Health>),
}

/// What the outside may know of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Being restored.
    Restoring,
    /// Taking records.
    Running,
    /// Has records to take and does not get on, and why.
    Stalled(String),
    /// Stopped, and why.
    Stopped(String),
}

/// All that a worker needs besides its source and sink.
pub struct WorkerSetup {
    /// The time.
    pub clock: Box<dyn Clock + Send + Sync>,
    /// What all partitions share.
    pub shared: Arc<Shared>,
    /// How often and how much.
    pub pace: Pace,
    /// Name and topic that outputs carry.
    pub names: Names,
    /// Where snapshots go, if anywhere.
    pub store: Option<SnapshotStore>,
    /// What of the past is kept beside them; nothing without a store.
    pub history: Option<Arc<History>>,
    /// Metrics.
    pub metrics: Metrics,
    /// Makes decoders.
    pub decoding: MakeDecoding,
    /// Told of every commit.
    pub observer: Option<Observer>,
    /// Told of joining and leaving, and of partitions that start, stall, stop and go.
    pub health: HealthReport,
    /// Where readers ask for views; there are none without one.
    pub desk: Option<Desk>,
}
