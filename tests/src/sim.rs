//! The engine on the in-process log, crashed and moved about as a seed says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cardlens::generator::Generator;
use cardlens_engine::files::partition_of;
use cardlens_engine::history::History;
use cardlens_engine::{
    Clock, Deployment, Error, Fault, Log, LogSink, LogSource, Message, Metrics, Names, Pace,
    Retention, Shared, SnapshotStore, SystemClock, Topic, Worker, WorkerSetup,
};
use cardlens_model::{Day, PartitionId, Position};

/// A small generator of chance.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

/// A clock that the test turns.
#[derive(Clone, Default)]
pub struct Turned(Arc<AtomicU64>);

impl Turned {
    pub fn turn(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Turned {
    fn now_ms(&self) -> i64 {
        1_780_000_000_000
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Records of made-up customers with these, late ones, duplicates, reversals and refunds among them.
#[must_use]
pub fn records(seed: u64, customers: u32, count: usize) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let made = Generator::new(seed, customers, Day(20_000)).take(count);
    made.map(|record| (text(record.key), text(record.json))).collect()
}

/// What a consumer compares, per customer and in order: key, value, and the headers that stand for
/// identity.
pub type Told = BTreeMap<Vec<u8>, Vec<(Vec<u8>, Vec<(String, Vec<u8>)>)>>;

/// The identity of events, per customer.
#[must_use]
pub fn told(outputs: &[Message]) -> Told {
    let mut told = Told::new();
    let identity = ["ce_id", "ce_type", "ce_subject", "ce_time", "ce_sequence"];
    for output in outputs {
        let headers = output.headers.iter().filter(|(name, _)| identity.contains(&name.as_str()));
        let event = (output.value.clone().unwrap(), headers.cloned().collect());
        told.entry(output.key.clone().unwrap()).or_default().push(event);
    }
    told
}

/// What came of a disturbed run.
pub struct Disturbed {
    /// What the world was told.
    pub told: Told,
    /// Members that died.
    pub deaths: usize,
    /// Snapshots at its end that continue others.
    pub journals: usize,
}

/// All snapshots of a store.
fn files(store: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files: Vec<_> = entries(store).iter().flat_map(|folder| entries(folder)).collect();
    files.sort();
    files
}

fn is_journal(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "journal")
}

/// Flips a byte of some snapshot, or cuts it off.
fn damage(store: &Path, dice: &mut Dice) {
    let files = files(store);
    if files.is_empty() {
        return;
    }
    let file = &files[usize::try_from(dice.below(files.len() as u64)).unwrap()];
    let mut bytes = std::fs::read(file).unwrap();
    if bytes.is_empty() {
        return; // cut off altogether before
    }
    let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
    if dice.below(2) == 0 {
        bytes[at] ^= 0x40;
    } else {
        bytes.truncate(at);
    }
    std::fs::write(file, bytes).unwrap();
}

/// A deployment over a log that already holds its input.
pub struct Sim {
    pub deployment: Deployment,
    pub shared: Arc<Shared>,
    pub log: Log,
    /// What of the past workers keep.
    pub history: Option<Arc<History>>,
}

impl Sim {
    /// Deals canonical JSON records, given with their customers, to partitions.
    #[must_use]
    pub fn new(deployment: Deployment, partitions: u32, records: &[(String, String)]) -> Self {
        let shared = deployment.shared().unwrap();
        let log = Log::new(partitions, Retention::ALL);
        for (customer, record) in records {
            let partition = PartitionId(partition_of(customer.as_bytes(), partitions));
            log.append(partition, customer.as_bytes(), record.as_bytes(), 0);
        }
        log.close();
        Self { deployment, shared, log, history: None }
    }

    /// A worker that commits after every run of records and keeps snapshots in a folder.
    #[must_use]
    pub fn worker(&self, store: &Path) -> Worker<LogSource, LogSink> {
        let (source, sink) = self.log.join();
        Worker::new(source, sink, self.setup(store))
    }

    /// What such a worker is made of.
    #[must_use]
    pub fn setup(&self, store: &Path) -> WorkerSetup {
        let registry = prometheus::Registry::new();
        let (deployment, shared) = (self.deployment.clone(), Arc::clone(&self.shared));
        WorkerSetup {
            clock: Box::new(SystemClock::new()),
            shared: Arc::clone(&self.shared),
            pace: Pace {
                commit_interval: Duration::ZERO,
                transaction_records_max: 1,
                snapshot_interval: Some(Duration::ZERO),
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: "sim".into(), input: "cards".into() },
            store: Some(SnapshotStore::local(store, 3).unwrap()),
            history: self.history.clone(),
            metrics: Metrics::register(&registry).unwrap(),
            decoding: Box::new(move || deployment.decoding(&shared, cardlens_engine::Format::Json)),
            observer: None,
            health: Box::new(|_| {}),
            desk: None,
        }
    }

    /// What the world was told when nothing went wrong.
    #[must_use]
    pub fn undisturbed(
        deployment: &Deployment,
        partitions: u32,
        records: &[(String, String)],
    ) -> Told {
        let sim = Self::new(deployment.clone(), partitions, records);
        let folder = tempfile::tempdir().unwrap();
        let mut worker = sim.worker(folder.path());
        let all: Vec<u32> = (0..partitions).collect();
        sim.log.assign(&[&all]);
        while worker.step().unwrap() {}
        worker.settle().unwrap();
        told(&sim.log.read(Topic::Changes))
    }

    /// Runs to the end with a fault at every commit or so: refused, answered into the void, the
    /// owner dead before or after; each death is followed by a new member, by damage to a snapshot
    /// now and then, and partitions are split anew over two of them.
    #[must_use]
    pub fn disturbed(&self, seed: u64, deaths_of_100: u64) -> Disturbed {
        let folder = tempfile::tempdir().unwrap();
        let partitions = self.log.partitions();
        let mut dice = Dice(seed | 1);
        self.log.set_run_max(1 + usize::try_from(dice.below(40)).unwrap());
        let mut faults = Dice(seed.rotate_left(17) | 1);
        self.log.set_faults(move || match faults.below(100) {
            n if n < deaths_of_100 / 2 => Fault::DieBefore,
            n if n < deaths_of_100 => Fault::DieAfter,
            n if n < deaths_of_100 + 5 => Fault::Refuse,
            n if n < deaths_of_100 + 10 => Fault::LoseAnswer,
            _ => Fault::None,
        });
        let mut members: Vec<Option<Worker<LogSource, LogSink>>> = Vec::new();
        let mut deaths = 0;
        let mut idle = 0;
        while idle < 4 {
            let alive: Vec<usize> = (0..members.len()).filter(|m| members[*m].is_some()).collect();
            if alive.len() < 2 {
                members.push(Some(self.worker(folder.path())));
                self.split(&members, partitions, &mut dice);
                continue;
            }
            let before = self.log.lag();
            for member in alive {
                let stepped = members[member].as_mut().unwrap().step();
                match stepped {
                    Ok(_) => {}
                    Err(Error::Fenced { .. }) => {
                        members[member] = None;
                        deaths += 1;
                        if dice.below(3) == 0 {
                            damage(folder.path(), &mut dice);
                        }
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            let quiet = self.log.lag() == 0 && before == 0;
            idle = if quiet { idle + 1 } else { 0 };
            if dice.below(60) == 0 && members.iter().any(Option::is_some) {
                self.split(&members, partitions, &mut dice);
            }
        }
        let journals = files(folder.path()).iter().filter(|file| is_journal(file)).count();
        Disturbed { told: told(&self.log.read(Topic::Changes)), deaths, journals }
    }

    fn split<T>(&self, members: &[Option<T>], partitions: u32, dice: &mut Dice) {
        let mut split: Vec<Vec<u32>> = vec![Vec::new(); members.len()];
        let alive: Vec<usize> = (0..members.len()).filter(|m| members[*m].is_some()).collect();
        for partition in 0..partitions {
            let pick = usize::try_from(dice.below(alive.len() as u64)).unwrap();
            split[alive[pick]].push(partition);
        }
        let split: Vec<&[u32]> = split.iter().map(Vec::as_slice).collect();
        self.log.assign(&split);
    }

    /// The published map read back equals the state that every customer's last event tells.
    pub fn check_published(&self) {
        let mut last = BTreeMap::new();
        for change in self.log.read(Topic::Changes) {
            let event: serde_json::Value = serde_json::from_slice(&change.value.unwrap()).unwrap();
            last.insert(change.key.unwrap(), event);
        }
        for current in self.log.read(Topic::Current) {
            let (_, held) = cardlens_wire::parse_current(&current.value.unwrap()).unwrap();
            let event = &last[&current.key.unwrap()];
            assert_eq!(event["sequence"], held.sequence);
            let needs: Vec<_> = held.needs.iter().map(|need| need.need.clone()).collect();
            assert_eq!(event["now"]["needs"], serde_json::json!(needs));
            let tier = held.value_tier.map(|(tier, _)| tier);
            assert_eq!(event["now"]["value_tier"], serde_json::json!(tier));
        }
    }

    /// The oldest position that the log still has to hold for a restart from snapshots.
    pub fn truncate(&self, partition: u32, position: i64) {
        self.log.truncate_before(PartitionId(partition), Position(position));
    }
}
