//! G1: the whole product beside a real broker, against taking the same records and dropping them.
//!
//! Both sides read by the product's own source, so with the same client, settings and batches; the
//! broker's CPU counts for neither. The product makes its changes under the rule set that comes
//! with it, commits every 100 ms, and writes a snapshot when it leaves. No day closes: the first
//! record of every partition is of the last day, and `settle` reaches back to the first one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cardlens_tests::broker::{Broker, Isolation, Read};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::{Bench, Outcome, Run};
use crate::load::population::pioneer;
use crate::load::w1::{Answer, DAYS, W1, customer_of};
use crate::measure::{median, side};
use crate::sides::{Ran, TOPIC};

/// Of every topic.
pub(super) const PARTITIONS: u32 = 4;

/// Values of changes by customer, in order.
type Told = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Starts a broker that has the workload, says where it is, and stays until its input ends: for
/// profiling a side by itself.
///
/// # Errors
/// The broker does not start, or does not take the workload.
pub fn loaded_broker(directory: &Path) -> Result<()> {
    let broker = Broker::start().context("start the broker")?;
    let files = [pioneers(directory)?, W1::STANDARD.file(directory)?];
    load(&broker, TOPIC, &files)?;
    println!("{}", broker.bootstrap());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let workload = W1::STANDARD;
    let file = workload.file(&bench.directory)?;
    let broker = Broker::start().context("start the broker")?;
    let directory = bench.directory.join("g1");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let files = [pioneers(&directory)?, file];
    load(&broker, TOPIC, &files)?;
    let written = workload.transactions + u64::from(PARTITIONS);
    let records = written.to_string();
    let (bootstrap, place) = (broker.bootstrap(), directory.to_string_lossy().into_owned());
    let consume = |round: usize| -> Result<Run> {
        let run = format!("consume-{round}");
        let arguments = [bootstrap.as_str(), TOPIC, &run, &records];
        let (answer, cost): (Answer, _) = side("consume", &arguments)?;
        ensure!(answer.records >= written, "{answer:?}");
        Ok(Run::new(written, cost))
    };
    let run = |round: usize| -> Result<(Run, Ran)> {
        let run = format!("run-{round}");
        let arguments = [bootstrap.as_str(), TOPIC, &run, &records, &place];
        let (ran, cost): (Ran, _) = side("run", &arguments)?;
        ensure!(ran.all.records >= written, "{ran:?}");
        Ok((Run::new(written, cost), ran))
    };
    let (_, ran) = run(1)?;
    check(broker.read_all("run-1.changes", Isolation::Committed)?, &files, &directory)?;
    let mut rounds = Vec::new();
    let mut later = Vec::new();
    for round in 2..bench.rounds + 2 {
        let consumed = consume(round)?;
        let (whole, ran) = run(round)?;
        rounds.push([consumed, whole]);
        later.push(consumed.ns / second_half(&ran).ns);
    }
    let what = format!("{} records from Kafka, exactly once", workload.transactions);
    let sides = ["consumed and dropped", "cardlens run"];
    let (changes, emitted) = (ran.all.changes, share(ran.all.changes, written));
    let (half, all) = (ran.half, ran.all);
    let later_emitted = share(all.changes - half.changes, all.records - half.records);
    Ok(vec![
        Outcome::new("G1", what, Some([0.2, 0.3]), sides, rounds)
            .remark(format!("{changes} changes, {emitted:.1} % of the records"))
            .remark(format!(
                "the second half of the records alone, when most customers are known and \
                 {later_emitted:.1} % of the records change something: {:.2}",
                median(&later)
            ))
            .remark("what was committed equals a replay of the file, change by change".to_owned()),
    ])
}

/// The second half of a run by itself.
fn second_half(ran: &Ran) -> Run {
    let (all, half) = (ran.all, ran.half);
    Run::new(all.records - half.records, all.cost.minus(half.cost))
}

#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// Writes a record of the last moment for each partition, of customers of their own.
pub(super) fn pioneers(directory: &Path) -> Result<PathBuf> {
    let file = directory.join("pioneers.jsonl");
    let mut text = Vec::new();
    for partition in 0..PARTITIONS {
        let drawn = pioneer(partition, PARTITIONS, DAYS);
        drawn.context("a customer of every partition")?.write(&mut text)?;
        text.push(b'\n');
    }
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Makes a topic and writes the files into it, keyed by customer.
pub(super) fn load(broker: &Broker, topic: &str, files: &[PathBuf]) -> Result<()> {
    broker.create_topic(topic, i32::try_from(PARTITIONS)?, &[("retention.ms", "-1")])?;
    let mut config = broker.client();
    config.set("linger.ms", "20").set("batch.size", "1000000").set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random").set("queue.buffering.max.kbytes", "262144");
    let producer: BaseProducer = config.create()?;
    for file in files {
        for line in BufReader::with_capacity(1 << 20, File::open(file)?).lines() {
            let line = line?;
            let customer = customer_of(&line).context("a line without customer")?;
            let mut record = BaseRecord::to(topic).key(customer).payload(&line);
            while let Err((error, back)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                ensure!(error == full, "write the workload: {error}");
                record = back;
                producer.poll(Duration::from_millis(5));
            }
        }
        // What comes later in a partition is written later.
        producer.flush(Duration::from_secs(120)).context("write the workload")?;
    }
    Ok(())
}

/// Compares changes that a run committed with a replay of the files.
pub(super) fn check(changes: Vec<Read>, files: &[PathBuf], directory: &Path) -> Result<()> {
    let mut told = Told::new();
    for read in changes {
        let (Some(key), Some(value)) = (read.key, read.value) else { continue };
        told.entry(key).or_default().push(value);
    }
    let out = directory.join("replay");
    let (output, partitions) = (out.to_string_lossy(), PARTITIONS.to_string());
    let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    let mut arguments = vec!["default", &*partitions, &*output];
    arguments.extend(files.iter().map(|file| &**file));
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
