//! Bytes to transactions, and changes to bytes.
//!
//! Owns the formats in which cardlens meets the world: transactions as JSON objects or as fields
//! of a file ([`Decoder`]), segment changes and current segments, dead letters, and the decisions
//! of a partition. The schemas are in `schemas/`; a test decodes every example there.
//!
//! Invariants:
//! - Decoding is total: any bytes give a transaction or a [`cardlens_model::Reason`], without a
//!   panic and without taking more memory than the message has bytes.
//! - The three readers (templates, the walk, the general one) agree on every message; which of
//!   them read a message cannot be told from the result.
//! - Encoding is a function of what is encoded: no clock enters the bytes of a value.
//! - Nothing that looks like a card number leaves in a dead letter, nor in a transaction unless as
//!   its id, which is searched when `check_id` says so.
//!
//! Does not know Kafka, Arrow, files or the network: records come in as slices, results go out as
//! vectors.

mod card;
mod checks;
mod config;
mod country;
mod current;
mod dead_letter;
mod decision;
mod decoder;
mod error;
mod event;
mod field;
mod general;
mod json;
mod paths;
mod scan;
mod template;
mod time;
mod value;
mod walk;
mod words;

pub use card::holds_card_number;
pub use checks::{IDENTIFIER_MAX, TIME_MAX, TIME_MIN, customer_hash, id_hash};
pub use config::{DecoderConfig, Mapping};
pub use country::{country, country_code};
pub use current::{current_value, parse_current};
pub use dead_letter::{DeadLetter, dead_letter};
pub use decision::{Decision, DecisionKind, decision_value, parse_decision};
pub use decoder::{Decoder, MESSAGE_MAX, ReaderCounts};
pub use error::Error;
pub use event::{EVENT_SCHEMA, EVENT_TYPE, Origin, event_headers, event_value, evidence_value};
pub use field::{Field, Fields};
pub use general::DEPTH_MAX;
