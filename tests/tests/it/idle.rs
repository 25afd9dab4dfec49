//! A partition without traffic follows the others, of its instance or of another: its days close,
//! each close is a recorded decision, and after any crash the decisions lead to the same output.

use std::path::Path;
use std::time::Duration;

use cardlens::generator::Generator;
use cardlens_engine::files::partition_of;
use cardlens_engine::{Deployment, Error, Fault, LogSink, LogSource, Topic, Worker};
use cardlens_model::{DAY_MS, Day, PartitionId};
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, Told, Turned, told};
use cardlens_wire::{Decision, DecisionKind};

const FIRST: Day = Day(20_000);
/// Seconds without input after which a partition follows.
const IDLE: u64 = 40;
const SILENT: PartitionId = PartitionId(1);

/// A record, and to which partition it goes.
type Line = (PartitionId, Vec<u8>, Vec<u8>);

/// The input in three phases: both partitions; the active one alone; what the silent one did not say
/// before, and both.
fn phases() -> [Vec<Line>; 3] {
    let mut phases = [Vec::new(), Vec::new(), Vec::new()];
    let mut withheld = Vec::new();
    let until = |days: i32| i64::from(FIRST.plus(days).0) * DAY_MS;
    for record in Generator::new(11, 70, FIRST) {
        let partition = PartitionId(partition_of(&record.key, 2));
        let line = (partition, record.key, record.json);
        match record.time_ms {
            time if time < until(20) => phases[0].push(line),
            time if time < until(32) && partition == SILENT => withheld.push(line),
            time if time < until(32) => phases[1].push(line),
            time if time < until(40) => phases[2].push(line),
            _ => break,
        }
    }
    phases[2].splice(0..0, withheld);
    phases
}

struct Bench {
    sim: Sim,
    clock: Turned,
    members: usize,
    deaths: usize,
}

impl Bench {
    fn new() -> Self {
        let sim = Sim::new(Deployment::new(default_rules()), 2, &[]);
        sim.log.set_run_max(50);
        Self { sim, clock: Turned::default(), members: 0, deaths: 0 }
    }

    /// The log's next member, and its only one.
    fn member(&mut self, store: Option<&Path>) -> Worker<LogSource, LogSink> {
        let worker = self.join(store);
        let mut split: Vec<&[u32]> = vec![&[]; self.members - 1];
        split.push(&[0, 1]);
        self.sim.log.assign(&split);
        worker
    }

    fn join(&mut self, store: Option<&Path>) -> Worker<LogSource, LogSink> {
        let nowhere = tempfile::tempdir().unwrap();
        let mut setup = self.sim.setup(store.unwrap_or(nowhere.path()));
        if store.is_none() {
            setup.store = None;
        }
        setup.clock = Box::new(self.clock.clone());
        setup.pace.idle_after = Some(Duration::from_secs(IDLE));
        // Seldom enough for decisions to lie behind the last one.
        setup.pace.snapshot_interval = Some(Duration::from_secs(2 * IDLE));
        let (source, sink) = self.sim.log.join();
        self.members += 1;
        Worker::new(source, sink, setup)
    }

    fn append(&self, lines: &[Line]) {
        lines
            .iter()
            .for_each(|(partition, key, json)| self.sim.log.append(*partition, key, json, 0));
    }

    fn decisions(&self) -> Vec<Decision> {
        let messages = self.sim.log.read(Topic::Decisions);
        let parsed = messages.iter().map(|message| message.value.as_deref().unwrap());
        parsed.map(|value| cardlens_wire::parse_decision(value).unwrap()).collect()
    }

    /// Works until there is nothing to do; who dies is replaced.
    fn work(&mut self, worker: &mut Worker<LogSource, LogSink>, store: Option<&Path>) {
        let (mut quiet, mut decisions) = (0, self.decisions().len());
        while quiet < 4 {
            match worker.step() {
                Ok(_) => {}
                Err(Error::Fenced { .. }) => {
                    self.deaths += 1;
                    *worker = self.member(store);
                }
                Err(error) => panic!("{error}"),
            }
            let before = std::mem::replace(&mut decisions, self.decisions().len());
            let still = self.sim.log.lag() == 0 && before == decisions;
            quiet = if still { quiet + 1 } else { 0 };
        }
    }

    /// All three phases; a record at a time at the end of the second one, so that there is traffic for
    /// long after the last day of it.
    fn run(&mut self, phases: &[Vec<Line>; 3], store: Option<&Path>) -> (Told, Vec<Decision>) {
        let mut worker = self.member(store);
        self.append(&phases[0]);
        self.work(&mut worker, store);
        self.clock.turn(IDLE);
        let (bulk, tail) = phases[1].split_at(phases[1].len() - 18);
        let chunks = bulk.chunks(60).chain(tail.chunks(1));
        for chunk in chunks {
            self.append(chunk);
            self.work(&mut worker, store);
            self.clock.turn(IDLE / 2);
        }
        let decisions = self.decisions();
        self.append(&phases[2]);
        self.work(&mut worker, store);
        assert_eq!(self.decisions(), decisions, "who has traffic follows nobody");
        self.sim.check_published();
        (told(&self.sim.log.read(Topic::Changes)), decisions)
    }
}

/// How often a cause is told of a partition's customers.
fn caused(told: &Told, partition: PartitionId, cause: &str) -> usize {
    let of = told.iter().filter(|(key, _)| partition_of(key, 2) == partition.0);
    let events = of.flat_map(|(_, events)| events);
    let caused = |value: &[u8]| {
        let event: serde_json::Value = serde_json::from_slice(value).unwrap();
        event["cause"] == cause
    };
    events.filter(|(value, _)| caused(value)).count()
}

#[test]
fn closed_days_are_closed_again_after_any_crash() {
    let phases = phases();
    let mut bench = Bench::new();
    let (expected, decisions) = bench.run(&phases, None);
    let at = i64::try_from(phases[0].iter().filter(|line| line.0 == SILENT).count()).unwrap();
    let mut days = Vec::new();
    for decision in &decisions {
        let DecisionKind::DayClosed { day } = decision.what else { panic!("{decision:?}") };
        assert_eq!((decision.partition, decision.position.0), (SILENT, at));
        days.push(day);
    }
    let through: Vec<_> = (0..12).map(|days| FIRST.plus(19 + days)).collect();
    assert_eq!(days, through, "every day that the active partition has closed");
    let told = |cause| caused(&expected, SILENT, cause);
    let (closed, late) = (told("time_passed"), told("late_transaction"));
    assert!(closed > 5 && late > 0, "{closed} by days, {late} by late records");

    let mut crashes = 0;
    for crash in 1.. {
        let folder = tempfile::tempdir().unwrap();
        // With snapshots the decisions behind them are replayed, without any all of them.
        let store = (crash % 4 < 2).then_some(folder.path());
        let mut bench = Bench::new();
        let mut commits = 0;
        bench.sim.log.set_faults(move || {
            commits += 1;
            match commits {
                commit if commit != crash => Fault::None,
                _ if crash % 2 == 0 => Fault::DieBefore,
                _ => Fault::DieAfter,
            }
        });
        let (told, decided) = bench.run(&phases, store);
        assert_eq!(decided, decisions, "crash at commit {crash}");
        for (customer, events) in &expected {
            let customer_id = String::from_utf8_lossy(customer);
            assert_eq!(told.get(customer), Some(events), "crash at commit {crash}, {customer_id}");
        }
        if bench.deaths == 0 {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 40, "only {crashes}");
    println!("proved: a crash at each of {crashes} commits, the same decisions and output");
}

#[test]
fn the_active_partition_may_be_of_another_instance() {
    let phases = phases();
    let mut bench = Bench::new();
    bench.append(&phases[0]);
    let (mut one, mut two) = (bench.join(None), bench.join(None));
    bench.sim.log.assign(&[&[0], &[1]]);
    let mut steps = |bench: &Bench, chunk: &[Line]| {
        bench.append(chunk);
        for _ in 0..20 {
            one.step().unwrap();
            two.step().unwrap();
        }
        bench.clock.turn(IDLE / 4);
    };
    (0..30).for_each(|_| steps(&bench, &[]));
    assert_eq!(bench.decisions(), [], "nobody has traffic");
    for chunk in phases[1].chunks(20) {
        steps(&bench, chunk);
    }
    (0..6).for_each(|_| steps(&bench, &[]));
    let decisions = bench.decisions();
    assert!(decisions.iter().all(|decision| decision.partition == SILENT), "{decisions:?}");
    let last = decisions.last().map(|decision| decision.what.clone());
    assert_eq!(last, Some(DecisionKind::DayClosed { day: FIRST.plus(30) }));
    assert_eq!(decisions.len(), 12, "each day once");

    // Without traffic anywhere nobody is followed, however much time passes.
    (0..30).for_each(|_| steps(&bench, &[]));
    assert_eq!(bench.decisions(), decisions);
    assert!(!bench.sim.log.read(Topic::Changes).is_empty() && bench.sim.log.lag() == 0);
}
