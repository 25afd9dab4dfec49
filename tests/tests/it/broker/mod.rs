//! The Kafka source and sink against a real broker, one for each test.

mod echo;
mod seam;

pub use echo::{Echo, config};
