//! The flagship: two instances of `cardlens run` beside a real broker, killed at random moments
//! while real data streams in; nothing is lost, nothing comes twice, what every customer's
//! consumers saw is what a backtest of the same partitions says, and the published map read back is
//! the state at the committed offsets: in the middle, with nobody left alive, and at the end.

use std::collections::BTreeSet;
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
use cardlens_tests::published::{self, Map, committed, followed, stands};
use cardlens_tests::sim::Dice;

const PARTITIONS: u32 = 6;
const CHANGES: &str = "cardlens.segment-changes";
const CURRENT: &str = "cardlens.customer-segments";
const GROUP: &str = "cardlens";
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

/// Records as they are fed, with their customers.
type Feed = [(String, String)];

/// A case, its records and what should come of them.
struct Scene<'a> {
    case: &'a Case,
    folder: &'a Path,
    records: &'a Feed,
    broker: &'a Broker,
    /// By a backtest.
    changes: Events,
    /// By an engine on the in-process log, which nothing disturbs.
    current: Map,
}

impl Case {
    /// What a backtest of the same records in the same partitions says.
    fn changes(&self, records: &Feed, folder: &Path) -> Events {
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
        let config = config(&feed_config(self.currency, self.country));
        backtest.run(&config, default_rules(), &Arc::new(AtomicBool::new(false))).unwrap();
        events_of_file(&out.join("changes.jsonl"))
    }

    fn current(&self, records: &Feed) -> Map {
        let config = config(&feed_config(self.currency, self.country));
        published::undisturbed(&config, PARTITIONS, records)
    }
}

impl Scene<'_> {
    /// Two instances that share their state.
    fn instances(&self) -> [Instance; 2] {
        let file = self.folder.join("run.toml");
        let text = format!(
            "{}[kafka]\nbootstrap_servers = \"{}\"\nsession_timeout = \"6s\"\n\
             [state]\nstore = \"{}\"\nsnapshot_interval = \"1s\"\n\
             [output]\ncreate_topics = true\n",
            feed_config(self.case.currency, self.case.country),
            self.broker.bootstrap(),
            self.folder.join("state").display()
        );
        std::fs::write(&file, text).unwrap();
        let [first, second] = free_ports().unwrap();
        [("one", first), ("two", second)]
            .map(|(name, port)| Instance::start(name, self.folder, &file, port))
    }

    /// Kills one after the other while the records stream in, and both at once at last.
    fn disturb(&self, instances: &mut [Instance; 2], seed: u64) {
        let Case { kills, streams, .. } = *self.case;
        let mut dice = Dice(seed | 1);
        std::thread::scope(|scope| {
            let producing = scope.spawn(|| {
                let records = dealt(self.records, PARTITIONS);
                produce(self.broker, &records, streams, &AtomicBool::new(false));
            });
            let every = streams / u32::try_from(kills + 1).unwrap();
            for round in 1..kills {
                let part = every.mul_f64(0.001) * u32::try_from(dice.below(500)).unwrap();
                pause(every.mul_f64(0.5) + part);
                if round + 1 == kills {
                    self.await_commit();
                    instances.iter_mut().for_each(Instance::kill);
                    self.check_at_rest();
                    instances.iter_mut().for_each(Instance::spawn);
                    continue;
                }
                let victim = usize::try_from(dice.below(2)).unwrap();
                instances[victim].kill();
                pause(Duration::from_millis(dice.below(600)));
                instances[victim].spawn();
            }
            producing.join().unwrap();
        });
    }

    /// Waits for a first commit: on a busy machine the instances may have been starting all along.
    fn await_commit(&self) {
        let partitions = i32::try_from(PARTITIONS).unwrap();
        let started = now();
        while committed(self.broker, GROUP, "cards", partitions).iter().all(|it| it.offset <= 0) {
            assert!(started.elapsed() < SETTLE, "nothing was committed");
            pause(Duration::from_millis(200));
        }
    }

    /// With nobody at work: what is published is where the published changes lead, and in each
    /// partition both are what the records before the committed offset make.
    fn check_at_rest(&self) {
        let partitions = i32::try_from(PARTITIONS).unwrap();
        let committed = committed(self.broker, GROUP, "cards", partitions);
        let mut taken = vec![0; committed.len()];
        let mut customers = vec![BTreeSet::new(); committed.len()];
        let mut before = Vec::new();
        for (record, dealt) in self.records.iter().zip(dealt(self.records, PARTITIONS)) {
            let partition = usize::try_from(dealt.partition).unwrap();
            if taken[partition] < committed[partition].offset {
                taken[partition] += 1;
                customers[partition].insert(record.0.clone());
                before.push(record.clone());
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let expected = self.case.changes(&before, folder.path());
        let found = events_of_topic(self.broker, CHANGES);
        check_stands(&published::of_topic(self.broker, CURRENT), &found);
        let known = |customer: &String| customers.iter().any(|known| known.contains(customer));
        assert!(found.keys().all(known), "of records that are not committed");
        let mut compared = 0;
        for (customers, committed) in customers.iter().zip(&committed) {
            // A day was closed of which some were yet to hear; the backtest tells everybody.
            if committed.swept < customers.len() {
                continue;
            }
            for customer in customers {
                assert_eq!(found.get(customer), expected.get(customer), "{customer}");
                compared += 1;
            }
        }
        assert!(compared > 0, "every partition was amid the close of a day: {committed:?}");
        println!(
            "proved: {}: {compared} published customers are the state at offsets {taken:?}",
            self.case.file
        );
    }

    /// Waits until all changes are out, and no more than these.
    fn await_changes(&self, instances: &mut [Instance; 2]) -> usize {
        let wanted: usize = self.changes.values().map(Vec::len).sum();
        let started = now();
        loop {
            pause(Duration::from_millis(500));
            instances.iter_mut().for_each(Instance::check_alive);
            let read = self.broker.read_all(CHANGES, Isolation::Committed);
            let found = read.map_or(0, |read| read.len());
            assert!(found <= wanted, "{found} changes of {wanted}: some came twice");
            if found == wanted {
                return wanted;
            }
            if started.elapsed() > SETTLE {
                print_missing(&self.changes, self.broker);
                panic!("{found} of {wanted} changes\n{}", logs(instances));
            }
        }
    }

    /// The last figures may come after the last change. Once the map is what it should be it stays
    /// so: it is read again when the instances have left.
    fn await_current(&self, instances: &[Instance; 2]) {
        let started = now();
        while published::of_topic(self.broker, CURRENT) != self.current {
            if started.elapsed() > SETTLE {
                self.check_current();
                panic!("it took too long\n{}", logs(instances));
            }
            pause(Duration::from_millis(500));
        }
    }

    /// All records are committed, and the published map is the state after them: byte for byte that
    /// of the engine which nothing disturbed, and where the changes of the backtest lead.
    fn check_current(&self) {
        let found = published::of_topic(self.broker, CURRENT);
        for (customer, record) in &self.current {
            assert_eq!(found.get(customer), Some(record));
        }
        assert_eq!(found.len(), self.current.len());
        check_stands(&found, &self.changes);
        let partitions = i32::try_from(PARTITIONS).unwrap();
        let committed = committed(self.broker, GROUP, "cards", partitions);
        let mut records = vec![0; committed.len()];
        for dealt in dealt(self.records, PARTITIONS) {
            records[usize::try_from(dealt.partition).unwrap()] += 1;
        }
        let offsets: Vec<i64> = committed.iter().map(|committed| committed.offset).collect();
        assert_eq!(offsets, records, "records of each partition");
    }
}

/// What is published is where changes lead, for every customer.
fn check_stands(published: &Map, changes: &Events) {
    let (published, followed) = (stands(published), followed(changes));
    for (customer, stand) in &followed {
        assert_eq!(published.get(customer), Some(stand), "{customer}");
    }
    assert_eq!(published.len(), followed.len(), "customers of whom no change tells");
}

fn logs(instances: &[Instance; 2]) -> String {
    instances.iter().map(Instance::log).collect()
}

fn check(case: &Case, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let records = feed(case.file, case.currency);
    let broker = Broker::start().unwrap();
    let partitions = i32::try_from(PARTITIONS).unwrap();
    // Event times lie in the value alone: the log stamps records when they come.
    broker
        .create_topic("cards", partitions, &[("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    let scene = Scene {
        case,
        folder: folder.path(),
        records: &records,
        broker: &broker,
        changes: case.changes(&records, folder.path()),
        current: case.current(&records),
    };
    let mut instances = scene.instances();
    scene.disturb(&mut instances, seed);
    let wanted = scene.await_changes(&mut instances);
    let found = events_of_topic(&broker, CHANGES);
    for (customer, events) in &scene.changes {
        assert_eq!(found.get(customer), Some(events), "customer {customer}, seed {seed}");
    }
    assert_eq!(found.len(), scene.changes.len());
    scene.await_current(&instances);
    for instance in &mut instances {
        assert!(!instance.log().contains("the published stands"), "{}", instance.log());
        let (code, took) = instance.terminate();
        assert_eq!(code, Some(0), "{}", instance.log());
        assert!(took < Duration::from_secs(20), "leaving took {took:?}");
    }
    scene.check_current();
    let kills: usize = instances.iter().map(|instance| instance.kills).sum();
    assert_eq!(kills as u64, case.kills);
    println!(
        "proved: {} with {kills} kills: {wanted} changes, none lost, none twice; {} customers read \
         back as published",
        case.file,
        scene.current.len()
    );
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
