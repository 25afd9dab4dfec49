//! The verbs of cardlens and what they are wired from: configuration, demo generator, scoring,
//! HTTP, logs.
//!
//! The only crate that knows of command lines, environment variables and listeners. Everything
//! that decides a result lives below, in the crates it wires together.

pub mod backtest;
pub mod beside;
pub mod cli;
pub mod config;
pub mod demo;
pub mod eval;
pub mod exit;
pub mod gateway;
pub mod generator;
pub mod health;
pub mod http;
pub mod logging;
pub mod reference;
pub mod registry;
pub mod rule_tests;
pub mod run;
pub mod scans;
pub mod signals;
pub mod sql;
pub mod validate;
mod verbs;
pub mod wiring;

pub use verbs::main;
