//! Failures in the middle: nothing is lost, nothing is written twice, and the older one gives way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use cardlens_engine::{
    Action, Clock as _, Error, Outputs, Sink as _, Source as _, SystemClock, Topic,
};
use cardlens_model::PartitionId;
use cardlens_tests::broker::{Broker, Isolation};
use cardlens_tests::proxy::Proxy;

use super::seam::check;
use super::{Echo, config, records};

#[test]
fn an_older_owner_gives_way() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 2, &[])?;
    broker.produce("cards", &records(0, 200, 2))?;
    let config = config(&broker, "a");
    let mut zombie = Echo::new(&config)?;
    zombie.take(200)?;

    // A second process with the same name. The first one does not know yet and goes on.
    let mut owner = Echo::new(&config)?;
    broker.produce("cards", &records(200, 200, 2))?;
    let mut stale = Outputs::default();
    stale.push(Topic::Changes, PartitionId(0), None, Some(b"stale"));
    let error = zombie.sink.commit(&stale, &zombie.progress()).unwrap_err();
    ensure!(matches!(error, Error::Fenced { .. }), "{error:?}");
    assert_eq!(zombie.metrics.transactions.with_label_values(&["fenced"]).get(), 1);
    drop(zombie);

    owner.take(200)?;
    check(&broker, 400, 2)
}

#[test]
fn a_broker_that_dies_is_survived() -> Result<()> {
    let mut broker = Broker::start()?;
    broker.create_topic("cards", 2, &[])?;
    broker.produce("cards", &records(0, 1_000, 2))?;
    let config = config(&broker, "a");
    let mut echo = Echo::new(&config)?;
    echo.take(1_000)?;
    broker.produce("cards", &records(1_000, 1_000, 2))?;
    echo.until("something is to be committed", |echo| echo.taken > 1_000)?;

    broker.kill()?;
    let clock = SystemClock::new();
    let error = echo.commit_unless_empty().unwrap_err();
    ensure!(clock.elapsed() < Duration::from_secs(40), "it took {:?}", clock.elapsed());
    ensure!(error.action() == Action::Retry, "{error:?}");
    broker.restart()?;
    // The same call again, until the question of the first is answered. Unless the group has asked
    // for the partitions meanwhile, and did not get them: then what is held is stale.
    let clock = SystemClock::new();
    loop {
        match echo.commit_unless_empty() {
            Ok(()) => echo.outputs.clear(),
            Err(Error::Fenced { .. }) => echo = echo.anew(&config)?,
            Err(error) => {
                ensure!(error.action() == Action::Retry, "{error:?}");
                ensure!(clock.elapsed() < Duration::from_secs(60), "{error}");
                continue;
            }
        }
        break;
    }
    let done = |echo: &Echo| echo.outputs.is_empty() && echo.at.values().all(|at| at.0 == 1_000);
    while echo.at.len() < 2 || !done(&echo) {
        ensure!(clock.elapsed() < Duration::from_secs(120), "{:?}", echo.at);
        echo.endure(&config)?;
    }
    check(&broker, 2_000, 2)
}

/// One of two is cut off until the group has given its partitions away, and comes back.
#[test]
fn a_zombie_writes_nothing() -> Result<()> {
    let proxy = Proxy::start()?;
    let broker = Broker::start_behind(&proxy)?;
    broker.create_topic("cards", 4, &[])?;
    let stop = AtomicBool::new(false);
    let work = |instance: &str| -> Result<usize> {
        let config = config(&broker, instance);
        let mut echo = Echo::new(&config)?;
        while !stop.load(Ordering::Relaxed) {
            echo.endure(&config)?;
        }
        echo.commit()?;
        echo.source.close();
        Ok(echo.revoked)
    };
    let made = AtomicUsize::new(0);
    let feed = |seconds: u64| -> Result<()> {
        let clock = SystemClock::new();
        while clock.elapsed() < Duration::from_secs(seconds) {
            let from = made.fetch_add(40, Ordering::Relaxed);
            broker.produce("cards", &records(from, 40, 4))?;
            thread::park_timeout(Duration::from_millis(100));
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let workers = ["a", "b"].map(|instance| {
            let work = &work;
            scope.spawn(move || work(instance))
        });
        let fed = feed(10).and_then(|()| {
            proxy.freeze(Some("cardlens.a.0"));
            let fed = feed(12);
            proxy.freeze(None);
            fed.and_then(|()| feed(5))
        });
        let clock = SystemClock::new();
        let all = || -> Result<()> {
            let made = made.load(Ordering::Relaxed);
            while broker.read_all("cardlens.segment-changes", Isolation::Committed)?.len() < made {
                ensure!(clock.elapsed() < Duration::from_secs(60), "not everything is answered");
                thread::park_timeout(Duration::from_millis(200));
            }
            Ok(())
        };
        let all = fed.and_then(|()| all());
        stop.store(true, Ordering::Relaxed);
        let moved = workers.map(|worker| worker.join().unwrap());
        all?;
        for moved in moved {
            ensure!(moved? > 0, "nothing moved");
        }
        check(&broker, made.load(Ordering::Relaxed), 4)
    })
}

/// What would be the same call twice is one transaction.
#[test]
fn a_commit_without_progress_is_nothing() -> Result<()> {
    let broker = Broker::start()?;
    broker.create_topic("cards", 1, &[])?;
    let mut echo = Echo::new(&config(&broker, "a"))?;
    echo.sink.commit(&Outputs::default(), &[])?;
    echo.until("assigned", |echo| !echo.at.is_empty())?;
    // Positions alone, and the same positions with another mark.
    echo.sink.commit(&Outputs::default(), &echo.progress())?;
    let mut progress = echo.progress();
    progress[0].metadata = "swept=7".to_owned();
    echo.sink.commit(&Outputs::default(), &progress)?;
    let committed = echo.source.committed(PartitionId(0))?.unwrap();
    assert_eq!(committed.metadata, "swept=7");
    // A partition of somebody else.
    progress[0].partition = PartitionId(5);
    let error = echo.sink.commit(&Outputs::default(), &progress).unwrap_err();
    ensure!(matches!(error, Error::Fenced { .. }), "{error:?}");
    Ok(())
}
