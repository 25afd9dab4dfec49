//! What can go wrong here: only the reading of snapshots.

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not what was written.
    #[error("read ledgers: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// Written by another version of the program.
    #[error("read ledgers of format {found}; this build reads {}", crate::snapshot::VERSION)]
    Version {
        /// The format of the bytes.
        found: u32,
    },
    /// Written under a configuration that gives other ledgers.
    #[error("read ledgers that count `{theirs}` records; the configuration counts `{ours}`")]
    Differs {
        /// What moved windows.
        theirs: &'static str,
        /// What moves windows now.
        ours: &'static str,
    },
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go back to an older snapshot.
    FallBack,
    /// End the process: trying again would fail again.
    Stop,
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Damaged { .. } | Self::Version { .. } => Action::FallBack,
            Self::Differs { .. } => Action::Stop,
        }
    }
}
