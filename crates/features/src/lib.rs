//! Everything known of a customer, as columns: ledgers, exact windows, value.
//!
//! A [`Table`] holds the customers of one partition. Records go in by [`Table::apply`], days close
//! by [`Table::close_day`] and [`Table::sweep`], and rows of the features of a [`Plan`] come out,
//! in the order of the evaluation points. A customer's ledger is a list of postings of the last 400
//! days, and every feature is computed from them anew for each row: no totals are kept, so nothing
//! can drift, and a ledger is a function of the set of accepted records.
//!
//! Knows nothing of rules, bytes on the wire, positions, or any clock.

mod arena;
mod blocks;
mod catalog;
mod cells;
mod clock;
mod distinct;
mod error;
mod export;
mod frame;
mod gather;
mod index;
mod ledger;
mod names;
mod plan;
mod posting;
mod record;
mod rows;
pub mod snapshot;
mod table;
mod value;
mod windows;

pub use catalog::{FeatureInfo, catalog};
pub use error::{Action, Error};
pub use export::Gatherer;
pub use ledger::Slot;
pub use plan::{Plan, UnknownFeature};
pub use record::HORIZON_DAYS;
pub use rows::{Origin, Point, Rows};
pub use table::{Applied, Outcome, Table, TableConfig};
pub use windows::WindowRow;
