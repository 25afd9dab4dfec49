//! What the benchmarks measure and how: workloads, rivals, sides and goals.
//!
//! A *goal* compares two *sides*. Each side is a process of its own, so that neither inherits the
//! other's heap, page cache of code or warmed-up branch predictor, and so that its cost is what
//! the system charged for it. Nothing here is part of the product.
#![allow(clippy::print_stdout, reason = "the figures are the result")]
#![allow(clippy::print_stderr, reason = "progress goes to the terminal")]

pub mod goals;
pub mod load;
pub mod measure;
pub mod open_loop;
pub mod pipeline;
pub mod rivals;
pub mod sides;
