//! Where scans go: to engines, to pins of this process, or to rows in memory.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use futures::stream::BoxStream;
use tracing::debug;

use super::engines::Engines;
use super::fixed::Fixed;
use super::held::Held;
use crate::Error;
use crate::scan::{Description, Notes, PartitionState, Pin, PinRequest, Scan};

/// Rows of a scan.
pub(super) type Rows = BoxStream<'static, Result<RecordBatch, Error>>;

/// An engine as its answer or silence shows it.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// What it is asked by.
    pub(super) engine: usize,
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
    /// Partitions that somebody owns, with what the owner is asked by, by number.
    pub(super) partitions: Vec<(usize, PartitionState)>,
    /// How many the topic has, when an engine knows.
    pub(super) partitions_all: Option<u32>,
}

/// Where scans go.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    /// Engines, each at its address.
    Engines(Arc<Engines>),
    /// Partitions held still in this process.
    Held(Arc<Held>),
    /// Rows in memory.
    Fixed(Arc<Fixed>),
}

impl Backend {
    pub(super) async fn board(&self) -> Result<Board, Error> {
        match self {
            Self::Engines(engines) => engines.board().await,
            Self::Held(held) => Ok(held.board()),
            Self::Fixed(fixed) => Ok(fixed.board()),
        }
    }

    /// Address of an engine.
    pub(super) fn address(&self, engine: usize) -> String {
        match self {
            Self::Engines(engines) => engines.client(engine).address().to_owned(),
            Self::Held(_) => "here".into(),
            Self::Fixed(_) => "memory".into(),
        }
    }

    pub(super) async fn pin(&self, engine: usize, request: PinRequest) -> Result<Pin, Error> {
        match self {
            Self::Engines(engines) => engines.client(engine).pin(&request).await,
            Self::Held(held) => held.pin(&request),
            Self::Fixed(fixed) => fixed.pin(&request),
        }
    }

    /// Gives pins back; whoever cannot be told lets them expire.
    pub(super) async fn unpin(&self, engine: usize, pins: Vec<u64>) {
        if let Self::Engines(engines) = self
            && let Err(error) = engines.client(engine).unpin(&pins).await
        {
            debug!(%error, "pins are left to expire");
        }
    }

    /// What an engine did last.
    pub(super) async fn notes(&self, engine: usize) -> Result<Notes, Error> {
        match self {
            Self::Engines(engines) => engines.client(engine).notes().await,
            Self::Held(_) => Ok(Notes::default()),
            Self::Fixed(fixed) => Ok(fixed.notes()),
        }
    }

    pub(super) async fn scan(&self, engine: usize, scan: Scan) -> Result<Rows, Error> {
        match self {
            Self::Engines(engines) => engines.client(engine).scan(&scan).await,
            Self::Held(held) => held.scan(scan),
            Self::Fixed(fixed) => fixed.scan(&scan),
        }
    }
}
