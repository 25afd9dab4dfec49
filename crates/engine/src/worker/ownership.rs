//! How partitions come to a worker, are restored, and go again.
//!
//! Invariants:
//! - One partition is restored at a time, so that the others are not kept waiting for all of them.
//! - Metrics tell of the partitions that are owned and of no others, so that the sum over instances
//!   is right: who lets go of one takes along what is told of it.

use std::time::Duration;

use cardlens_model::{PartitionId, Position};
use tracing::{error, info, warn};

use super::watch::Watch;
use super::{Health, News, Owned, Worker, chain};
use crate::partition::Partition;
use crate::recovery::Recovery;
use crate::tally::Census;
use crate::{Action, Broken, Error, Sink, Source};

impl<S: Source, K: Sink> Worker<S, K> {
    pub(super) fn assigned(&mut self, partitions: Vec<PartitionId>) {
        let all = self.source.partitions();
        let topic = [self.setup.shared.topic.as_str()];
        let gauge = self.setup.metrics.topic_partitions.with_label_values(&topic);
        gauge.set(all.map_or(0, i64::from));
        if let Some(readers) = &self.setup.readers {
            readers.set_partitions(all);
        }
        (self.setup.health)(News::Joined);
        for partition in partitions {
            info!(partition = partition.0, "assigned");
            (self.setup.health)(News::Partition(partition, Some(Health::Restoring)));
            if let Some(readers) = &mut self.setup.readers {
                readers.assigned(partition);
            }
            self.restoring.insert(partition);
        }
        self.count_owned();
    }

    pub(super) fn revoked(&mut self, partitions: &[PartitionId], lost: bool) -> Result<(), Error> {
        info!(partitions = partitions.len(), lost, "revoked");
        if lost {
            self.publisher.outputs.retain(|partition| !partitions.contains(&partition));
        } else {
            self.commit()?;
        }
        for partition in partitions {
            self.let_go(*partition, false);
            (self.setup.health)(News::Partition(*partition, None));
        }
        if lost {
            (self.setup.health)(News::Left);
        }
        self.look_at = Duration::ZERO;
        self.source.released(partitions);
        self.count_owned();
        Ok(())
    }

    /// Forgets a partition, and what is told of it.
    fn let_go(&mut self, id: PartitionId, failed: bool) {
        self.restoring.remove(&id);
        self.owned.remove(&id);
        self.setup.metrics.forget_partition(&self.setup.shared.topic, id);
        if let Some(readers) = &mut self.setup.readers {
            readers.gone(id, failed);
        }
    }

    /// Restores one partition, if one is waiting.
    pub(super) fn restore_next(&mut self) -> Result<(), Error> {
        let next = self.restoring.first().copied().filter(|_| !self.full);
        let Some(id) = next else { return Ok(()) };
        let started = self.clock.elapsed();
        let setup = &self.setup;
        let fresh = |id: PartitionId, at: Position| {
            let decoding = (setup.decoding)()?;
            let mut partition = Partition::new(id, &setup.shared, &setup.metrics, decoding, at);
            if setup.store.is_some() {
                partition.chain.want();
            }
            if let Some(history) = &setup.history {
                partition.keep_history(&history.settings)?;
            }
            Ok(partition)
        };
        self.publisher.now_ms = self.clock.now_ms();
        let mut recovery = Recovery {
            source: &mut self.source,
            store: setup.store.as_ref(),
            publisher: &mut self.publisher,
            fresh: &fresh,
            metrics: &setup.metrics,
        };
        let restored = recovery.restore(id).and_then(|partition| {
            self.source.resume(id, partition.position)?;
            Ok(partition)
        });
        if restored.is_err() {
            // It is restored anew, or not at all.
            self.publisher.outputs.retain(|partition| partition != id);
        }
        let took = self.clock.elapsed().saturating_sub(started);
        self.setup.metrics.recovery_seconds.set(took.as_secs_f64());
        match restored {
            Ok(partition) => {
                self.restored(partition, took);
                Ok(())
            }
            Err(error) => self.failed_of(id, error),
        }
    }

    fn restored(&mut self, mut partition: Partition, took: Duration) {
        let (id, position) = (partition.id, partition.position);
        let customers = partition.table.customers();
        info!(partition = id.0, position = position.0, customers, ?took, "restored");
        partition.take_census();
        self.gap(id).set(0);
        if let Some(readers) = &mut self.setup.readers {
            readers.restored(&mut partition, self.owned.len() + 1);
        }
        self.restoring.remove(&id);
        (self.setup.health)(News::Partition(id, Some(Health::Running)));
        self.look_at = Duration::ZERO;
        let now = self.clock.elapsed();
        let owned = Owned {
            snapshot_at: partition.chain.end(),
            partition,
            committed: None,
            appended_at: None,
            last_input: now,
            last_snapshot: now,
            watch: Watch::new(now),
        };
        self.owned.insert(id, owned);
        self.count_owned();
    }

    /// A failure of a call that concerns one partition or none.
    pub(super) fn failed(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Broken { partition, .. } => self.failed_of(partition, error),
            error if error.action() == Action::Retry => {
                warn!(error = %chain(&error), "will be tried again");
                Ok(())
            }
            error => Err(error),
        }
    }

    fn failed_of(&mut self, id: PartitionId, error: Error) -> Result<(), Error> {
        let Error::Broken { reason, .. } = &error else { return self.failed_other(error) };
        self.setup.metrics.guarantee_broken.with_label_values(&[reason.name()]).inc();
        error!(partition = id.0, reason = reason.name(), "{error}");
        let missing = if *reason == Broken::InputGap { self.missing(id) } else { None };
        self.let_go(id, true);
        if let Some(missing) = missing {
            self.gap(id).set(missing);
        }
        self.count_owned();
        // Its position is committed no more, so its records come again: all they said does too.
        self.publisher.outputs.retain(|partition| partition != id);
        self.source.stop(id)?;
        let stopped = Health::Stopped(error.to_string());
        (self.setup.health)(News::Partition(id, Some(stopped)));
        Ok(())
    }

    fn failed_other(&self, error: Error) -> Result<(), Error> {
        if error.action() == Action::Retry {
            warn!(error = %chain(&error), "will be tried again");
            return Ok(());
        }
        Err(error)
    }

    /// How many records of a partition the input has lost.
    fn gap(&self, id: PartitionId) -> prometheus::IntGauge {
        let labels = [self.setup.shared.topic.as_str(), &id.0.to_string()];
        self.setup.metrics.input_gap_records.with_label_values(&labels)
    }

    /// How many positions lie between where a partition stands and where its log begins.
    fn missing(&mut self, id: PartitionId) -> Option<i64> {
        let at = self.owned.get(&id)?.partition.position;
        let low = self.source.bounds(id).ok()?.low;
        Some(low.0.saturating_sub(at.0).max(0))
    }
}

impl<S, K> Worker<S, K> {
    /// Sets what metrics tell of all owned partitions together.
    pub(super) fn count_owned(&self) {
        let (metrics, shared) = (&self.setup.metrics, &self.setup.shared);
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let assigned = metrics.assigned_partitions.with_label_values(&[shared.topic.as_str()]);
        assigned.set(count(self.owned.len() + self.restoring.len()));
        let partitions = || self.owned.values().map(|owned| &owned.partition);
        metrics.state_customers.set(count(partitions().map(|it| it.table.customers()).sum()));
        let mut census = Census::default();
        partitions().for_each(|partition| census.add(&partition.census));
        census.tell(metrics, &shared.lens);
    }
}

impl<S, K> Drop for Worker<S, K> {
    /// Whatever comes after it owns nothing yet, and so tells nothing.
    fn drop(&mut self) {
        self.owned.clear();
        self.restoring.clear();
        self.count_owned();
        let metrics = &self.setup.metrics;
        self.state_bytes
            .keys()
            .for_each(|part| metrics.state_bytes.with_label_values(&[part]).set(0));
        metrics.forget_partitions();
    }
}
