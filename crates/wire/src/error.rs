//! Errors of reading back what cardlens wrote.

/// A message of ours that cannot be understood. Whoever reads it stops: it was written by a newer
/// version, or not by cardlens at all, and going on would lose what it says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the JSON that it should be.
    #[error("parse {what}")]
    Malformed {
        /// What was to be parsed.
        what: &'static str,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A day that is none.
    #[error("parse {what}: `{day}` is no day")]
    Day {
        /// What was to be parsed.
        what: &'static str,
        /// The text.
        day: String,
    },
}
