//! Workloads.

pub mod population;
pub mod rules;
pub mod w1;
