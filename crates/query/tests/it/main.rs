//! The front of the gateway against real clients and hostile statements, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and prints what it proved"
)]

mod clients;
mod cookbook;
mod drivers;
mod papers;
mod psql;
mod roles;
mod slt;
mod support;
mod turns;
