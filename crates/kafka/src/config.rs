//! What a deployment says about Kafka, and what follows from it for each kind of client.
//!
//! The settings are those that the delivery promise rests on; each has its reason beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cardlens_engine::Topic;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::client::configuration;

/// A transaction that is open for longer is aborted by the broker. Until then a dead owner's
/// holds up everyone who reads behind it.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Topics by their role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The transactions.
    pub input: String,
    /// Segment changes.
    pub changes: String,
    /// Current segments, compacted.
    pub current: String,
    /// Rejected records.
    pub dead_letters: String,
    /// Recorded decisions.
    pub decisions: String,
}

impl Topics {
    /// The name of an output topic.
    #[must_use]
    pub fn output(&self, topic: Topic) -> &str {
        match topic {
            Topic::Changes => &self.changes,
            Topic::Current => &self.current,
            Topic::DeadLetters => &self.dead_letters,
            Topic::Decisions => &self.decisions,
        }
    }
}

/// How to reach the brokers, what to read and write, and under which name.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port` of some brokers, comma-separated.
    pub bootstrap_servers: String,
    /// The consumer group; part of every transactional id.
    pub group: String,
    /// Stable name of this instance. Two instances with one name fence each other.
    pub instance_id: String,
    /// Which worker of the instance this is; part of its transactional id.
    pub worker: u32,
    /// Topic names.
    pub topics: Topics,
    /// How long the group waits for a silent instance.
    pub session_timeout: Duration,
    /// Most messages in one transaction, outputs included: bounds the producer's queue.
    pub transaction_records_max: usize,
    /// Make output topics that do not exist.
    pub create_topics: bool,
    /// Replicas of topics made; none: the broker's default.
    pub replication: Option<i32>,
    /// The SASL password, read from its file.
    pub sasl_password: Option<String>,
    /// For librdkafka, as they are.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaConfig {
    /// Without the password, and without values of properties, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group", &self.group)
            .field("instance_id", &self.instance_id)
            .field("worker", &self.worker)
            .field("topics", &self.topics)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

/// Properties that are set here, with why, or what to write instead.
const OWNED: [(&str, &str); 31] = [
    ("acks", "every replica in sync has to have a record before it counts"),
    ("auto.offset.reset", "a gap in the input stops the partition and is never skipped"),
    ("bootstrap.servers", "write `kafka.bootstrap_servers`"),
    ("check.crcs", "a damaged record must not be counted"),
    ("client.id", "it is made of `service.name` and `kafka.instance_id`"),
    ("debug", "the producer's requests are counted from its log"),
    ("delivery.report.only.error", "every delivery is counted"),
    ("enable.auto.commit", "positions are committed with the outputs, in one transaction"),
    ("enable.auto.offset.store", "positions are committed with the outputs, in one transaction"),
    ("enable.idempotence", "it follows from transactions"),
    ("enable.partition.eof", "the end of a partition is followed by cardlens"),
    ("group.id", "write `service.name`"),
    ("group.instance.id", "write `kafka.instance_id`"),
    ("group.protocol", "the classic protocol fences a stale instance together with the commit"),
    ("isolation.level", "only committed records are read"),
    ("log.queue", "the producer's requests are counted from its log"),
    ("log_level", "the producer's requests are counted from its log"),
    ("max.in.flight", "it follows from transactions"),
    ("max.in.flight.requests.per.connection", "it follows from transactions"),
    ("max.poll.interval.ms", "the worker polls while it restores"),
    ("message.send.max.retries", "it follows from transactions"),
    ("message.timeout.ms", "it follows from the timeout of a transaction"),
    ("metadata.broker.list", "write `kafka.bootstrap_servers`"),
    ("partition.assignment.strategy", "it is range"),
    ("plugin.library.paths", "no foreign code is loaded"),
    ("request.required.acks", "every replica in sync has to have a record before it counts"),
    ("retries", "it follows from transactions"),
    ("sasl.password", "write `kafka.sasl_password_file`"),
    ("session.timeout.ms", "write `kafka.session_timeout`"),
    ("transaction.timeout.ms", "it follows from the commit interval"),
    ("transactional.id", "it is made of `service.name` and `kafka.instance_id`"),
];

/// Why a property may not be given, if it may not.
#[must_use]
pub fn owned_key(name: &str) -> Option<&'static str> {
    OWNED.iter().find(|(owned, _)| *owned == name).map(|(_, why)| *why)
}

/// What librdkafka says against a property, if anything: that it has none of that name, or none in
/// this build, or does not take the value.
#[must_use]
pub fn property_fault(name: &str, value: &str) -> Option<String> {
    match configuration().set(name, value).create_native_config() {
        Err(KafkaError::ClientConfig(_, said, _, _)) => Some(said),
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    }
}

impl KafkaConfig {
    /// The transactional id: whoever has it too fences this one.
    #[must_use]
    pub fn transactional_id(&self) -> String {
        format!("{}.{}.{}", self.group, self.instance_id, self.worker)
    }

    /// What all clients have in common.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = configuration();
        for (name, value) in self.properties.iter().filter(|(name, _)| owned_key(name).is_none()) {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("client.id", self.transactional_id());
        if let Some(password) = &self.sasl_password {
            config.set("sasl.password", password);
        }
        config
    }

    /// The group's member.
    pub(crate) fn member(&self) -> ClientConfig {
        let mut config = self.reading();
        config.set("group.instance.id", format!("{}.{}", self.instance_id, self.worker));
        // Not cooperative-sticky: a static member killed between giving partitions up and joining
        // again comes back to its smaller assignment, no rebalance follows, and the partitions
        // stay without an owner (seen in the kill test). An eager assignment is always whole.
        config.set("partition.assignment.strategy", "range");
        config.set("session.timeout.ms", self.session_timeout.as_millis().to_string());
        let beat = (self.session_timeout / 4).min(Duration::from_secs(3));
        config.set("heartbeat.interval.ms", beat.as_millis().to_string());
        config.set("max.poll.interval.ms", "60000");
        // The end of what can be read lies beyond the last record where transactions leave markers.
        config.set("enable.partition.eof", "true");
        // Latency of the first record after a pause; the default is 500.
        self.preset(&mut config, "fetch.wait.max.ms", "50");
        self.preset(&mut config, "queued.min.messages", "100000");
        self.preset(&mut config, "queued.max.messages.kbytes", "65536");
        config
    }

    /// Recovery reads: assigned by hand, told where a partition ends, and not kept waiting there.
    pub(crate) fn recovery(&self) -> ClientConfig {
        let mut config = self.reading();
        config.set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "20");
        self.preset(&mut config, "queued.max.messages.kbytes", "32768");
        config
    }

    /// Asks for high watermarks: a read_committed client would be told the last stable offset.
    pub(crate) fn watermarks(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// The transactional producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        config.set("transactional.id", self.transactional_id());
        config.set("transaction.timeout.ms", &timeout);
        config.set("message.timeout.ms", &timeout);
        // Every request is logged, and `Context` counts those without an answer.
        config.set("debug", "protocol");
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Debug);
        // Each commit waits for its deliveries anyway.
        self.preset(&mut config, "linger.ms", "5");
        self.preset(&mut config, "batch.size", "1000000");
        self.preset(&mut config, "compression.type", "lz4");
        // How often a request is repeated while the previous transaction ends.
        self.preset(&mut config, "retry.backoff.ms", "10");
        self.preset(&mut config, "retry.backoff.max.ms", "100");
        let most = self.transaction_records_max.max(100_000).to_string();
        self.preset(&mut config, "queue.buffering.max.messages", &most);
        config
    }

    fn reading(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", &self.group);
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("check.crcs", "true");
        config.set("allow.auto.create.topics", "false");
        // The default of 1 s stalls a partition whose queue was full for a moment.
        self.preset(&mut config, "fetch.queue.backoff.ms", "10");
        self.preset(&mut config, "fetch.message.max.bytes", "4194304");
        config
    }

    /// Sets what the deployment has not set itself.
    fn preset(&self, config: &mut ClientConfig, name: &str, value: &str) {
        if !self.properties.contains_key(name) {
            config.set(name, value);
        }
    }
}
