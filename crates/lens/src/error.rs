//! What can go wrong once a rule set is compiled.

/// Why rows could not be judged. Faults of rule files are [`cardlens_model::Problem`]s; these are
/// faults of the program or of what it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The batch does not have the columns the rules were compiled for.
    #[error("judge rows of {got} columns by rules compiled for {expected}")]
    Columns {
        /// Columns of the batch.
        got: usize,
        /// Columns of the schema.
        expected: usize,
    },
    /// An expression failed on some row, for example by an overflow.
    #[error("evaluate `{expression}`")]
    Evaluate {
        /// The expression.
        expression: String,
        /// What the evaluator said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Stored standings do not fit the rule set.
    #[error("take over standings: {detail}")]
    Standings {
        /// What does not fit.
        detail: String,
    },
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the process: trying again would fail again.
    Stop,
    /// Go back to an older snapshot.
    FallBack,
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Columns { .. } | Self::Evaluate { .. } => Action::Stop,
            Self::Standings { .. } => Action::FallBack,
        }
    }
}
