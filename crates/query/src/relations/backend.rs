//! Where scans go: to engines, or to rows in memory.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use futures::stream::BoxStream;

use super::fixed::Fixed;
use crate::Error;
use crate::scan::{Description, PartitionState, Pin, PinRequest, Scan};

/// Rows of a scan.
pub(super) type Rows = BoxStream<'static, Result<RecordBatch, Error>>;

/// An engine as its answer or silence shows it.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) address: String,
    /// What it is called, or why it is silent.
    pub(super) answer: Result<InstanceAnswer, Error>,
}

/// What an engine says of itself.
#[derive(Debug, Clone)]
pub(super) struct InstanceAnswer {
    pub(super) instance: String,
    pub(super) rules_version: u32,
    pub(super) rules_digest: String,
}

/// Who owns what at one moment.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) description: Arc<Description>,
    /// Engines, in the order of the configuration.
    pub(super) instances: Vec<Instance>,
    /// Partitions that somebody owns, with the place of the owner, by number.
    pub(super) partitions: Vec<(usize, PartitionState)>,
    /// How many the topic has, when an engine knows.
    pub(super) partitions_all: Option<u32>,
}

/// Where scans go.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    /// Rows in memory.
    Fixed(Arc<Fixed>),
}

impl Backend {
    pub(super) async fn board(&self) -> Result<Board, Error> {
        match self {
            Self::Fixed(fixed) => Ok(fixed.board()),
        }
    }

    /// What the engine at a place is called.
    pub(super) fn address(&self, _engine: usize) -> String {
        match self {
            Self::Fixed(_) => "memory".into(),
        }
    }

    pub(super) async fn pin(&self, _engine: usize, request: PinRequest) -> Result<Pin, Error> {
        match self {
            Self::Fixed(fixed) => fixed.pin(&request),
        }
    }

    /// Gives pins back; whoever cannot be told lets them expire.
    pub(super) async fn unpin(&self, _engine: usize, _pins: Vec<u64>) {
        match self {
            Self::Fixed(_) => {}
        }
    }

    pub(super) async fn scan(&self, _engine: usize, scan: Scan) -> Result<Rows, Error> {
        match self {
            Self::Fixed(fixed) => fixed.scan(&scan),
        }
    }
}
