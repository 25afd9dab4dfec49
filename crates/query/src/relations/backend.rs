//! Where scans go: to engines, to pins of this process, or to rows in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use futures::future::join_all;
use futures::stream::BoxStream;
use tracing::debug;

use super::fixed::Fixed;
use super::held::Held;
use crate::Error;
use crate::scan::{Client, Description, Listing, Notes, PartitionState, Pin, PinRequest, Scan};

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

/// Engines, and what the last description of them was.
#[derive(Debug)]
pub(super) struct Engines {
    clients: Vec<Client>,
    described: Mutex<Option<(String, Arc<Description>)>>,
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

impl Engines {
    pub(super) fn new(addresses: Vec<String>) -> Self {
        let clients = addresses.into_iter().map(Client::new).collect();
        Self { clients, described: Mutex::default() }
    }

    async fn board(&self) -> Result<Board, Error> {
        let listings = join_all(self.clients.iter().map(Client::list)).await;
        let mut first: Option<(usize, &Listing)> = None;
        for (engine, listing) in listings.iter().enumerate() {
            let Ok(listing) = listing else { continue };
            let (known, other) = *first.get_or_insert((engine, listing));
            if other.description_digest != listing.description_digest {
                let (one, two) = (self.clients[known].address(), self.clients[engine].address());
                return Err(Error::Disagree(format!(
                    "engines `{one}` and `{two}` have different rules or settings; a rolling \
                     restart may be under way"
                )));
            }
        }
        let Some((engine, listing)) = first else {
            let silent = listings.into_iter().find_map(Result::err);
            return Err(silent.unwrap_or_else(|| Error::Refused("no engine is named".into())));
        };
        let description = self.description(engine, &listing.description_digest).await?;
        let known = listings.iter().flatten().filter_map(|it| it.partitions_all);
        // A topic has one at least: none is what an engine says that has not looked.
        let partitions_all = known.filter(|all| *all > 0).max();
        let mut partitions: BTreeMap<u32, (usize, PartitionState)> = BTreeMap::new();
        for (engine, listing) in listings.iter().enumerate() {
            for state in listing.iter().flat_map(|listing| &listing.partitions) {
                // Of two that believe to own it, the later one does.
                let known = partitions.get(&state.partition);
                if known.is_none_or(|(_, known)| known.epoch < state.epoch) {
                    partitions.insert(state.partition, (engine, state.clone()));
                }
            }
        }
        let instances = self.clients.iter().zip(listings).map(|(client, listing)| Instance {
            address: client.address().to_owned(),
            answer: listing.map(|listing| InstanceAnswer {
                instance: listing.instance,
                rules_version: listing.rules_version,
                rules_digest: listing.rules_digest,
            }),
        });
        let instances = instances.collect();
        let partitions = partitions.into_values().collect();
        Ok(Board { description, instances, partitions, partitions_all })
    }

    async fn description(&self, engine: usize, digest: &str) -> Result<Arc<Description>, Error> {
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, description)) = known.filter(|(known, _)| known == digest) {
            return Ok(description);
        }
        let description = Arc::new(self.clients[engine].describe().await?);
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((digest.to_owned(), Arc::clone(&description)));
        Ok(description)
    }
}

impl Backend {
    pub(super) async fn board(&self) -> Result<Board, Error> {
        match self {
            Self::Engines(engines) => engines.board().await,
            Self::Held(held) => Ok(held.board()),
            Self::Fixed(fixed) => Ok(fixed.board()),
        }
    }

    /// Address of the engine at a place.
    pub(super) fn address(&self, engine: usize) -> String {
        match self {
            Self::Engines(engines) => engines.clients[engine].address().to_owned(),
            Self::Held(_) => "here".into(),
            Self::Fixed(_) => "memory".into(),
        }
    }

    pub(super) async fn pin(&self, engine: usize, request: PinRequest) -> Result<Pin, Error> {
        match self {
            Self::Engines(engines) => engines.clients[engine].pin(&request).await,
            Self::Held(held) => held.pin(&request),
            Self::Fixed(fixed) => fixed.pin(&request),
        }
    }

    /// Gives pins back; whoever cannot be told lets them expire.
    pub(super) async fn unpin(&self, engine: usize, pins: Vec<u64>) {
        if let Self::Engines(engines) = self
            && let Err(error) = engines.clients[engine].unpin(&pins).await
        {
            debug!(%error, "pins are left to expire");
        }
    }

    /// What an engine did last.
    pub(super) async fn notes(&self, engine: usize) -> Result<Notes, Error> {
        match self {
            Self::Engines(engines) => engines.clients[engine].notes().await,
            Self::Held(_) => Ok(Notes::default()),
            Self::Fixed(fixed) => Ok(fixed.notes()),
        }
    }

    pub(super) async fn scan(&self, engine: usize, scan: Scan) -> Result<Rows, Error> {
        match self {
            Self::Engines(engines) => engines.clients[engine].scan(&scan).await,
            Self::Held(held) => held.scan(scan),
            Self::Fixed(fixed) => fixed.scan(&scan),
        }
    }
}
