//! G1: the whole product beside a real broker, against taking the same records and dropping them.
//!
//! Both sides read by the product's own source, so with the same client, settings and batches; the
//! broker's CPU counts for neither. The product makes its changes under the rule set that comes
//! with it, commits every 100 ms, and writes a snapshot when it leaves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cardlens_tests::broker::{Broker, Isolation};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::{Bench, Outcome, Run};
use crate::load::w1::{Answer, W1};
use crate::measure::side;
use crate::sides::TOPIC;

const PARTITIONS: i32 = 4;

/// Values of changes by customer, in order.
type Told = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let workload = W1::STANDARD;
    let file = workload.file(&bench.directory)?;
    let broker = Broker::start().context("start the broker")?;
    load(&broker, &file)?;
    let records = workload.transactions.to_string();
    let directory = bench.directory.join("g1");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let (bootstrap, place) = (broker.bootstrap(), directory.to_string_lossy().into_owned());
    let (mut count, mut changes) = (0, 0);
    let mut once = |name: &str| -> Result<Run> {
        count += 1;
        let run = format!("{name}-{count}");
        let arguments = [bootstrap.as_str(), &run, &records, &place];
        let (answer, cost): (Answer, _) = side(name, &arguments)?;
        ensure!(answer.records >= workload.transactions, "{name}: {answer:?}");
        changes = changes.max(answer.changes);
        Ok(Run::new(workload.transactions, cost))
    };
    once("run")?;
    check(&broker, &file, &directory)?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        rounds.push([once("consume")?, once("run")?]);
    }
    let what = format!("{} records from Kafka, exactly once", workload.transactions);
    let sides = ["consumed and dropped", "cardlens run"];
    #[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
    let emitted = changes as f64 * 100.0 / workload.transactions as f64;
    Ok(vec![
        Outcome::new("G1", what, Some([0.2, 0.3]), sides, rounds)
            .remark(format!("{changes} changes, {emitted:.1} % of the records"))
            .remark("what was committed equals a replay of the file, change by change".to_owned()),
    ])
}

/// Writes the file into the topic, keyed by customer.
fn load(broker: &Broker, file: &Path) -> Result<()> {
    broker.create_topic(TOPIC, PARTITIONS, &[("retention.ms", "-1")])?;
    let mut config = broker.client();
    config.set("linger.ms", "20").set("batch.size", "1000000").set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random").set("queue.buffering.max.kbytes", "262144");
    let producer: BaseProducer = config.create()?;
    let text = std::fs::read_to_string(file)?;
    for line in text.lines() {
        let at = line.find("\"customer\":\"").context("a line without customer")? + 12;
        let key = &line[at..at + 10];
        let mut record = BaseRecord::to(TOPIC).key(key).payload(line);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            ensure!(error == full, "write the workload: {error}");
            record = back;
            producer.poll(std::time::Duration::from_millis(5));
        }
    }
    producer.flush(std::time::Duration::from_secs(120)).context("write the workload")
}

/// Compares what the first run committed with a replay of the file.
fn check(broker: &Broker, file: &Path, directory: &Path) -> Result<()> {
    let mut told = Told::new();
    for read in broker.read_all("run-1.changes", Isolation::Committed)? {
        let (Some(key), Some(value)) = (read.key, read.value) else { continue };
        told.entry(key).or_default().push(value);
    }
    let out = directory.join("replay");
    let (input, output) = (file.to_string_lossy(), out.to_string_lossy());
    let arguments = [&*input, &*output, &PARTITIONS.to_string(), "default"];
    let (answer, _): (Answer, _) = side("events", &arguments)?;
    let mut expected = Told::new();
    let mut lines = 0;
    for line in std::fs::read_to_string(out.join("changes.jsonl"))?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let key = line["key"].as_str().context("a change without customer")?;
        let values = expected.entry(key.as_bytes().to_vec()).or_default();
        values.push(line["value"].to_string().into_bytes());
        lines += 1;
    }
    ensure!(lines == answer.changes, "{lines} lines of {} changes", answer.changes);
    ensure!(told.len() == expected.len(), "{} customers, not {}", told.len(), expected.len());
    for (customer, values) in &mut told {
        for value in values.iter_mut() {
            let parsed: serde_json::Value = serde_json::from_slice(value)?;
            *value = parsed.to_string().into_bytes();
        }
        ensure!(
            expected.get(customer) == Some(values),
            "what {} was told differs from the replay",
            String::from_utf8_lossy(customer)
        );
    }
    Ok(())
}
