//! Why a gateway did not answer.

use std::error::Error as _;
use std::fmt::Display;

use arrow_flight::error::FlightError;
use tonic::{Code, Status};

/// Why there is no answer, divided by what whoever asked does next. The words are the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers there: start it, or look elsewhere.
    #[error("reach the gateway at `{at}`: {detail}")]
    Unreachable {
        /// Where.
        at: String,
        /// What the connection says.
        detail: String,
    },
    /// Log in, or as somebody else.
    #[error("{0}")]
    NotAllowed(String),
    /// Write another statement.
    #[error("{0}")]
    Statement(String),
    /// Ask again, later.
    #[error("{0}")]
    Unavailable(String),
    /// Ask for less.
    #[error("{0}")]
    Limit(String),
    /// A fault of the gateway, or of this client.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub(super) fn broken(detail: impl Display) -> Self {
        Self::Failed(format!("read the answer: {detail}"))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        if let Some(source) = status.source() {
            // Only a connection that broke has a cause here; what it is called depends on where.
            return Self::Unavailable(format!("{text}: {}", causes(source)));
        }
        match status.code() {
            Code::Unauthenticated => Self::NotAllowed(text),
            // Also a statement that would write: nobody may.
            Code::InvalidArgument
            | Code::NotFound
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::PermissionDenied => Self::Statement(text),
            Code::Unavailable | Code::Unknown => Self::Unavailable(text),
            Code::ResourceExhausted | Code::Cancelled | Code::DeadlineExceeded => Self::Limit(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<FlightError> for Error {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self::from(*status),
            other => Self::broken(other),
        }
    }
}

/// An error with what lies behind it. Libraries repeat a cause in their own words; once is enough.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Status, expected: &Error) {
        assert_eq!(&Error::from(status), expected);
    }

    #[test]
    fn the_words_of_the_gateway_are_kept() {
        let text = "column \"spent\" does not exist [42703]";
        check(Status::invalid_argument(text), &Error::Statement(text.into()));
        check(Status::permission_denied("read only"), &Error::Statement("read only".into()));
        check(Status::unauthenticated("log in"), &Error::NotAllowed("log in".into()));
        check(Status::unavailable("moved"), &Error::Unavailable("moved".into()));
        check(Status::cancelled("timeout"), &Error::Limit("timeout".into()));
        check(Status::internal("oh"), &Error::Failed("oh".into()));
    }
}
