//! Bringing an assigned partition back to where it was committed.
//!
//! Newest usable snapshot at or below the committed position, the input from there to it replayed
//! in silence with the recorded decisions at their positions, then the published truth read and
//! compared: where the two differ, what was published stands, and the difference to what the rules
//! say is published next. Nothing is guessed: where neither snapshot nor input reaches back far
//! enough, the partition stops and says so.

use std::collections::BTreeMap;

use cardlens_features::Slot;
use cardlens_model::{Held, PartitionId, Position};
use cardlens_wire::{Decision, DecisionKind};
use tracing::{info, warn};

use crate::history::Past;
use crate::partition::Partition;
use crate::progress::Mark;
use crate::publish::Publisher;
use crate::snapshot::{SnapshotStore, Stored};
use crate::{Action, Broken, Committed, Error, Source};

/// What a recovery needs besides the source.
pub(crate) struct Recovery<'a> {
    pub(crate) source: &'a mut dyn Source,
    pub(crate) store: Option<&'a SnapshotStore>,
    pub(crate) publisher: &'a mut Publisher,
    pub(crate) fresh: &'a dyn Fn(PartitionId, Position) -> Result<Partition, Error>,
    pub(crate) metrics: &'a crate::Metrics,
}

impl Recovery<'_> {
    /// Restores a partition. On return it stands at its committed position, or at the beginning
    /// of the input on the very first start, and the source has yet to be resumed.
    pub(crate) fn restore(&mut self, id: PartitionId) -> Result<Partition, Error> {
        self.publisher.silent = true;
        let now_ms = self.publisher.now_ms;
        let restored = self.restore_silently(id);
        (self.publisher.silent, self.publisher.now_ms) = (false, now_ms);
        let (mut partition, committed) = restored?;
        let Some(mark) = committed else { return Ok(partition) };
        let now = partition.mark();
        let same_rules = mark.rules == now.rules;
        let mismatches = self.compare(&mut partition, same_rules)?;
        if same_rules {
            return Ok(partition);
        }
        info!(partition = id.0, mismatches, "another rule set is in force: judging everybody");
        self.publisher.decision(&Decision {
            partition: id,
            position: partition.position,
            what: DecisionKind::RulesAdopted {
                version: partition.rules_version(),
                digest: now.rules,
            },
        });
        partition.reclassify(self.publisher)?;
        Ok(partition)
    }

    fn restore_silently(&mut self, id: PartitionId) -> Result<(Partition, Option<Mark>), Error> {
        let bounds = self.source.bounds(id)?;
        let Some(committed) = self.source.committed(id)? else {
            self.check_first_start(id)?;
            info!(partition = id.0, position = bounds.low.0, "first start: from the oldest record");
            return Ok(((self.fresh)(id, bounds.low)?, None));
        };
        let mark = self.mark_of(id, &committed)?;
        if committed.position > bounds.high {
            return Err(truncated(id, &committed, bounds.high));
        }
        let mut partition = self.newest_base(id, &committed, &mark)?;
        if bounds.low > partition.position && partition.position < committed.position {
            return Err(history_missing(id, &partition, bounds.low));
        }
        let decisions = self.decisions(&partition, committed.position)?;
        let from = (partition.position, partition.swept);
        // One at the position itself is in the snapshot, or the snapshot is of other rules.
        let adopted = |it: &Decision| {
            it.position > from.0 && matches!(it.what, DecisionKind::RulesAdopted { .. })
        };
        let other_rules = mark.rules != partition.mark().rules || decisions.iter().any(adopted);
        let past = partition.past.take_if(|past| other_rules || !past.same_rules);
        self.replay(&mut partition, &decisions, committed.position)?;
        let behind = mark.swept.saturating_sub(partition.swept.0);
        if behind > 0 {
            partition.sweep(behind as usize, self.publisher)?;
        }
        if let Some(past) = past {
            let replayed = from != (partition.position, partition.swept);
            self.without_replay(&mut partition, past, replayed);
        }
        partition.commit_history()?;
        Ok((partition, Some(mark)))
    }

    /// What other rules decided is not made again by a replay: the history goes on without it.
    fn without_replay(&self, partition: &mut Partition, mut past: Past, replayed: bool) {
        if replayed {
            past.lose(partition.table.open_day());
            self.metrics.history_failures.with_label_values(&["rules"]).inc();
            warn!(
                partition = partition.id.0,
                "the history lacks what was decided since the last snapshot: a replay under other \
                 rules does not make it again"
            );
        }
        partition.past = Some(past);
        partition.want_profiles();
    }

    /// Without a commit nothing may exist that an earlier start left.
    fn check_first_start(&mut self, id: PartitionId) -> Result<(), Error> {
        let mut published = 0_usize;
        self.source.published(id, &mut |_, _| published += 1)?;
        let snapshots = self.store.map_or(Ok(0), |store| store.list(id).map(|all| all.len()))?;
        if published == 0 && snapshots == 0 {
            return Ok(());
        }
        Err(Error::Broken {
            partition: id,
            reason: Broken::HistoryMissing,
            detail: format!(
                "there is no committed position, but {published} published customers and \
                 {snapshots} snapshots; the group's offsets expired or the group was renamed: \
                 restore the offsets, or remove both to begin anew"
            ),
        })
    }

    fn mark_of(&self, id: PartitionId, committed: &Committed) -> Result<Mark, Error> {
        Mark::parse(&committed.metadata).ok_or_else(|| Error::Broken {
            partition: id,
            reason: Broken::HistoryMissing,
            detail: format!(
                "position {} was committed by another program (its metadata is `{}`): use a group \
                 of its own for cardlens",
                committed.position.0, committed.metadata
            ),
        })
    }

    /// The newest state that can be put together of snapshots, or an empty partition where the
    /// deployment began.
    fn newest_base(
        &mut self,
        id: PartitionId,
        committed: &Committed,
        mark: &Mark,
    ) -> Result<Partition, Error> {
        let mut all = self.store.map_or(Ok(Vec::new()), |store| store.list(id))?;
        all.retain(|stored| stored.position <= committed.position);
        for (at, whole) in all.iter().enumerate().rev().filter(|(_, stored)| stored.whole) {
            let later: Vec<_> = all[at..].iter().filter(|it| !it.whole).copied().collect();
            match self.load(id, *whole, &later) {
                Err(error) if error.action() == Action::FallBack => self.passed_over(id, &error),
                loaded => return loaded,
            }
        }
        let mut partition = (self.fresh)(id, mark.origin)?;
        partition.origin = mark.origin;
        Ok(partition)
    }

    /// A whole snapshot and those that follow it, as far as they can be used. Where one is passed
    /// over, the next snapshot is whole: a journal beside those that are left would not be found.
    fn load(
        &mut self,
        id: PartitionId,
        whole: Stored,
        later: &[Stored],
    ) -> Result<Partition, Error> {
        let Some(store) = self.store else { return (self.fresh)(id, whole.position) };
        let mut usable = later;
        loop {
            let mut partition = (self.fresh)(id, whole.position)?;
            partition.load(store.get(id, whole)?, whole, self.publisher)?;
            let mut failed = None;
            for (at, stored) in usable.iter().enumerate() {
                let loaded = store
                    .get(id, *stored)
                    .and_then(|snapshot| partition.load(snapshot, *stored, self.publisher));
                match loaded {
                    Ok(()) => {}
                    Err(error) if error.action() == Action::FallBack => {
                        self.passed_over(id, &error);
                        failed = Some(at);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            // What failed may have been applied in part: without it from the beginning.
            if let Some(failed) = failed {
                usable = &usable[..failed];
                continue;
            }
            if usable.len() < later.len() {
                partition.chain.restart();
            }
            info!(partition = id.0, position = partition.position.0, "snapshot loaded");
            return Ok(partition);
        }
    }

    fn passed_over(&self, id: PartitionId, error: &Error) {
        self.metrics.snapshot_failures.with_label_values(&["corrupt"]).inc();
        warn!(partition = id.0, %error, "snapshot passed over");
    }

    /// The recorded decisions from where a partition stands to a position.
    fn decisions(&mut self, partition: &Partition, to: Position) -> Result<Vec<Decision>, Error> {
        let id = partition.id;
        let mut decisions = Vec::new();
        let mut unreadable = None;
        self.source.decisions(id, &mut |value| match cardlens_wire::parse_decision(value) {
            Ok(decision) => decisions.push(decision),
            Err(error) => unreadable = Some(error),
        })?;
        if let Some(error) = unreadable {
            return Err(Error::Setup(format!("read the decisions of partition {}: {error}", id.0)));
        }
        let from = partition.position;
        let due = |decision: &Decision| decision.position >= from && decision.position <= to;
        decisions.retain(due);
        Ok(decisions)
    }

    fn replay(
        &mut self,
        partition: &mut Partition,
        decisions: &[Decision],
        to: Position,
    ) -> Result<(), Error> {
        let (id, from) = (partition.id, partition.position);
        self.metrics.restore_remaining.set(to.0 - from.0);
        for decision in decisions {
            self.replay_to(partition, decision.position)?;
            partition.replay_decision(decision, self.publisher)?;
        }
        self.replay_to(partition, to)?;
        self.metrics.restore_remaining.set(0);
        info!(partition = id.0, records = to.0 - from.0, decisions = decisions.len(), "replayed");
        Ok(())
    }

    fn replay_to(&mut self, partition: &mut Partition, to: Position) -> Result<(), Error> {
        if partition.position < to {
            let publisher = &mut *self.publisher;
            let remaining = &self.metrics.restore_remaining;
            let from = partition.position;
            self.source.replay(partition.id, from, to, &mut |records| {
                let next = records.last().map_or(to, |record| Position(record.position.0 + 1));
                remaining.sub(i64::try_from(records.len()).unwrap_or(0));
                // About when it was first written: a change that is made again says so.
                let appended = records.last().and_then(|record| record.appended_at);
                publisher.now_ms = appended.unwrap_or(publisher.now_ms);
                partition.take(records, next, publisher)?;
                partition.replayed()
            })?;
            partition.position = to;
        }
        Ok(())
    }

    /// Compares what was published with what was rebuilt; where they differ, the published stands.
    fn compare(&mut self, partition: &mut Partition, same_rules: bool) -> Result<usize, Error> {
        let mut published = BTreeMap::new();
        let mut unreadable = None;
        self.source.published(partition.id, &mut |key, value| {
            let customer = String::from_utf8_lossy(key).into_owned();
            match value.map(cardlens_wire::parse_current) {
                Some(Ok((_, held))) => drop(published.insert(customer, held)),
                Some(Err(error)) => unreadable = Some(error),
                None => drop(published.remove(&customer)),
            }
        })?;
        if let Some(error) = unreadable {
            return Err(Error::Setup(format!("read current segments: {error}")));
        }
        let mut mismatches = 0;
        let customers = u32::try_from(partition.table.customers()).unwrap_or(u32::MAX);
        for slot in (0..customers).map(Slot) {
            let held = published.remove(partition.table.customer_id(slot)).unwrap_or_default();
            if !same(&held, &partition.held(slot)) {
                mismatches += 1;
                partition.adopt(slot, &held);
            }
        }
        // Under other rules they differ by nature.
        if same_rules && (mismatches > 0 || !published.is_empty()) {
            warn!(
                partition = partition.id.0,
                mismatches,
                unknown = published.len(),
                "rebuilt state differs from what was published: the published stands"
            );
        }
        Ok(mismatches)
    }
}

/// Equal in what was told to the world; scores are as of the last change and not compared.
fn same(published: &Held<'_>, rebuilt: &Held<'_>) -> bool {
    let mut needs = published.needs.iter().zip(&rebuilt.needs);
    published.sequence == rebuilt.sequence
        && published.value_tier == rebuilt.value_tier
        && published.lifecycle == rebuilt.lifecycle
        && published.needs.len() == rebuilt.needs.len()
        && needs.all(|(one, other)| one.need == other.need && one.since == other.since)
}

fn truncated(id: PartitionId, committed: &Committed, high: Position) -> Error {
    Error::Broken {
        partition: id,
        reason: Broken::Truncated,
        detail: format!(
            "position {} was committed, but the input ends at {}: it was truncated or recreated; \
             restore it, or begin anew under another service name",
            committed.position.0, high.0
        ),
    }
}

fn history_missing(id: PartitionId, partition: &Partition, low: Position) -> Error {
    Error::Broken {
        partition: id,
        reason: Broken::HistoryMissing,
        detail: format!(
            "state can be rebuilt from position {} on, but the input begins at {}: {} records are \
             missing; restore a snapshot or the input",
            partition.position.0,
            low.0,
            low.0 - partition.position.0
        ),
    }
}
