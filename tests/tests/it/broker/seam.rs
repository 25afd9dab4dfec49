//! Records in, outputs and positions out: together, once, in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use cardlens_engine::{Clock as _, Source as _, SystemClock};
use cardlens_model::{PartitionId, Position};
use cardlens_tests::broker::{Broker, Isolation};

use super::{Echo, config, records};

/// Every record was answered once, by the value, in the order of its partition.
pub fn check(broker: &Broker, count: usize, partitions: i32) -> Result<()> {
    let read = broker.read_all("cardlens.segment-changes", Isolation::Committed)?;
    for partition in 0..partitions {
        let of = |n: &usize| i32::try_from(*n).unwrap() % partitions == partition;
        let expected: Vec<_> = (0..count).filter(of).map(|n| n.to_string()).collect();
        let mine = read.iter().filter(|read| read.partition == partition);
        let got: Vec<_> = mine.map(|read| read.text()).collect();
        ensure!(got == expected, "partition {partition}: {} of {}", got.len(), expected.len());
    }
    ensure!(read.iter().all(|read| read.headers[0].1 == read.text().as_bytes()), "headers");
    Ok(())
}

#[test]
fn one_worker_answers_once() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 3, &[])?;
    broker.produce("cards", &records(0, 3_000, 3))?;
    let config = config(&broker, "a");
    let mut echo = Echo::new(&config)?;
    echo.take(3_000)?;
    check(&broker, 3_000, 3)?;
    let committed = echo.source.committed(PartitionId(1))?.unwrap();
    assert_eq!(committed.position, Position(1_000));
    assert_eq!(committed.metadata, "mark=1000");
    assert_eq!(echo.rebuilt_retried(), 0, "no false doubt");
    echo.source.close();
    drop(echo);

    // The same instance again: it goes on where it stopped.
    broker.produce("cards", &records(3_000, 300, 3))?;
    let mut echo = Echo::new(&config)?;
    echo.take(300)?;
    assert_eq!(echo.taken, 300);
    check(&broker, 3_300, 3)
}

#[test]
fn two_workers_share_and_hand_over() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 4, &[])?;
    broker.produce("cards", &records(0, 1_000, 4))?;
    let stop = AtomicBool::new(false);
    let taken = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let run = |idx: usize, instance: &str| -> Result<usize> {
        let mut echo = Echo::new(&config(&broker, instance))?;
        while !stop.load(Ordering::Relaxed) {
            echo.step()?;
            taken[idx].store(echo.taken, Ordering::Relaxed);
        }
        echo.commit()?;
        echo.source.close();
        Ok(echo.revoked)
    };
    let wait = |what: &str, done: &dyn Fn() -> bool| -> Result<()> {
        let clock = SystemClock::new();
        while !done() {
            ensure!(clock.elapsed() < Duration::from_secs(60), "{what}");
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    };
    let sum = || taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum::<usize>();
    thread::scope(|scope| -> Result<()> {
        let mut made = 1_000;
        let first = scope.spawn(|| run(0, "a"));
        let fed = wait("the first takes everything", &|| sum() >= 1_000);
        let second = scope.spawn(|| run(1, "b"));
        let mut feed = || -> Result<()> {
            // Written while partitions move, until the second has done some of the work.
            while taken[1].load(Ordering::Relaxed) < 200 {
                ensure!(made < 50_000, "the second gets nothing");
                broker.produce("cards", &records(made, 100, 4))?;
                made += 100;
                thread::park_timeout(Duration::from_millis(20));
            }
            wait("everything is taken", &|| sum() >= made)
        };
        let fed = fed.and_then(|()| feed());
        stop.store(true, Ordering::Relaxed);
        let revoked = first.join().unwrap()?;
        second.join().unwrap()?;
        fed?;
        ensure!(revoked > 0, "nothing moved");
        check(&broker, made, 4)
    })
}
