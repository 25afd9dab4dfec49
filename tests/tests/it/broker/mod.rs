//! The Kafka source and sink against a real broker, one for each test.

mod echo;
mod fence;
mod gateway;
mod kills;
mod late;
mod recovery;
mod seam;
mod topics;

pub use echo::{Echo, config, connect, records};
