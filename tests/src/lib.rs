//! What the integration tests share: data, backtests through the product's own code, results.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "helpers of tests may panic")]

pub mod backtest;
pub mod broker;
pub mod clocked;
pub mod hostile;
pub mod live;
pub mod objects;
pub mod proxy;
pub mod readers;
pub mod sim;
