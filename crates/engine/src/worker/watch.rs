//! What a worker looks at every few seconds, whatever else it does: how far behind its partitions
//! are, whether each of them gets on, and how much memory the state takes.
//!
//! Invariants:
//! - A partition is called stalled only when there is something to do for it: records taken and not
//!   committed, or decided records in the log. Positions of transaction markers are not records, and
//!   those of a transaction that is still open cannot be taken.
//! - State beyond the limit stops the intake of all partitions, after everything was committed and
//!   stored, and nothing else: what is held stays held, and is given up when the group asks. When
//!   the state has become smaller, or the limit is higher at the next start, intake goes on.

use std::time::Duration;

use cardlens_model::Position;
use tracing::{error, info, warn};

use super::{Health, News, Owned, Worker};
use crate::progress::Mark;
use crate::{Bounds, Error, Sink, Source};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// A partition with something to do whose committed position stands still for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// What was seen of a partition.
pub(super) struct Watch {
    /// Where it stood committed.
    at: Option<(Position, Mark)>,
    /// Since when it stands there with something to do.
    since: Duration,
    /// Positions that may hold records to take, when the log was asked last.
    there: i64,
    /// The log answered when it was asked last, and had nothing that was not taken.
    pub(super) caught_up: bool,
    /// Up to where transactions of the log are decided, and since when while one behind is not.
    stable: (Position, Duration),
    stalled: bool,
}

impl Watch {
    /// Of a partition restored at that time.
    pub(super) fn new(now: Duration) -> Self {
        let stable = (Position(0), now);
        Self { at: None, since: now, there: 0, caught_up: false, stable, stalled: false }
    }

    /// What is in the log from where it was read to; returns how long an open transaction has held
    /// up its readers.
    fn look(&mut self, bounds: Bounds, read: Position, now: Duration) -> Duration {
        self.there = bounds.stable.0.saturating_sub(read.0).max(0);
        self.caught_up = bounds.high <= read;
        if bounds.stable >= bounds.high || self.stable.0 != bounds.stable {
            self.stable = (bounds.stable, now);
        }
        now.saturating_sub(self.stable.1)
    }
}

impl<S: Source, K: Sink> Worker<S, K> {
    /// Looks, if it is time.
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        if self.clock.elapsed() < self.look_at {
            return Ok(());
        }
        self.count_lag();
        self.count_memory()?;
        self.count_stalled();
        self.look_at = self.clock.elapsed() + EVERY;
        Ok(())
    }

    /// Asks the log how far behind partitions are, unless it does not even take a commit.
    fn count_lag(&mut self) {
        let (now_ms, now) = (self.clock.now_ms(), self.clock.elapsed());
        self.owned.values_mut().for_each(|owned| owned.watch.caught_up = false);
        for (id, owned) in self.owned.iter_mut().filter(|_| !self.blocked) {
            // One wait for a log that does not answer is enough.
            let Ok(bounds) = self.source.bounds(*id) else { return };
            let at = owned.partition.position;
            let read = self.source.reached(*id).map_or(at, |reached| reached.max(at));
            let undecided = owned.watch.look(bounds, read, now);
            let number = id.0.to_string();
            let labels = [self.setup.shared.topic.as_str(), number.as_str()];
            let lag = bounds.high.0.saturating_sub(read.0).max(0);
            let metrics = &self.setup.metrics;
            metrics.partition_lag_records.with_label_values(&labels).set(lag);
            let behind = owned.appended_at.filter(|_| lag > 0).map_or(0, |at| now_ms - at);
            let behind = Duration::from_millis(u64::try_from(behind).unwrap_or(0));
            let gauge = metrics.partition_lag_seconds.with_label_values(&labels);
            gauge.set(behind.as_secs_f64());
            metrics.lso_stall_seconds.with_label_values(&labels).set(undecided.as_secs_f64());
            if let Some(readers) = &self.setup.readers {
                readers.lag(*id, lag, behind);
            }
        }
    }

    /// Counts the state; beyond the limit nothing more is taken.
    fn count_memory(&mut self) -> Result<(), Error> {
        // A part of partitions that were given away is there still, and holds nothing.
        self.state_bytes.values_mut().for_each(|size| *size = 0);
        for (part, size) in self.owned.values().flat_map(|owned| owned.partition.memory()) {
            *self.state_bytes.entry(part).or_insert(0) += size;
        }
        for (part, size) in &self.state_bytes {
            let gauge = self.setup.metrics.state_bytes.with_label_values(&[*part]);
            gauge.set(i64::try_from(*size).unwrap_or(i64::MAX));
        }
        let total: usize = self.state_bytes.values().sum();
        let Some(limit) = self.setup.pace.memory_limit else { return Ok(()) };
        let over = u64::try_from(total).unwrap_or(u64::MAX) > limit;
        match (self.full, over) {
            (false, true) => self.close_intake(total, limit),
            (true, false) => self.open_intake(),
            _ => Ok(()),
        }
    }

    fn close_intake(&mut self, total: usize, limit: u64) -> Result<(), Error> {
        self.commit()?;
        if self.blocked {
            // What is not committed must not be stored: at the next look, then.
            return Ok(());
        }
        self.snapshots(true);
        for id in self.owned.keys() {
            self.source.stop(*id)?;
        }
        self.full = true;
        let customers: usize = self.owned.values().map(|o| o.partition.table.customers()).sum();
        let why = format!(
            "state of {customers} customers takes {total} bytes, more than `state.memory_limit` \
             allows ({limit}), and no record is taken: raise it, or add an instance"
        );
        error!("{why}");
        (self.setup.health)(News::Full(Some(why)));
        Ok(())
    }

    fn open_intake(&mut self) -> Result<(), Error> {
        self.full = false;
        for (id, owned) in &self.owned {
            self.source.resume(*id, owned.partition.position)?;
        }
        info!("state is within its limit: records are taken again");
        (self.setup.health)(News::Full(None));
        Ok(())
    }

    /// Finds partitions that have something to do and do not get on, and those that do again.
    fn count_stalled(&mut self) {
        let now = self.clock.elapsed();
        for (id, owned) in &mut self.owned {
            let todo = !self.full && (uncommitted(owned) || owned.watch.there > 0);
            if !todo || owned.watch.at != owned.committed {
                owned.watch.at.clone_from(&owned.committed);
                owned.watch.since = now;
                if std::mem::take(&mut owned.watch.stalled) {
                    info!(partition = id.0, "gets on again");
                    (self.setup.health)(News::Partition(*id, Some(Health::Running)));
                }
                continue;
            }
            let still = now.saturating_sub(owned.watch.since);
            if owned.watch.stalled || still < STALLED_AFTER {
                continue;
            }
            let why = why_stalled(owned, still);
            warn!(partition = id.0, "stalled: {why}");
            owned.watch.stalled = true;
            (self.setup.health)(News::Partition(*id, Some(Health::Stalled(why))));
        }
    }
}

/// Whether what was taken is not committed.
fn uncommitted(owned: &Owned) -> bool {
    owned.committed.as_ref().is_none_or(|(position, _)| *position != owned.partition.position)
}

/// Why a partition does not get on.
fn why_stalled(owned: &Owned, still: Duration) -> String {
    let (position, seconds) = (owned.partition.position.0, still.as_secs());
    if uncommitted(owned) {
        return format!(
            "what was taken up to position {position} has not been committed for {seconds} s"
        );
    }
    let there = owned.watch.there;
    format!("nothing was taken at position {position} for {seconds} s, and {there} are there")
}
