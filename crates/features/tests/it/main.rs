//! Ledgers and features through the public entry points of the crate.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod micro;
mod naive;
mod property;
mod rules;
mod snapshots;
mod support;
mod sweeps;
