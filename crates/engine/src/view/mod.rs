//! A read-only picture of a partition, by columns, for whoever asks.
//!
//! Owns what readers see, and when a worker works for them. Invariants: a pin is of exactly one
//! committed position; ingest never waits for a reader; while nobody asks, a record costs one test
//! of a flag, and once somebody does, one bit that says that its customer's row is out of date.
//!
//! ```text
//! reader                 desk                      worker
//!   pin ───────────────►  the latest, when fresh
//!                         or wait ◄──────────────── looks once a step
//!                                                   slices of rows between batches
//!                                                   after a commit: the rest, and a pin
//!   scan pages ◄───────── pins, by number ◄──────── publish
//! ```
//!
//! Knows nothing of SQL, of bytes on the wire, or of who the readers are.

mod desk;
mod dirty;
mod layout;
mod live;
mod notes;
mod pages;
mod pinned;
mod readers;
mod recent;
#[cfg(test)]
mod tests;

pub use desk::{Desk, Refusal, Seat};
pub(crate) use dirty::Dirty;
pub use layout::{Layout, ViewColumn, ViewForm};
pub use live::NULL;
pub use notes::{DeadLetterNote, DecisionNote, Notes, SnapshotNote};
pub use pages::PAGE_ROWS;
pub use pinned::Pinned;
pub(crate) use readers::{Readers, Room};
pub use recent::ChangeRow;
pub(crate) use recent::Recent;
