//! The relations that analysts read, as tables of DataFusion over scans.
//!
//! Owns what a stored number means outside: money as decimals, days as dates, places in the rule
//! set as names. A [`Statement`] sees every partition at one position: all of its tables share one
//! pin a partition, taken when the first of them is scanned and given back when the last reader is
//! dropped. A partition that cannot be read is an error that names it, or a stated gap when the
//! statement was opened so; never fewer rows without a word.

mod backend;
mod catalog;
mod definitions;
mod engines;
mod exits;
mod explode;
mod fixed;
mod functions;
mod held;
mod notes;
mod ops;
mod past;
mod predicate;
mod provider;
mod queries;
mod schema;
mod shape;
mod tables;

#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Comments, Options, Statement, TableComment};
pub use fixed::Fixed;
pub use functions::{FUNCTIONS, FunctionComment};
pub use queries::QueryRow;
