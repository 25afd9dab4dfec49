//! The compacted topic of current segments, read back, beside what it should hold: what a consumer
//! of the changes has put together, and what an engine publishes that nothing disturbs.

use std::collections::BTreeMap;
use std::time::Duration;

use cardlens::config::Config;
use cardlens::wiring;
use cardlens_engine::{Pace, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::backtest::default_rules;
use crate::broker::{Broker, Isolation};
use crate::live::Events;
use crate::sim::Sim;

/// Longest time for a transaction whose owner died to end, and more.
const WAIT: Duration = Duration::from_secs(60);

/// A place and its first day.
type Since = (String, String);

/// Where a customer stands: all that is published, but for margin and scores, which no change tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stand {
    /// Of the last change.
    pub sequence: u64,
    /// Value tier.
    pub value_tier: Option<Since>,
    /// Stage of life.
    pub lifecycle: Option<Since>,
    /// First days by need.
    pub needs: BTreeMap<String, String>,
    /// Rules of the last change.
    pub rules_version: u64,
}

/// Where customers stand, by customer.
pub type Stands = BTreeMap<String, Stand>;

/// The published map: the last value of each customer, as text.
pub type Map = BTreeMap<String, String>;

impl Stand {
    /// What a published record says.
    ///
    /// # Panics
    /// It is not of its form, or of another customer.
    #[must_use]
    pub fn of_record(customer: &str, record: &str) -> Self {
        let record: Value = serde_json::from_str(record).unwrap();
        assert_eq!(record["customer_id"], customer);
        let since = |axis: &str| {
            let place = text(&record[axis])?;
            Some((place, text(&record[format!("{axis}_since")]).unwrap()))
        };
        let needs = record["needs"].as_array().unwrap().iter().map(|need| {
            assert_eq!(need["source"], "behaviour");
            (text(&need["need"]).unwrap(), text(&need["since"]).unwrap())
        });
        Self {
            sequence: record["sequence"].as_u64().unwrap(),
            value_tier: since("value_tier"),
            lifecycle: since("lifecycle"),
            needs: needs.collect(),
            rules_version: record["rules_version"].as_u64().unwrap(),
        }
    }

    /// Goes where a change says.
    fn follow(&mut self, change: &Value) {
        self.sequence = change["sequence"].as_u64().unwrap();
        self.rules_version = change["rules_version"].as_u64().unwrap();
        let (from, to) = (text(&change["from"]), text(&change["to"]));
        let since = text(&change["since"]).unwrap();
        match change["axis"].as_str().unwrap() {
            "value" => self.value_tier = to.map(|to| (to, since)),
            "lifecycle" => self.lifecycle = to.map(|to| (to, since)),
            _ => match (from, to) {
                (None, Some(need)) => assert_eq!(self.needs.insert(need, since), None, "{change}"),
                (Some(need), None) => assert!(self.needs.remove(&need).is_some(), "{change}"),
                moved => panic!("{moved:?}: {change}"),
            },
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Where changes have led each customer.
///
/// # Panics
/// A change does not follow from the one before it.
#[must_use]
pub fn followed(events: &Events) -> Stands {
    let stand = |changes: &Vec<(Value, String)>| {
        let mut stand = Stand::default();
        for (change, _) in changes {
            stand.follow(&serde_json::from_str(change.as_str().unwrap()).unwrap());
        }
        stand
    };
    events.iter().map(|(customer, changes)| (customer.clone(), stand(changes))).collect()
}

/// Where a published map says that each customer stands.
#[must_use]
pub fn stands(map: &Map) -> Stands {
    let stand = |(customer, record): (&String, &String)| {
        (customer.clone(), Stand::of_record(customer, record))
    };
    map.iter().map(stand).collect()
}

/// The last value of each key; a tombstone takes it away.
fn fold(messages: impl Iterator<Item = (Option<Vec<u8>>, Option<Vec<u8>>)>) -> Map {
    let mut map = Map::new();
    for (key, value) in messages {
        let key = String::from_utf8(key.unwrap()).unwrap();
        match value {
            Some(value) => drop(map.insert(key, String::from_utf8(value).unwrap())),
            None => drop(map.remove(&key)),
        }
    }
    map
}

/// The published map as readers of committed records see it.
#[must_use]
pub fn of_topic(broker: &Broker, topic: &str) -> Map {
    let read = broker.read_all(topic, Isolation::Committed).unwrap();
    fold(read.into_iter().map(|read| (read.key, read.value)))
}

/// The map that an engine publishes of the same records on the in-process log, of one life.
#[must_use]
pub fn undisturbed(config: &Config, partitions: u32, records: &[(String, String)]) -> Map {
    let mut deployment = wiring::deployment(config, default_rules());
    // This log says of no record when it came.
    deployment.max_future_ms = None;
    let sim = Sim::new(deployment, partitions, records);
    let unused = tempfile::tempdir().unwrap();
    let mut setup = sim.setup(unused.path());
    setup.store = None;
    setup.pace = Pace {
        commit_interval: Duration::from_millis(100),
        transaction_records_max: 20_000,
        snapshot_interval: None,
        ..setup.pace
    };
    let (source, sink) = sim.log.join();
    let mut worker = cardlens_engine::Worker::new(source, sink, setup);
    let all: Vec<u32> = (0..partitions).collect();
    sim.log.assign(&[&all]);
    while worker.step().unwrap() {}
    worker.settle().unwrap();
    fold(sim.log.read(Topic::Current).into_iter().map(|message| (message.key, message.value)))
}

/// What a group has committed of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The next record.
    pub offset: i64,
    /// Customers brought to the last closed day.
    pub swept: usize,
}

/// What a group has committed of each partition of a topic, once no transaction with offsets of it
/// is open any more; nothing of one that it never committed.
///
/// # Panics
/// One stays open.
#[must_use]
pub fn committed(broker: &Broker, group: &str, topic: &str, partitions: i32) -> Vec<Committed> {
    let mut config = broker.client();
    config.set("group.id", group).set("isolation.level", "read_committed");
    let asker: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let found = asker.committed_offsets(list, WAIT).unwrap();
    let committed = found.elements().into_iter().map(|element| {
        let Offset::Offset(offset) = element.offset() else { return Committed::default() };
        let mut parts = element.metadata().split(';');
        let swept = parts.find_map(|part| part.strip_prefix("swept=")).unwrap();
        Committed { offset, swept: swept.parse().unwrap() }
    });
    committed.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(changes: &[Value]) -> Events {
        let list = changes.iter().map(|change| (change.to_string().into(), String::new()));
        Events::from([("C1".to_owned(), list.collect())])
    }

    fn change(sequence: u64, axis: &str, from: Option<&str>, to: Option<&str>) -> Value {
        let since = format!("2026-01-{sequence:02}");
        json!({"axis": axis, "from": from, "to": to, "since": since, "sequence": sequence,
            "rules_version": 3})
    }

    fn record() -> Value {
        json!({"customer_id": "C1", "sequence": 5, "value_tier": "mvc",
            "value_tier_since": "2026-01-04", "lifecycle": "new", "lifecycle_since": "2026-01-02",
            "needs": [{"need": "b", "score": 0.5, "source": "behaviour", "since": "2026-01-05"}],
            "margin_365d": 7, "rules_version": 3})
    }

    #[test]
    fn changes_lead_to_what_is_published() {
        let changes = [
            change(1, "value", None, Some("core")),
            change(2, "lifecycle", None, Some("new")),
            change(3, "need", None, Some("a")),
            change(4, "value", Some("core"), Some("mvc")),
            change(5, "need", None, Some("b")),
            change(5, "need", Some("a"), None),
        ];
        let followed = followed(&events(&changes));
        let map = |record: &Value| Map::from([("C1".to_owned(), record.to_string())]);
        assert_eq!(followed, stands(&map(&record())));
        // Each member counts.
        let others = [
            ("/sequence", json!(6)),
            ("/value_tier", json!("core")),
            ("/value_tier", Value::Null),
            ("/value_tier_since", json!("2026-01-05")),
            ("/lifecycle", json!("active")),
            ("/lifecycle_since", json!("2026-01-03")),
            ("/needs", json!([])),
            ("/needs/0/need", json!("a")),
            ("/needs/0/since", json!("2026-01-04")),
            ("/rules_version", json!(4)),
        ];
        for (member, other) in others {
            let mut record = record();
            *record.pointer_mut(member).unwrap() = other;
            assert_ne!(followed, stands(&map(&record)), "{member}");
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let message = |key: &str, value: Option<&str>| {
            (Some(key.as_bytes().to_vec()), value.map(|value| value.as_bytes().to_vec()))
        };
        let messages = [
            message("a", Some("1")),
            message("b", Some("1")),
            message("a", Some("2")),
            message("b", None),
            message("c", None),
            message("c", Some("3")),
        ];
        let expected = [("a", "2"), ("c", "3")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(fold(messages.into_iter()), Map::from(expected));
    }
}
