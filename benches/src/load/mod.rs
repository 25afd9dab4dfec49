//! Workloads.

pub mod w1;
