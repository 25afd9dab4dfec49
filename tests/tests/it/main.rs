//! The one integration binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod broker;
mod crash;
mod expected;
mod golden;
mod needs;
