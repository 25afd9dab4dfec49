//! Kafka behind the engine's seams: transactions in, segment changes out, exactly once.
//!
//! [`connect`] gives one worker its source and its sink. They share one member of the consumer
//! group and one transactional producer; nothing outside this crate knows of either.

mod client;
mod config;
mod ffi;
mod group;
mod recovery;
mod sink;
mod source;
mod topics;
mod writer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardlens_engine::{Error, Metrics};
use rdkafka::consumer::Consumer as _;
use tracing::warn;

pub use client::Health;
pub use config::{KafkaConfig, TRANSACTION_TIMEOUT, Topics, owned_key, property_fault};
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use topics::{Prepared, prepare};

use crate::client::Context;
use crate::group::Group;
use crate::recovery::{Recovery, topic_name};
use crate::source::Member;
use crate::writer::Writer;

/// Longest time to fence a predecessor: its last transaction may still have to end.
const FENCE: Duration = Duration::from_secs(30);

/// Checks the topics, fences the predecessor of this worker, and joins the group. The caller can read
/// the health while it waits; what becomes of transactions, producers and the group is counted.
///
/// # Errors
/// [`Error::Setup`] when topics or settings are not as they must be; an outage.
pub fn connect(
    config: &KafkaConfig,
    health: &Arc<Health>,
    metrics: &Metrics,
) -> Result<(KafkaSource, KafkaSink), Error> {
    let Prepared { partitions, warnings } = prepare(config, health)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let mut writer = Writer::new(
        config.producer(),
        config.transactional_id(),
        Arc::clone(health),
        metrics.clone(),
    );
    writer.ready(FENCE)?;
    let (events, told) = crossbeam_channel::unbounded();
    let group = Arc::new(Group::new(events, metrics.clone()));
    let member = config.member().create_with_context(Context::of_member(health, &group));
    let consumer: client::Consumer =
        member.map_err(|error| Error::Setup(format!("make the consumer: {error}")))?;
    let input = &config.topics.input;
    let subscribed = consumer.subscribe(&[input]);
    subscribed.map_err(|error| Error::caused(format!("subscribe to `{input}`"), error))?;
    let member = Arc::new(Member {
        consumer: Arc::new(consumer),
        group,
        health: Arc::clone(health),
        topics: config.topics.clone(),
        partitions,
        writer: Mutex::new(writer),
    });
    let recovery = Recovery::new(config, health)?;
    let source = KafkaSource::start(Arc::clone(&member), topic_name(input)?, told, recovery)?;
    let sink = KafkaSink::new(member, metrics.clone());
    health.well();
    Ok((source, sink))
}
