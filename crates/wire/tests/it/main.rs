//! Everything that cardlens-wire promises, through its public face.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod agreement;
mod cards;
mod decode;
mod encode;
mod mutation;
mod reference;
mod schemas;
mod support;
