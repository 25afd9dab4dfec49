//! Errors of the engine, divided by what its caller does next.

use cardlens_model::PartitionId;

/// What the caller of a failed call does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Call again, later.
    Retry,
    /// Use an older one.
    FallBack,
    /// Stop this partition and say so; others go on.
    StopPartition,
    /// Drop everything held and start anew: somebody else owns it, or its state is unknown.
    Stop,
}

/// Why a promise cannot be kept. A closed set: it labels `cardlens_guarantee_broken_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// The input no longer holds the next record.
    InputGap,
    /// The input ends before what was already read.
    Truncated,
    /// Topic recreated, partition count changed, or topics that do not match.
    Topology,
    /// More rejected records than tolerated.
    RejectLimit,
    /// Neither snapshot nor input reaches back far enough to rebuild state.
    HistoryMissing,
}

impl Broken {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::InputGap, Self::Truncated, Self::Topology, Self::RejectLimit, Self::HistoryMissing];

    /// The name used in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InputGap => "input_gap",
            Self::Truncated => "truncated",
            Self::Topology => "topology",
            Self::RejectLimit => "reject_limit",
            Self::HistoryMissing => "history_missing",
        }
    }
}

/// What went wrong in the engine or behind one of its seams.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log, broker or store did not answer, or answered with a passing failure.
    #[error("{what}")]
    Unavailable {
        /// Verb and object: ``read committed offsets of `cards` ``.
        what: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A newer process owns what this one held, or the outcome of a commit cannot be known.
    #[error("fenced: {detail}")]
    Fenced {
        /// What was seen.
        detail: String,
    },
    /// A promise cannot be kept for a partition.
    #[error("partition {} stopped: {detail}", partition.0)]
    Broken {
        /// Which partition.
        partition: PartitionId,
        /// Which promise.
        reason: Broken,
        /// What was found, and what an operator can do.
        detail: String,
    },
    /// Stored bytes that are not what was written, or of a version this build does not read.
    #[error("snapshot `{key}` is unusable: {detail}")]
    Snapshot {
        /// Which object.
        key: String,
        /// What was found.
        detail: String,
    },
    /// A fault of the configuration or the rule set that shows only against the data.
    #[error("{0}")]
    Setup(String),
}

impl Error {
    /// An outage without a further cause.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), source: None }
    }

    /// An outage with its cause.
    pub fn caused(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable { what: what.into(), source: Some(Box::new(source)) }
    }

    /// What the caller does next. Exhaustive on purpose: a new variant must choose.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Unavailable { .. } => Action::Retry,
            Self::Snapshot { .. } => Action::FallBack,
            Self::Broken { .. } => Action::StopPartition,
            Self::Fenced { .. } | Self::Setup(_) => Action::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_promise_has_a_runbook() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        let mut pages: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|page| page.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut reasons = Broken::ALL.map(|reason| format!("{}.md", reason.name()));
        pages.sort();
        reasons.sort();
        assert_eq!(pages, reasons);
        for page in pages {
            let text = std::fs::read_to_string(folder.join(&page)).unwrap();
            for section in ["## Meaning", "## Cause", "## Remedy"] {
                assert!(text.contains(section), "{page}: {section}");
            }
        }
    }
}
