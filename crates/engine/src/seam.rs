//! The three seams: where records come from, where outputs go, and what time it is.
//!
//! Kafka, the in-process log and files stand behind them; nothing else of the engine knows which.
//! A worker calls a source and a sink from one thread, so neither needs to be shared.

use std::time::Duration;

use cardlens_model::{PartitionId, Position, Record};

use crate::{Error, Outputs};

/// What a source has for its worker.
pub enum Polled<'a> {
    /// Partitions given to this worker; without any it is in the group and has nothing to do.
    /// Nothing of them is delivered until [`Source::resume`].
    Assigned(Vec<PartitionId>),
    /// Partitions to be given up. The worker commits what it has unless they are already lost,
    /// forgets them, and then calls [`Source::released`], for which the group waits.
    Revoked {
        /// Which.
        partitions: Vec<PartitionId>,
        /// Another owner may already be at work: nothing may be committed for them.
        lost: bool,
    },
    /// Consecutive records of one partition, in order.
    Records {
        /// Which.
        partition: PartitionId,
        /// At least one; what they borrow is valid until the next call.
        records: Vec<Record<'a>>,
        /// The position after the last one. It may lie beyond the last record's own plus one,
        /// where a log keeps markers that are no records.
        next: Position,
    },
    /// Nothing within the time given.
    Idle,
    /// A finite source is read to its end; there will be nothing more.
    Ended,
}

/// How far a partition has been committed, and what was written beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Next record to read.
    pub position: Position,
    /// The text given to [`Sink::commit`]; empty when somebody else committed.
    pub metadata: String,
}

/// The oldest position still held, the one after the newest record, and how far it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Oldest position that can be read.
    pub low: Position,
    /// High watermark: the position that the next record will get.
    pub high: Position,
    /// Records before it can be taken: no transaction of the log is open there.
    pub stable: Position,
}

/// Takes an entry of published truth: key, and value unless it is a tombstone.
pub type EachPublished<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// Records and assignments, and what recovery has to read.
///
/// Every call ends within the source's own deadlines; an outage is [`Error`] with
/// [`crate::Action::Retry`], never a call that blocks for ever.
pub trait Source {
    /// Waits at most `wait` for something to do.
    ///
    /// # Errors
    /// An outage, or a log that no longer holds what is to be read next.
    fn poll(&mut self, wait: Duration) -> Result<Polled<'_>, Error>;

    /// The committed position of a partition, decided: no transaction that could move it is open.
    ///
    /// # Errors
    /// An outage, or a transaction of a dead owner that outlasts the deadline.
    fn committed(&mut self, partition: PartitionId) -> Result<Option<Committed>, Error>;

    /// What the input partition holds now.
    ///
    /// # Errors
    /// An outage.
    fn bounds(&mut self, partition: PartitionId) -> Result<Bounds, Error>;

    /// How many partitions the input has, where that is known.
    fn partitions(&mut self) -> Option<u32> {
        None
    }

    /// Up to where a partition was delivered, and found to hold no further record: beyond the last
    /// one, where a log keeps markers that are no records; where that is known.
    fn reached(&mut self, _partition: PartitionId) -> Option<Position> {
        None
    }

    /// What is committed for every partition of the input, whoever owns it.
    ///
    /// # Errors
    /// An outage.
    fn all_committed(&mut self) -> Result<Vec<(PartitionId, Committed)>, Error> {
        let mut all = Vec::new();
        for id in (0..self.partitions().unwrap_or(0)).map(PartitionId) {
            all.extend(self.committed(id)?.map(|committed| (id, committed)));
        }
        Ok(all)
    }

    /// Reads `from..to` of a partition again, in order, in batches.
    ///
    /// # Errors
    /// An outage, a gap, or the error that `each` returns.
    fn replay(
        &mut self,
        partition: PartitionId,
        from: Position,
        to: Position,
        each: &mut dyn FnMut(&[Record<'_>]) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Reads the partition's published truth up to its high watermark: key, and value unless it
    /// is a tombstone. Later entries replace earlier ones of the same key.
    ///
    /// # Errors
    /// An outage.
    fn published(
        &mut self,
        partition: PartitionId,
        each: &mut EachPublished<'_>,
    ) -> Result<(), Error>;

    /// Reads the values of all recorded decisions of a partition, oldest first.
    ///
    /// # Errors
    /// An outage.
    fn decisions(
        &mut self,
        partition: PartitionId,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error>;

    /// Begins to deliver a restored partition at a position.
    ///
    /// # Errors
    /// An outage.
    fn resume(&mut self, partition: PartitionId, at: Position) -> Result<(), Error>;

    /// Delivers nothing more of a partition that cannot go on.
    ///
    /// # Errors
    /// An outage.
    fn stop(&mut self, partition: PartitionId) -> Result<(), Error>;

    /// The worker has let go of revoked partitions.
    fn released(&mut self, partitions: &[PartitionId]);

    /// Leaves: gives every partition back. Called once, last.
    fn close(&mut self);
}

/// How far one partition has come with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which.
    pub partition: PartitionId,
    /// Next record to read.
    pub position: Position,
    /// Kept beside the position, for recovery. At most 1 kB.
    pub metadata: String,
}

/// Where outputs go, with the input position, all or nothing.
pub trait Sink {
    /// Writes outputs, in order, and moves positions, in one transaction; returns when it is
    /// known to have been decided. A sink resolves an unknown outcome itself, by looking at what
    /// was committed, and sends again what was not.
    ///
    /// # Errors
    /// [`crate::Action::Retry`]: nothing was committed and the same call may be repeated.
    /// [`crate::Action::Stop`]: a newer owner has taken over, or the outcome cannot be known; what
    /// this worker holds is stale and must be dropped.
    fn commit(&mut self, outputs: &Outputs, progress: &[Progress]) -> Result<(), Error>;
}

/// The only way to the time of day. It decides no result that is not recorded.
pub trait Clock {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;

    /// Time since some fixed instant; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// A clock that counts from now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everyone else is given")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everyone else is given")]
    fn now_ms(&self) -> i64 {
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
