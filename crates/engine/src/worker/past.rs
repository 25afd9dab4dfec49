//! What has been committed goes into the history.

use std::sync::Arc;
use std::time::Duration;

use cardlens_model::PartitionId;
use tracing::{error, warn};

use super::Worker;
use crate::history::{Done, History, Job, Past, WAITING_MAX, Writer};
use crate::{Error, Metrics, Sink, SnapshotStore, Source};

/// Parts of a partition that may wait for the store, however many partitions share the bound.
const WAITING_MIN: usize = 4;
/// Longest wait for a file while too many wait, so that a year read at once is written whole.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is kept, and who writes it.
pub(super) struct Keeper {
    pub(super) settings: Arc<History>,
    writer: Writer,
}

impl Keeper {
    /// Keeps a history beside snapshots, where both are wanted.
    pub(super) fn start(
        store: Option<&SnapshotStore>,
        settings: Option<Arc<History>>,
        metrics: &Metrics,
    ) -> Option<Self> {
        let (store, settings) = store.zip(settings)?;
        let writer = Writer::start(store.objects().clone(), metrics.clone());
        let writer = writer.inspect_err(|error| error!(%error, "no history is kept")).ok()?;
        Some(Self { settings, writer })
    }
}

impl<S: Source, K: Sink> Worker<S, K> {
    /// Takes what was committed into the history, and hands out what is to be written. When too much
    /// waits for a store that takes nothing, the oldest is given up: ingest goes on.
    pub(super) fn keep_history(&mut self) -> Result<(), Error> {
        let Some(Keeper { writer, .. }) = &self.setup.history else { return Ok(()) };
        while let Some(done) = writer.done() {
            written(&mut self.owned, &done);
        }
        for owned in self.owned.values_mut() {
            owned.partition.commit_history()?;
            let jobs = owned.partition.past.as_mut().map(Past::jobs);
            jobs.into_iter().flatten().for_each(|job: Job| writer.take(job));
        }
        let most = (WAITING_MAX / self.owned.len().max(1)).max(WAITING_MIN);
        while self.owned.values().any(|owned| owned.partition.history_waiting() > most) {
            match writer.wait(PATIENCE) {
                Some(done) => written(&mut self.owned, &done),
                None => {
                    self.give_up(most);
                    break;
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, most: usize) {
        for (id, owned) in &mut self.owned {
            let Some(past) = &mut owned.partition.past else { continue };
            for (kind, place) in past.give_up(most) {
                let (kind, day, part) = (kind.folder(), place.day, place.part);
                warn!(partition = id.0, kind, %day, part, "the history lacks a part: given up");
                let failures = &self.setup.metrics.history_failures;
                failures.with_label_values(&["given_up"]).inc();
            }
        }
    }
}

fn written(owned: &mut super::BTreeMap<PartitionId, super::Owned>, done: &Done) {
    let owner = owned.get_mut(&done.file.partition);
    if let Some(past) = owner.and_then(|owned| owned.partition.past.as_mut()) {
        past.written(done);
    }
}
