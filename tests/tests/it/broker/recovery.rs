//! What recovery reads, and what it refuses to read past.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use cardlens_engine::{
    Broken, Clock as _, Error, Outputs, Polled, Sink as _, Source as _, SystemClock, Topic,
};
use cardlens_kafka::KafkaSource;
use cardlens_model::{PartitionId, Position};
use cardlens_tests::broker::{Broker, Written, send};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{Echo, config, connect, records};

const WAIT: Duration = Duration::from_secs(30);
const P0: PartitionId = PartitionId(0);

fn transactional(broker: &Broker) -> Result<BaseProducer> {
    let mut config = broker.client();
    config.set("transactional.id", "somebody").set("transaction.timeout.ms", "60000");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(WAIT)?;
    Ok(producer)
}

fn published(source: &mut KafkaSource) -> Result<Vec<(String, Option<String>)>, Error> {
    let mut read = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    source.published(P0, &mut |key, value| read.push((text(key), value.map(text))))?;
    Ok(read)
}

#[test]
fn recovery_reads_to_the_high_watermark() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    broker.produce("cards", &records(0, 2_500, 1))?;
    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.until("assigned", |echo| !echo.at.is_empty())?;

    // What this sink writes is what the source reads again: tombstones, headers and decisions.
    let outputs = [
        (Topic::Current, Some("C1"), Some("first")),
        (Topic::Current, Some("C2"), Some("second")),
        (Topic::Current, Some("C1"), None),
        (Topic::Decisions, None, Some("day closed")),
        (Topic::DeadLetters, Some("C3"), Some("broken")),
    ];
    let mut written = Outputs::default();
    for (topic, key, value) in outputs {
        written.push(topic, P0, key.map(str::as_bytes), value.map(str::as_bytes));
        written.header("why", b"test");
        written.header("empty", b"");
    }
    echo.sink.commit(&written, &echo.progress())?;
    let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let expected = vec![pair("C1", Some("first")), pair("C2", Some("second")), pair("C1", None)];
    assert_eq!(published(&mut echo.source)?, expected);
    let mut decisions = Vec::new();
    echo.source.decisions(P0, &mut |value| decisions.push(value.to_vec()))?;
    assert_eq!(decisions, [b"day closed".to_vec()]);

    // The input again, from one position to another.
    let mut seen = Vec::new();
    echo.source.replay(P0, Position(1_234), Position(2_345), &mut |records| {
        seen.extend(records.iter().map(|record| record.position.0));
        assert!(
            records.iter().all(|r| r.headers.to_vec()[0].1 == r.value && r.appended_at.is_some())
        );
        Ok(())
    })?;
    assert_eq!(seen, (1_234..2_345).collect::<Vec<_>>());
    let stopped = echo
        .source
        .replay(P0, Position(0), Position(9), &mut |_| Err(Error::Setup("enough".to_owned())));
    assert!(matches!(stopped, Err(Error::Setup(_))));

    // A transaction of somebody else hides what was committed behind it, until it ends.
    let topic = "cardlens.customer-segments";
    let other = transactional(&broker)?;
    other.begin_transaction()?;
    send(&other, topic, &Written::new(0, "C8", "open"))?;
    other.flush(WAIT)?;
    broker.produce(topic, &[Written::new(0, "C9", "behind")])?;
    let clock = SystemClock::new();
    let (read, took) = std::thread::scope(|scope| {
        let ending = scope.spawn(|| {
            std::thread::park_timeout(Duration::from_secs(2));
            other.abort_transaction(WAIT)
        });
        let read = published(&mut echo.source);
        let took = clock.elapsed();
        ending.join().unwrap().unwrap();
        (read, took)
    });
    let read = read?;
    assert_eq!(read.last(), Some(&pair("C9", Some("behind"))), "the aborted one is not seen");
    assert!(took > Duration::from_secs(2), "it waited for the end of the transaction: {took:?}");
    let clock = SystemClock::new();
    assert_eq!(published(&mut echo.source)?, read);
    assert!(clock.elapsed() < Duration::from_secs(1), "without a reason to wait it is quick");
    Ok(())
}

#[test]
fn markers_are_passed_and_open_transactions_are_not() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    let feed = transactional(&broker)?;
    let write = |count: usize| -> Result<()> {
        feed.begin_transaction()?;
        records(0, count, 1).iter().try_for_each(|record| send(&feed, "cards", record))?;
        Ok(feed.flush(WAIT)?)
    };
    write(10)?;
    feed.commit_transaction(WAIT)?;
    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.take(10)?;
    let reach = |echo: &mut Echo, end: i64| -> Result<()> {
        let clock = SystemClock::new();
        while echo.source.reached(P0) != Some(Position(end)) {
            ensure!(clock.elapsed() < WAIT, "{:?}, not {end}", echo.source.reached(P0));
            echo.step()?;
        }
        let bounds = echo.source.bounds(P0)?;
        assert_eq!((bounds.stable, bounds.high), (Position(end), Position(end)));
        Ok(())
    };
    reach(&mut echo, 11)?;
    write(1)?;
    let bounds = echo.source.bounds(P0)?;
    assert_eq!((bounds.stable, bounds.high), (Position(11), Position(12)), "it is open");
    feed.commit_transaction(WAIT)?;
    echo.take(11)?;
    reach(&mut echo, 13)?;
    let committed = echo.source.committed(P0)?.unwrap();
    assert_eq!((committed.position, committed.metadata.as_str()), (Position(12), "mark=12"));
    assert_eq!(echo.source.all_committed()?, [(P0, committed)]);
    Ok(())
}

/// The first error of a worker that is told to go on at a position.
fn refusal(broker: &Broker, at: i64) -> Result<Error> {
    let mut echo = Echo::new(&config(broker, "a"))?;
    echo.until("assigned", |echo| !echo.at.is_empty())?;
    echo.source.resume(P0, Position(at))?;
    let clock = SystemClock::new();
    while clock.elapsed() < WAIT {
        match echo.source.poll(Duration::from_millis(200)) {
            Err(error) => return Ok(error),
            Ok(Polled::Records { .. }) => bail!("records were delivered"),
            Ok(_) => {}
        }
    }
    bail!("nothing was refused")
}

#[track_caller]
fn check(error: &Error, expected: Broken, words: &[&str]) {
    let Error::Broken { partition: P0, reason, detail } = error else { panic!("{error:?}") };
    assert_eq!(*reason, expected, "{detail}");
    for word in words {
        assert!(detail.contains(word), "`{word}` is not in: {detail}");
    }
}

#[test]
fn a_gap_is_never_skipped() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    broker.produce("cards", &records(0, 100, 1))?;
    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.take(100)?;
    broker.delete_records("cards", 0, 40)?;
    assert_eq!(echo.source.bounds(P0)?.low, Position(40));
    drop(echo);
    let words = ["position 10", "begins at 40", "30 records"];
    check(&refusal(&broker, 10)?, Broken::InputGap, &words);
    check(&refusal(&broker, 500)?, Broken::Truncated, &["position 500", "ends at 100"]);

    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.until("assigned", |echo| !echo.at.is_empty())?;
    let source = &mut echo.source;
    let replayed = source.replay(P0, Position(39), Position(50), &mut |_| Ok(()));
    check(&replayed.unwrap_err(), Broken::InputGap, &["position 39"]);
    let replayed = source.replay(P0, Position(50), Position(101), &mut |_| Ok(()));
    check(&replayed.unwrap_err(), Broken::Truncated, &["position 101"]);

    // A partition that was stopped delivers nothing, and goes on where it is told to.
    source.stop(P0)?;
    assert!(matches!(source.poll(Duration::from_secs(1))?, Polled::Idle));
    source.resume(P0, Position(90))?;
    echo.at.insert(P0, Position(90));
    echo.take(10)?;

    // The topic made anew holds other records.
    broker.delete_topic("cards")?;
    broker.create_topic("cards", 1, &[])?;
    broker.produce("cards", &records(0, 10, 1))?;
    let clock = SystemClock::new();
    let error = loop {
        assert!(clock.elapsed() < WAIT * 2, "a topic made anew was not noticed");
        match echo.source.poll(Duration::from_millis(200)) {
            Err(Error::Unavailable { .. }) | Ok(Polled::Idle) => {}
            Err(error) => break error,
            Ok(Polled::Records { .. }) => panic!("records of another topic were delivered"),
            Ok(_) => panic!("a rebalance came first"),
        }
    };
    assert!(
        matches!(error, Error::Broken { reason: Broken::Truncated | Broken::Topology, .. }),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn more_partitions_stop_all_of_them() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 2, &[])?;
    let mut config = config(&broker, "a");
    config.properties.insert("topic.metadata.refresh.interval.ms".into(), "500".into());
    let mut echo = Echo::new(&config)?;
    echo.until("assigned", |echo| echo.at.len() == 2)?;
    broker.add_partitions("cards", 3)?;
    let mut stopped = std::collections::BTreeSet::new();
    let clock = SystemClock::new();
    while stopped.len() < 2 {
        assert!(clock.elapsed() < WAIT * 3, "{stopped:?}");
        let Err(error) = echo.step() else { continue };
        match error.downcast::<Error>()? {
            Error::Broken { partition, reason: Broken::Topology, .. } => {
                stopped.insert(partition.0);
                stopped.remove(&2);
            }
            error => panic!("{error:?}"),
        }
    }
    Ok(())
}

#[test]
fn nothing_committed_is_none() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    let (mut source, _sink) = connect(&config(&broker, "a"))?;
    assert_eq!(source.committed(P0)?, None);
    Ok(())
}
