//! What the integration tests share: data, backtests through the product's own code, results.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "helpers of tests may panic")]

pub mod asked;
pub mod backtest;
pub mod broker;
pub mod clocked;
pub mod hostile;
pub mod live;
pub mod objects;
pub mod proxy;
pub mod published;
pub mod readers;
pub mod sample;
pub mod sim;
