//! What `/metrics` says: each instance of the partitions that it owns and of no others, however
//! often they move, so that the sum over instances is right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use cardlens_engine::{Deployment, LogSink, LogSource, Metrics, Topic, Worker};
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, Turned, records};
use prometheus::{Registry, TextEncoder};

/// Series as they are rendered.
type Series = BTreeMap<String, f64>;

struct Instance {
    registry: Registry,
    metrics: Metrics,
    worker: Option<Worker<LogSource, LogSink>>,
}

impl Instance {
    fn new() -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        Self { registry, metrics, worker: None }
    }

    fn start(&mut self, sim: &Sim, store: &Path, clock: &Turned) {
        let mut setup = sim.setup(store);
        setup.clock = Box::new(clock.clone());
        setup.metrics = self.metrics.clone();
        let (source, sink) = sim.log.join();
        self.worker = Some(Worker::new(source, sink, setup));
    }

    fn rendered(&self) -> Series {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        lines.map(pair).collect()
    }
}

/// Where all customers stand, by what the world was told.
fn truth(sim: &Sim) -> Series {
    let mut counts = Series::new();
    for current in sim.log.read(Topic::Current) {
        let (_, held) = cardlens_wire::parse_current(&current.value.unwrap()).unwrap();
        let places = [("value", held.value_tier), ("lifecycle", held.lifecycle)];
        let places = places.into_iter().filter_map(|(axis, place)| Some((axis, place?.0)));
        let needs = held.needs.iter().map(|need| ("need", need.need.clone()));
        for (axis, segment) in places.chain(needs) {
            let series =
                format!("cardlens_segment_customers{{axis=\"{axis}\",segment=\"{segment}\"}}");
            *counts.entry(series).or_default() += 1.0;
        }
    }
    counts
}

/// The partitions of which something is told.
fn partitions(series: &Series) -> BTreeSet<u32> {
    let number = |series: &String| {
        let rest = series.split("partition=\"").nth(1)?;
        rest.split('"').next()?.parse().ok()
    };
    series.keys().filter_map(number).collect()
}

fn of(series: &Series, prefix: &str) -> Series {
    let of = series.iter().filter(|(name, _)| name.starts_with(prefix));
    of.map(|(name, value)| (name.clone(), *value)).collect()
}

/// Compares what instances tell with what is so.
#[track_caller]
fn check(sim: &Sim, instances: &[&Instance], split: &[&[u32]]) {
    let told: Vec<Series> = instances.iter().map(|instance| instance.rendered()).collect();
    let mut sum = Series::new();
    for (series, owned) in told.iter().zip(split) {
        assert_eq!(partitions(series), owned.iter().copied().collect());
        for metric in ["lag_records", "lag_seconds", "position", "watermark_timestamp_seconds"] {
            let of = of(series, &format!("cardlens_partition_{metric}{{"));
            assert_eq!(of.len(), owned.len(), "{metric}");
        }
        let assigned = of(series, "cardlens_assigned_partitions");
        let owns = owned.iter().fold(0.0, |count, _| count + 1.0);
        assert!(assigned.values().all(|value| *value == owns), "{assigned:?}");
        let state = of(series, "cardlens_state_bytes");
        assert_eq!(state.into_values().sum::<f64>() > 0.0, !owned.is_empty());
        for (name, value) in series {
            *sum.entry(name.clone()).or_default() += value;
        }
    }
    let customers = of(&sum, "cardlens_segment_customers");
    let standing: Series =
        customers.into_iter().filter(|(_, customers)| *customers != 0.0).collect();
    assert_eq!(standing, truth(sim));
}

#[test]
fn an_instance_tells_of_what_it_owns() {
    let sim = Sim::new(Deployment::new(default_rules()), 3, &records(7, 60, 6_000));
    sim.log.set_run_max(40);
    let (store, clock) = (tempfile::tempdir().unwrap(), Turned::default());
    let (mut one, mut two) = (Instance::new(), Instance::new());
    one.start(&sim, store.path(), &clock);
    two.start(&sim, store.path(), &clock);
    let splits: [[&[u32]; 2]; 6] = [
        [&[0, 1, 2], &[]],
        [&[0, 2], &[1]],
        [&[], &[0, 1, 2]],
        [&[0, 1, 2], &[]],
        [&[1], &[0, 2]],
        [&[0, 1], &[2]],
    ];
    for split in splits {
        sim.log.assign(&split);
        for _ in 0..30 {
            for instance in [&mut one, &mut two] {
                let worker = instance.worker.as_mut().unwrap();
                worker.step().unwrap();
                worker.settle().unwrap();
            }
            clock.turn(1);
        }
        check(&sim, &[&one, &two], &split);
    }
    assert!(sim.log.lag() < 3_000, "something was done in between: {}", sim.log.lag());

    // One is gone, the other takes over, and a new one comes in the process of the first.
    let mut leaving = two.worker.take().unwrap();
    leaving.run(&AtomicBool::new(true)).unwrap();
    drop(leaving);
    check_nothing(&two.rendered());
    let settle = |instances: &mut [&mut Instance], split: &[&[u32]]| {
        sim.log.assign(split);
        for _ in 0..200 {
            for instance in instances.iter_mut() {
                let worker = instance.worker.as_mut().unwrap();
                worker.step().unwrap();
                worker.settle().unwrap();
            }
            clock.turn(1);
        }
    };
    settle(&mut [&mut one], &[&[0, 1, 2], &[]]);
    check(&sim, &[&one, &two], &[&[0, 1, 2], &[]]);
    two.start(&sim, store.path(), &clock);
    settle(&mut [&mut one, &mut two], &[&[0], &[], &[1, 2]]);
    check(&sim, &[&one, &two], &[&[0], &[1, 2]]);
    assert_eq!(sim.log.lag(), 0);
}

#[track_caller]
fn check_nothing(series: &Series) {
    assert_eq!(partitions(series), BTreeSet::new());
    for gauge in ["segment_customers", "state_bytes", "state_customers", "assigned_partitions"] {
        let of = of(series, &format!("cardlens_{gauge}"));
        assert!(!of.is_empty() && of.values().all(|value| *value == 0.0), "{gauge}: {of:?}");
    }
}
