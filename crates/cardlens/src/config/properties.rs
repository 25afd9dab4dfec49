//! `[kafka.properties]`: what goes to librdkafka as it is, and what cardlens keeps for itself.

use std::collections::BTreeMap;

use super::reader::{Reader, Section};

/// Properties that cardlens sets, with why, or what to write instead.
const OWNED: [(&str, &str); 24] = [
    ("acks", "every replica in sync has to have a record before it counts"),
    ("auto.offset.reset", "a gap in the input stops the partition and is never skipped"),
    ("bootstrap.servers", "write `kafka.bootstrap_servers`"),
    ("enable.auto.commit", "positions are committed with the outputs, in one transaction"),
    ("enable.auto.offset.store", "positions are committed with the outputs, in one transaction"),
    ("enable.idempotence", "it follows from transactions"),
    ("enable.partition.eof", "the end of a partition is followed by cardlens"),
    ("group.id", "write `service.name`"),
    ("group.instance.id", "write `kafka.instance_id`"),
    ("group.protocol", "the classic protocol fences a stale instance together with the commit"),
    ("isolation.level", "only committed records are read"),
    ("max.in.flight", "it follows from transactions"),
    ("max.in.flight.requests.per.connection", "it follows from transactions"),
    ("max.poll.interval.ms", "the worker polls while it restores"),
    ("message.send.max.retries", "it follows from transactions"),
    ("metadata.broker.list", "write `kafka.bootstrap_servers`"),
    ("partition.assignment.strategy", "it is cooperative-sticky"),
    ("request.required.acks", "every replica in sync has to have a record before it counts"),
    ("retries", "it follows from transactions"),
    ("sasl.password", "write `kafka.sasl_password_file`"),
    ("session.timeout.ms", "write `kafka.session_timeout`"),
    ("transaction.timeout.ms", "it follows from the commit interval"),
    ("transactional.id", "it is made of `service.name` and `kafka.instance_id`"),
    ("client.id", "it is made of `service.name` and `kafka.instance_id`"),
];

/// Properties whose value is a secret, by what their name ends in.
const SECRET_ENDS: [&str; 4] = ["password", "secret", ".key.pem", "passphrase"];

pub(super) fn properties(kafka: Section<'_>) -> BTreeMap<String, String> {
    let reader: &Reader = kafka.reader;
    let mut properties = BTreeMap::new();
    for (key, value) in kafka.pairs("properties", "kafka.properties") {
        let name = key.value;
        if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            let message = format!("`kafka.properties`.`{name}` is set by cardlens: {why}");
            reader.fault_with(key.at, message, "remove it");
        } else if SECRET_ENDS.iter().any(|end| name.ends_with(end)) {
            let message = format!("a secret is not written here: `{name}`");
            reader.fault_with(key.at, message, "name a file that holds it");
        } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            reader.fault(key.at, format!("`{name}` is no name of a property"));
        } else {
            properties.insert(name, value.value);
        }
    }
    properties
}
