//! The engine: partition workers between a source and a sink.
mod error;
mod seam;

pub use error::{Action, Broken, Error};
pub use seam::{
    Bounds, Clock, Committed, Output, Polled, Progress, Sink, Source, SystemClock, Topic,
};
