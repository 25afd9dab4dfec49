//! The topics that cardlens needs: found, made, or asked for with the exact command.
//!
//! An output goes to the partition of the input it came from, so every output topic has as many
//! partitions as the input. This module changes nothing that exists.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use cardlens_engine::{Error, Topic};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer as _;
use tracing::info;

use crate::client::{Consumer, Context, Deadline, Health, take_errors};
use crate::config::KafkaConfig;

/// Longest time for a question to the brokers.
const ASK: Duration = Duration::from_secs(10);

/// How an output topic is made.
fn settings(topic: Topic) -> &'static [(&'static str, &'static str)] {
    match topic {
        Topic::Changes | Topic::DeadLetters => &[("cleanup.policy", "delete")],
        // A reader that was away for a week still sees that a customer was erased.
        Topic::Current => &[("cleanup.policy", "compact"), ("delete.retention.ms", "604800000")],
        Topic::Decisions => &[("cleanup.policy", "delete"), ("retention.ms", "-1")],
    }
}

/// The topics as they were found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Partitions of the input, and so of every output.
    pub partitions: usize,
    /// What an operator should know although it is no obstacle.
    pub warnings: Vec<String>,
}

/// Checks the topics, and makes those that are missing if the configuration says so.
///
/// # Errors
/// [`Error::Setup`] with everything that has to be put right, or an outage.
pub fn prepare(config: &KafkaConfig, health: &Arc<Health>) -> Result<Prepared, Error> {
    let made = config.watermarks().create_with_context(Context::new(health));
    let asker: Consumer = made.map_err(|error| Error::Setup(format!("make a client: {error}")))?;
    let found = partitions(&asker, health)?;
    let Some(count) = found.get(&config.topics.input).copied() else {
        let (input, servers) = (&config.topics.input, &config.bootstrap_servers);
        return Err(Error::Setup(format!("the input topic `{input}` is not there (`{servers}`)")));
    };
    let missing: Vec<Topic> =
        Topic::ALL.into_iter().filter(|t| !found.contains_key(config.topics.output(*t))).collect();
    let mut problems = Vec::new();
    for topic in Topic::ALL {
        let name = config.topics.output(topic);
        if let Some(other) = found.get(name).filter(|other| **other != count) {
            let input = &config.topics.input;
            problems.push(format!("`{name}` has {other} partitions, but `{input}` has {count}"));
        }
    }
    if !config.create_topics {
        let commands = missing.iter().map(|topic| command(config, *topic, count));
        problems.extend(commands.map(|command| format!("a topic is missing; make it: {command}")));
    }
    if !problems.is_empty() {
        return Err(Error::Setup(problems.join("\n")));
    }
    let admin = config.client().create_with_context(Context::new(health));
    let admin: AdminClient<Context> =
        admin.map_err(|error| Error::Setup(format!("make an admin client: {error}")))?;
    if !missing.is_empty() {
        create(&admin, config, &missing, count)?;
        appear(&asker, config, health, &missing)?;
    }
    Ok(Prepared { partitions: count, warnings: judge(&admin, config)? })
}

/// Every topic that may be seen, with its number of partitions.
fn partitions(asker: &Consumer, health: &Health) -> Result<BTreeMap<String, usize>, Error> {
    // Of all topics, because asking for one by name may make it.
    let metadata = asker.fetch_metadata(None, ASK).map_err(|error| {
        take_errors(asker);
        Error::caused(health.explain("list the topics"), error)
    })?;
    let known = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(known.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

/// The command that makes a topic.
fn command(config: &KafkaConfig, topic: Topic, partitions: usize) -> String {
    let mut command = format!(
        "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions {partitions}",
        config.bootstrap_servers,
        config.topics.output(topic)
    );
    if let Some(replication) = config.replication {
        command.push_str(&format!(" --replication-factor {replication}"));
    }
    for (name, value) in settings(topic) {
        command.push_str(&format!(" --config {name}={value}"));
    }
    command
}

fn create(
    admin: &AdminClient<Context>,
    config: &KafkaConfig,
    missing: &[Topic],
    partitions: usize,
) -> Result<(), Error> {
    let count = i32::try_from(partitions).unwrap_or(i32::MAX);
    // -1: as the broker's default says.
    let replicas = || TopicReplication::Fixed(config.replication.unwrap_or(-1));
    let wanted = missing.iter().map(|topic| {
        let new = NewTopic::new(config.topics.output(*topic), count, replicas());
        settings(*topic).iter().fold(new, |new, (name, value)| new.set(name, value))
    });
    let wanted: Vec<NewTopic<'_>> = wanted.collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let made = wait_for(admin.create_topics(&wanted, &options));
    let made = made.map_err(|error| Error::caused("make topics", error))?;
    for topic in made {
        match topic {
            Ok(name) => info!(topic = name, partitions, "topic made"),
            // Another instance was faster.
            Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(Error::Setup(format!("make topic `{name}`: {code}"))),
        }
    }
    Ok(())
}

/// Waits until brokers know the topics that were made.
fn appear(
    asker: &Consumer,
    config: &KafkaConfig,
    health: &Health,
    made: &[Topic],
) -> Result<(), Error> {
    let deadline = Deadline::after(ASK);
    loop {
        let found = partitions(asker, health)?;
        if made.iter().all(|topic| found.contains_key(config.topics.output(*topic))) {
            return Ok(());
        }
        if deadline.passed() {
            return Err(Error::unavailable("topics that were made do not appear"));
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Looks at the settings of topics for what would break a promise.
fn judge(admin: &AdminClient<Context>, config: &KafkaConfig) -> Result<Vec<String>, Error> {
    let names = [&config.topics.input, &config.topics.current, &config.topics.decisions];
    let specifiers = names.map(|name| ResourceSpecifier::Topic(name));
    let options = AdminOptions::new().request_timeout(Some(ASK));
    let answers = wait_for(admin.describe_configs(&specifiers, &options));
    let answers = answers.map_err(|error| Error::caused("read settings of topics", error))?;
    let [Ok(input), Ok(current), Ok(decisions)] = &answers[..] else {
        return Ok(vec!["the settings of the topics may not be read; not checked".to_owned()]);
    };
    let mut warnings = Vec::new();
    let retention = value(input, "retention.ms");
    if value(input, "message.timestamp.type") == "CreateTime"
        && retention != "-1"
        && value(input, "cleanup.policy").contains("delete")
    {
        warnings.push(format!(
            "`{}` keeps records for {retention} ms of the time their producer gave them: an older \
             record vanishes at once; set message.timestamp.type=LogAppendTime or retention.ms=-1",
            names[0]
        ));
    }
    let policy = value(current, "cleanup.policy");
    if policy != "compact" {
        return Err(Error::Setup(format!(
            "`{}` has cleanup.policy={policy}: customers would vanish from it; set it to compact",
            names[1]
        )));
    }
    let retention = value(decisions, "retention.ms");
    if retention != "-1" && value(decisions, "cleanup.policy").contains("delete") {
        return Err(Error::Setup(format!(
            "`{}` has retention.ms={retention}: what was decided would be forgotten; set it to -1",
            names[2]
        )));
    }
    Ok(warnings)
}

fn value<'a>(resource: &'a ConfigResource, name: &str) -> &'a str {
    resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer of the admin client, which has a thread of its own.
fn wait_for<F: Future>(answer: F) -> F::Output {
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut waiting = Waiting::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut waiting) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
