//! The engine: partition workers between a source and a sink.
mod error;
mod log;
mod metrics;
mod progress;
mod seam;

pub use error::{Action, Broken, Error};
pub use log::{Fault, Log, LogSink, LogSource, Retention};
pub use metrics::Metrics;
pub use seam::{
    Bounds, Clock, Committed, Output, Polled, Progress, Sink, Source, SystemClock, Topic,
};
