//! The front of the gateway against real clients and hostile statements, in one binary.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clients;
mod cookbook;
mod drivers;
mod hostile;
mod papers;
mod psql;
mod roles;
mod slt;
mod support;
