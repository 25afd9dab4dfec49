//! Partitions without traffic: their days close all the same.
//!
//! An idle partition follows the slowest active one, of this instance or of another. What others
//! own is known by what they commit: the open day stands beside the position, and a partition whose
//! position moves is active.
//!
//! Invariants:
//! - Each close is a decision, recorded in the transaction in which it takes effect.
//! - A partition is idle only when its log was asked and holds nothing to take. One that gets
//!   nothing although there is something follows nobody, or its records would come late.

use std::collections::BTreeMap;
use std::time::Duration;

use cardlens_model::{Day, PartitionId, Position};

use super::{Owned, Worker};
use crate::progress::Mark;
use crate::{Error, Sink, Source};

/// Longest time between two looks at what others have committed.
const EVERY: Duration = Duration::from_secs(30);

/// What is known of the partitions that others own.
#[derive(Default)]
pub(super) struct Others {
    seen: BTreeMap<PartitionId, Seen>,
    look_at: Duration,
}

struct Seen {
    position: Position,
    open_day: Option<Day>,
    /// When the position was first seen where it is.
    moved: Duration,
}

impl<S: Source, K: Sink> Worker<S, K> {
    /// Closes days of partitions without traffic, up to where the slowest active one stands.
    pub(super) fn follow_idle(&mut self) -> Result<(), Error> {
        // Without intake nothing can be told of traffic.
        let Some(idle_after) = self.setup.pace.idle_after.filter(|_| !self.full) else {
            return Ok(());
        };
        let now = self.clock.elapsed();
        let since = |owned: &Owned| now.saturating_sub(owned.last_input);
        let idle = |owned: &Owned| {
            let known = owned.watch.caught_up && owned.partition.table.open_day().is_some();
            known && since(owned) >= idle_after
        };
        if !self.owned.values().any(idle) {
            return Ok(());
        }
        self.look_at_others(now, idle_after);
        let active = self.owned.values().filter(|owned| since(owned) < idle_after);
        let days = active.filter_map(|owned| owned.partition.table.open_day());
        let theirs = self.others.seen.values();
        let theirs = theirs.filter(|seen| now.saturating_sub(seen.moved) < idle_after);
        let Some(slowest) = days.chain(theirs.filter_map(|seen| seen.open_day)).min() else {
            return Ok(());
        };
        for owned in self.owned.values_mut().filter(|owned| idle(owned)) {
            let behind = owned.partition.table.open_day().is_some_and(|day| day < slowest);
            if behind && !owned.partition.sweeping() {
                self.publisher.now_ms = self.clock.now_ms();
                owned.partition.close_idle(&mut self.publisher)?;
            }
        }
        Ok(())
    }

    /// Looks at what others have committed, if it is time. One that is seen for the first time
    /// counts as active until it has been seen not to move; what cannot be read stays as it was.
    fn look_at_others(&mut self, now: Duration, idle_after: Duration) {
        if now < self.others.look_at {
            return;
        }
        self.others.look_at = now + EVERY.min(idle_after / 2);
        let Ok(all) = self.source.all_committed() else { return };
        for (id, committed) in all {
            if self.owned.contains_key(&id) {
                self.others.seen.remove(&id);
                continue;
            }
            let mark = Mark::parse(&committed.metadata);
            let position = committed.position;
            let fresh = Seen { position, open_day: None, moved: now };
            let seen = self.others.seen.entry(id).or_insert(fresh);
            if seen.position != position {
                (seen.position, seen.moved) = (position, now);
            }
            seen.open_day = mark.and_then(|mark| mark.open_day);
        }
    }
}
