//! Everything that cardlens-wire promises, through its public face.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod cards;
mod decode;
mod encode;
mod schemas;
mod support;
