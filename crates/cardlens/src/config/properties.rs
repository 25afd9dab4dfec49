//! `[kafka.properties]`: what goes to librdkafka as it is, and what cardlens keeps for itself.

use std::collections::BTreeMap;

use cardlens_kafka::{owned_key, property_fault};

use super::reader::{Reader, Section};

/// Properties whose value is a secret, by what their name ends in.
const SECRET_ENDS: [&str; 4] = ["password", "secret", ".key.pem", "passphrase"];

pub(super) fn properties(kafka: Section<'_>) -> BTreeMap<String, String> {
    let reader: &Reader = kafka.reader;
    let mut properties = BTreeMap::new();
    for (key, value) in kafka.pairs("properties", "kafka.properties") {
        let name = key.value;
        if let Some(why) = owned_key(&name) {
            let message = format!("`kafka.properties`.`{name}` is set by cardlens: {why}");
            reader.fault_with(key.at, message, "remove it");
        } else if SECRET_ENDS.iter().any(|end| name.ends_with(end)) {
            let message = format!("a secret is not written here: `{name}`");
            reader.fault_with(key.at, message, "name a file that holds it");
        } else if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            reader.fault(key.at, format!("`{name}` is no name of a property"));
        } else if let Some(said) = property_fault(&name, &value.value) {
            let message = format!("`kafka.properties`.`{name}` is not for librdkafka: {said}");
            reader.fault(key.at, message);
        } else {
            properties.insert(name, value.value);
        }
    }
    properties
}
