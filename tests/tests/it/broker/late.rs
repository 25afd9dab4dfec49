//! A copy of a transactional request that arrives when another transaction is open.
//!
//! Without a fence it decides that one; the control shows that the recipe does what it says.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cardlens_engine::{Outputs, Sink as _, Source as _, Topic};
use cardlens_model::{PartitionId, Position};
use cardlens_tests::broker::{Broker, Isolation, Written, send};
use cardlens_tests::proxy::{Delay, Proxy, api};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Echo, config};

const WAIT: Duration = Duration::from_secs(30);
const CHANGES: &str = "cardlens.segment-changes";

/// A commit that arrives before the positions of the next transaction are sent.
const LATE_COMMIT: Delay = Delay { hold: api::END_TXN, before: api::TXN_OFFSET_COMMIT, nth: 1 };
/// Positions that arrive after those of the next transaction, before its commit.
const LATE_POSITIONS: Delay = Delay { hold: api::TXN_OFFSET_COMMIT, before: api::END_TXN, nth: 2 };

/// An addition of the group that arrives before the positions of the next transaction.
const LATE_GROUP: Delay =
    Delay { hold: api::ADD_OFFSETS_TO_TXN, before: api::TXN_OFFSET_COMMIT, nth: 2 };

/// How often each recipe is followed; more when a proof is wanted.
fn rounds() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let wanted = std::env::var("CARDLENS_PROVE_KILLS").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(0).max(5)
}

fn broker() -> Result<(Broker, Proxy)> {
    let proxy = Proxy::start()?;
    let broker = Broker::start_behind(&proxy)?;
    broker.create_topic("cards", 1, &[])?;
    Ok((broker, proxy))
}

/// What stands committed, and who commits without a fence.
struct Plain {
    producer: BaseProducer,
    member: BaseConsumer,
}

impl Plain {
    fn new(broker: &Broker) -> Result<Self> {
        let mut config = broker.client();
        config.set("group.id", "cardlens").set("isolation.level", "read_committed");
        let member: BaseConsumer = config.create()?;
        let mut config = broker.client();
        config.set("transactional.id", "plain").set("retry.backoff.ms", "10");
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(WAIT)?;
        Ok(Self { producer, member })
    }

    /// Begins a transaction with one output and a position.
    fn begin(&self, value: &str, position: i64) -> Result<()> {
        self.producer.begin_transaction()?;
        send(&self.producer, CHANGES, &Written::new(0, "C", value))?;
        self.producer.flush(WAIT)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("cards", 0, Offset::Offset(position))?;
        let member = self.member.group_metadata().context("no group")?;
        Ok(self.producer.send_offsets_to_transaction(&list, &member, WAIT)?)
    }

    fn position(&self) -> Result<Offset> {
        let mut list = TopicPartitionList::new();
        list.add_partition("cards", 0);
        Ok(self.member.committed_offsets(list, WAIT)?.elements()[0].offset())
    }
}

fn values(broker: &Broker) -> Result<Vec<String>> {
    let read = broker.read_all(CHANGES, Isolation::Committed)?;
    Ok(read.iter().map(|read| read.text()).collect())
}

#[test]
fn without_a_fence_a_late_copy_decides_the_next_transaction() -> Result<()> {
    let (broker, proxy) = broker()?;
    broker.create_topic(CHANGES, 1, &[])?;
    let plain = Plain::new(&broker)?;
    proxy.delay(LATE_COMMIT);
    plain.begin("first", 1)?;
    plain.producer.commit_transaction(WAIT)?;
    // The second is to be aborted. Its output was sent; its positions never get that far.
    let refused =
        plain.begin("second", 2).is_err() || plain.producer.abort_transaction(WAIT).is_err();
    ensure!(proxy.answer().context("no copy was delivered")?[4..6] == [0, 0], "refused");
    ensure!(refused, "it went unnoticed");
    assert_eq!(values(&broker)?, ["first", "second"], "a transaction to be aborted is visible");
    drop(plain);

    let plain = Plain::new(&broker)?;
    proxy.delay(LATE_POSITIONS);
    plain.begin("third", 10)?;
    plain.producer.commit_transaction(WAIT)?;
    assert_eq!(plain.position()?, Offset::Offset(10));
    plain.begin("fourth", 20)?;
    plain.producer.commit_transaction(WAIT)?;
    ensure!(proxy.answer().is_some(), "no copy was delivered");
    assert_eq!(plain.position()?, Offset::Offset(10), "every call succeeded, and it went back");
    Ok(())
}

#[track_caller]
#[allow(clippy::print_stdout, reason = "proofs are reported on the output")]
fn check(delay: Delay) -> Result<()> {
    let (broker, proxy) = broker()?;
    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.until("assigned", |echo| !echo.at.is_empty())?;
    let p0 = PartitionId(0);
    let write = |echo: &mut Echo, n: i64| -> Result<()> {
        let mut outputs = Outputs::default();
        outputs.push(Topic::Changes, p0, None, Some(n.to_string().as_bytes()));
        echo.at.insert(p0, Position(n));
        echo.sink.commit(&outputs, &echo.progress())?;
        Ok(())
    };
    let rounds = rounds();
    for round in 0..rounds {
        proxy.delay(delay);
        write(&mut echo, 2 * round + 1)?;
        write(&mut echo, 2 * round + 2)?;
        let answer = proxy.answer().context("no copy was delivered")?;
        // Behind the throttle time: the code for an outdated epoch of the producer.
        ensure!(delay.hold != api::END_TXN || answer[4..6] == [0, 47], "{round}: {answer:?}");
        let committed = echo.source.committed(p0)?.context("nothing committed")?;
        assert_eq!(committed.position, Position(2 * round + 2));
    }
    let rebuilt = echo.rebuilt_retried();
    assert_eq!(i64::try_from(rebuilt)?, rounds, "one new producer for each unanswered request");
    let expected: Vec<_> = (1..=2 * rounds).map(|n| n.to_string()).collect();
    assert_eq!(values(&broker)?, expected);
    println!("proved: {rounds} late copies of request {}, each refused", delay.hold);
    Ok(())
}

#[test]
fn a_late_commit_is_refused() -> Result<()> {
    check(LATE_COMMIT)
}

#[test]
fn late_positions_are_refused() -> Result<()> {
    check(LATE_POSITIONS)
}

#[test]
fn a_late_group_is_refused() -> Result<()> {
    check(LATE_GROUP)
}
