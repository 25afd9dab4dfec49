//! Scans of an engine's partitions: what may be asked, who answers, and who asks.
//!
//! An engine can only be scanned: columns, comparisons with a constant, a range of rows, a limit,
//! one customer. All numbers travel as they are stored, whole or by fractions; what they mean to a
//! reader is the business of `relations`.

mod client;
mod describe;
mod filter;
mod protocol;
mod read;
mod server;

pub use client::Client;
pub use describe::describe;
pub(crate) use filter::passing;
pub use protocol::{
    Axis, Description, Form, LAST_AT, Listing, Literal, NULL, NeedDescription, Note, Notes, Op,
    PartitionState, Pin, PinRequest, Predicate, RuleDescription, Scan, SnapshotNote,
    StageDescription, Stored, StoredColumn,
};
pub(crate) use read::Reader;
pub(crate) use server::without_delay;
pub use server::{Endpoint, Setup};
