//! SQL over the live picture.
//!
//! Two halves that meet in `scan`: an engine serves read-only scans of its partitions, and the
//! gateway plans, joins and aggregates over all of them in a process of its own, so that no
//! statement can disturb the stream.

pub mod budget;
pub mod client;
mod error;
pub mod flight_sql;
pub mod front;
pub mod gateway;
pub mod pg;
pub mod relations;
pub mod scan;
pub mod session;

pub use error::{Action, Error};
