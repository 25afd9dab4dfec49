//! Errors of the query crate, divided by what its caller does next.

use datafusion::error::DataFusionError;

/// What the caller of a failed call does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin the statement anew: what it read from has gone.
    Restart,
    /// Call again, later.
    Retry,
    /// Tell whoever asked: the same call fails again.
    Refuse,
}

/// What went wrong between a statement and the engines.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The partition has another owner now, or is being restored.
    #[error("partition {partition} moved away from `{engine}` while it was read; try again")]
    Moved {
        /// Which.
        partition: u32,
        /// Who was asked.
        engine: String,
    },
    /// A partition without an owner that serves it.
    #[error("partition {partition} has no owner at the moment ({state}); try again")]
    Unowned {
        /// Which.
        partition: u32,
        /// What is known of it.
        state: String,
    },
    /// An engine does not answer.
    #[error("engine `{engine}` cannot be reached: {detail}")]
    Unreachable {
        /// Its address.
        engine: String,
        /// What the connection says.
        detail: String,
    },
    /// A partition whose owner is silent or has too much to do.
    #[error("partition {partition} cannot be read: {cause}; try again")]
    Unread {
        /// Which.
        partition: u32,
        /// What is the matter with its owner, or with an engine that may be it.
        cause: Box<Error>,
    },
    /// No engine has joined its group yet: how many partitions there must be is not known.
    #[error("no engine knows yet how many partitions there are; try again")]
    NotJoined,
    /// A statement paused for so long that what it read from was let go.
    #[error("the pin of partition {partition} expired; try again")]
    PinExpired {
        /// Which.
        partition: u32,
    },
    /// The engine has more to do than it takes on.
    #[error("engine `{engine}` is busy: {detail}")]
    Busy {
        /// Who was asked.
        engine: String,
        /// Which bound was met.
        detail: String,
    },
    /// The files of the history cannot be read.
    #[error("the history cannot be read: {0}")]
    History(String),
    /// Engines that do not belong together, such as two rule sets.
    #[error("{0}")]
    Disagree(String),
    /// A request that cannot be met: a fault of the caller.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// The same, said of a partition where it was said of an engine alone: whoever asked knows
    /// partitions.
    pub(crate) fn of(self, partition: u32) -> Self {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => {
                Self::Unread { partition, cause: Box::new(self) }
            }
            other => other,
        }
    }

    /// Returns what the caller does next. Exhaustive on purpose: a new variant must choose.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Moved { .. } | Self::PinExpired { .. } => Action::Restart,
            Self::Unowned { .. }
            | Self::Unreachable { .. }
            | Self::Unread { .. }
            | Self::NotJoined
            | Self::Busy { .. }
            | Self::History(_)
            | Self::Disagree(_) => Action::Retry,
            Self::Refused(_) => Action::Refuse,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}
