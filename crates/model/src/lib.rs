//! The nouns of cards, time, money and segments that every other crate speaks in.
//!
//! Plain data and the arithmetic that belongs to it; the standard library and nothing else. No
//! type here is serializable (`wire`, `features::snapshot` and `engine::snapshot` own bytes) and
//! nothing here reads a clock.
#![deny(clippy::float_arithmetic)]

mod calendar;
mod category;
mod change;
mod kind;
mod money;
mod problem;
mod reason;
mod record;
mod value;

pub use calendar::{Calendar, DAY_MS, Day, EventTime};
pub use category::{Category, CategoryTable, MCC_NONE};
pub use change::{
    Axis, Cause, Change, ChangeKind, Evidence, Held, HeldNeed, NearestMiss, Now, Number,
};
pub use kind::{Channel, Country, Kind};
pub use money::{AMOUNT_MAX, Minor};
pub use problem::Problem;
pub use reason::Reason;
pub use record::{Batch, Headers, NoHeaders, PartitionId, Position, Record, Span, Transaction};
pub use value::{Rate, ValueModel};
