//! The one integration binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may panic, and says what it found"
)]

mod broker;
mod clients;
mod cookbook;
mod crash;
mod damaged;
mod demo;
mod expected;
mod files;
mod golden;
mod history;
mod hostile;
mod idle;
mod metrics;
mod needs;
mod objects;
mod rules;
mod scans;
mod sql;
mod standing;
mod stops;
