//! The engine: partition workers between a source and a sink.
//!
//! A [`Worker`] takes records from a [`Source`], lets the partition they belong to decode, apply
//! and judge them, and commits changes, current segments, dead letters, decisions and the input
//! position to a [`Sink`] in one transaction. Kafka, the in-process log and files stand behind the
//! same seams. What a customer gets depends on the input and on recorded decisions alone.

mod body;
mod chain;
mod decode;
mod deployment;
mod error;
pub mod files;
mod forgotten;
pub mod history;
pub mod journal;
mod log;
mod metrics;
mod objects;
mod outputs;
mod partition;
mod progress;
mod publish;
mod recovery;
mod rejects;
mod remote;
mod seam;
mod setup;
mod snapshot;
pub mod standings;
mod tally;
pub mod view;
mod worker;

pub use decode::{Decoding, Format};
pub use deployment::Deployment;
pub use error::{Action, Broken, Error};
pub use log::{Fault, Log, LogSink, LogSource, Retention};
pub use metrics::Metrics;
pub use outputs::{Message, Output, Outputs, Topic};
pub use partition::Shared;
pub use publish::Names;
pub use remote::Remote;
pub use seam::{
    Bounds, Clock, Committed, EachPublished, Polled, Progress, Sink, Source, SystemClock,
};
pub use setup::{Health, HealthReport, MakeDecoding, News, Observer, Pace, WorkerSetup};
pub use snapshot::SnapshotStore;
pub use worker::Worker;
