//! The flagship: two instances of `cardlens run` beside a real broker, killed at random moments
//! while real data streams in; nothing is lost, nothing comes twice, and what every customer's
//! consumers saw is what a backtest of the same partitions says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cardlens::backtest::Backtest;
use cardlens_tests::backtest::{config, default_rules};
use cardlens_tests::broker::{Broker, Isolation, free_ports};
use cardlens_tests::live::{
    Events, Instance, dealt, events_of_file, events_of_topic, feed, feed_config, now, pause,
    produce,
};
use cardlens_tests::sim::Dice;

const PARTITIONS: u32 = 6;
const CHANGES: &str = "cardlens.segment-changes";
/// Longest time for the last records to come out after the last kill.
const SETTLE: Duration = Duration::from_secs(120);

struct Case {
    file: &'static str,
    currency: &'static str,
    country: &'static str,
    kills: u64,
    /// Time over which the records are produced.
    streams: Duration,
}

/// What a backtest of the same records in the same partitions says.
fn expected(case: &Case, records: &[(String, String)], folder: &Path) -> Events {
    let file = folder.join("feed.jsonl");
    let lines: String = records.iter().map(|(_, value)| format!("{value}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let out = folder.join("backtest");
    let backtest = Backtest {
        from: vec![file],
        partitions: PARTITIONS,
        as_of: None,
        out: out.clone(),
        progress: false,
    };
    let config = config(&feed_config(case.currency, case.country));
    backtest.run(&config, default_rules(), &Arc::new(AtomicBool::new(false))).unwrap();
    events_of_file(&out.join("changes.jsonl"))
}

fn check(case: &Case, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let records = feed(case.file, case.currency);
    let expected = expected(case, &records, folder.path());
    let wanted: usize = expected.values().map(Vec::len).sum();

    let broker = Broker::start().unwrap();
    let partitions = i32::try_from(PARTITIONS).unwrap();
    // Event times lie in the value alone: the log stamps records when they come.
    broker
        .create_topic("cards", partitions, &[("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    let file = folder.path().join("run.toml");
    let text = format!(
        "{}[kafka]\nbootstrap_servers = \"{}\"\nsession_timeout = \"6s\"\n\
         [state]\nstore = \"{}\"\nsnapshot_interval = \"1s\"\n[output]\ncreate_topics = true\n",
        feed_config(case.currency, case.country),
        broker.bootstrap(),
        folder.path().join("state").display()
    );
    std::fs::write(&file, text).unwrap();
    let [first, second] = free_ports().unwrap();
    let mut instances = [
        Instance::start("one", folder.path(), &file, first),
        Instance::start("two", folder.path(), &file, second),
    ];
    let mut dice = Dice(seed | 1);
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let records = dealt(&records, PARTITIONS);
            produce(&broker, &records, case.streams, &AtomicBool::new(false));
        });
        let every = case.streams / u32::try_from(case.kills + 1).unwrap();
        for _ in 0..case.kills {
            pause(
                every.mul_f64(0.5) + every.mul_f64(0.001) * u32::try_from(dice.below(500)).unwrap(),
            );
            let victim = usize::try_from(dice.below(2)).unwrap();
            instances[victim].kill();
            pause(Duration::from_millis(dice.below(600)));
            instances[victim].spawn();
        }
        producing.join().unwrap();
    });
    let started = now();
    loop {
        pause(Duration::from_millis(500));
        instances.iter_mut().for_each(Instance::check_alive);
        let found = broker.read_all(CHANGES, Isolation::Committed).map_or(0, |read| read.len());
        assert!(found <= wanted, "{found} changes of {wanted}: some came twice");
        if found == wanted {
            break;
        }
        let logs = || instances.iter().map(Instance::log).collect::<String>();
        if started.elapsed() > SETTLE {
            print_missing(&expected, &broker);
            panic!("{found} of {wanted} changes\n{}", logs());
        }
    }
    let found = events_of_topic(&broker, CHANGES);
    for (customer, events) in &expected {
        assert_eq!(found.get(customer), Some(events), "customer {customer}, seed {seed}");
    }
    assert_eq!(found.len(), expected.len());
    for instance in &mut instances {
        assert!(!instance.log().contains("the published stands"), "{}", instance.log());
        let (code, took) = instance.terminate();
        assert_eq!(code, Some(0), "{}", instance.log());
        assert!(took < Duration::from_secs(20), "leaving took {took:?}");
    }
    let kills: usize = instances.iter().map(|instance| instance.kills).sum();
    assert_eq!(kills as u64, case.kills);
    println!("proved: {} with {kills} kills: {wanted} changes, none lost, none twice", case.file);
}

/// Where what was told ends, or goes another way, for customers that were told too little.
fn print_missing(expected: &Events, broker: &Broker) {
    let found = events_of_topic(broker, CHANGES);
    for (customer, events) in expected {
        let told = found.get(customer).map_or(&[][..], |told| told);
        let same = events.iter().zip(told).take_while(|(one, other)| one == other).count();
        if told.len() < events.len() {
            eprintln!("{customer}: {same} of {} as expected, then", events.len());
            eprintln!("expected {:?}\n    told {:?}", events.get(same), told.get(same));
        }
    }
}

/// Kills of all cases together; more when a proof is wanted.
fn kills(default: u64) -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let wanted = std::env::var("CARDLENS_PROVE_KILLS").ok().and_then(|n| n.parse::<u64>().ok());
    wanted.map_or(default, |wanted| default.max(wanted * default / 20))
}

#[test]
fn needs_120_under_kills() {
    let kills = kills(12);
    let streams = Duration::from_secs(3) * u32::try_from(kills).unwrap();
    let (file, currency, country) = ("needs_120_txns.csv.gz", "USD", "US");
    check(&Case { file, currency, country, kills, streams }, 20_261_124);
}

#[test]
fn birmingham_under_kills() {
    let kills = kills(4);
    let streams = Duration::from_secs(3) * u32::try_from(kills).unwrap();
    let (file, currency, country) = ("birmingham_2016-12_2017-02.csv.gz", "GBP", "GB");
    check(&Case { file, currency, country, kills, streams }, 7);
}

#[test]
fn complete_journey_under_kills() {
    let kills = kills(4);
    let streams = Duration::from_secs(3) * u32::try_from(kills).unwrap();
    let (file, currency, country) = ("cj_households_474.csv.gz", "USD", "US");
    check(&Case { file, currency, country, kills, streams }, 11);
}
