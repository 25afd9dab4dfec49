//! The front of the gateway against real clients and hostile statements, in one binary.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod hostile;
mod psql;
mod support;
