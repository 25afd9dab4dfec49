//! What a worker says of itself: joined, stalled, full, and over it again; on a clock that the test
//! turns.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardlens::generator::Generator;
use cardlens_engine::{
    Bounds, Clock, Committed, Deployment, EachPublished, Error, Fault, Health, LogSink, LogSource,
    News, Polled, Source, Topic, Worker,
};
use cardlens_model::{Day, PartitionId, Position, Record};
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::Sim;

const HERE: PartitionId = PartitionId(0);

#[derive(Clone, Default)]
struct Turned(Arc<AtomicU64>);

impl Turned {
    fn turn(&self, seconds: u64) {
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

/// The log, with positions beyond its records that hold none, as markers of transactions do; and
/// with records that are there and do not come.
struct Odd {
    log: LogSource,
    beyond: Arc<AtomicI64>,
    withholds: Arc<AtomicI64>,
}

impl Source for Odd {
    fn poll(&mut self, wait: Duration) -> Result<Polled<'_>, Error> {
        if self.withholds.load(Ordering::Relaxed) > 0 {
            return Ok(Polled::Idle);
        }
        self.log.poll(wait)
    }

    fn committed(&mut self, partition: PartitionId) -> Result<Option<Committed>, Error> {
        self.log.committed(partition)
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<Bounds, Error> {
        let Bounds { low, high } = self.log.bounds(partition)?;
        Ok(Bounds { low, high: Position(high.0 + self.beyond.load(Ordering::Relaxed)) })
    }

    fn replay(
        &mut self,
        partition: PartitionId,
        from: Position,
        to: Position,
        each: &mut dyn FnMut(&[Record<'_>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let high = self.log.bounds(partition)?.high;
        self.log.replay(partition, from, to.min(high), each)
    }

    fn published(
        &mut self,
        partition: PartitionId,
        each: &mut EachPublished<'_>,
    ) -> Result<(), Error> {
        self.log.published(partition, each)
    }

    fn decisions(
        &mut self,
        partition: PartitionId,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        self.log.decisions(partition, each)
    }

    fn resume(&mut self, partition: PartitionId, at: Position) -> Result<(), Error> {
        self.log.resume(partition, at)
    }

    fn stop(&mut self, partition: PartitionId) -> Result<(), Error> {
        self.log.stop(partition)
    }

    fn released(&mut self, partitions: &[PartitionId]) {
        self.log.released(partitions);
    }

    fn close(&mut self) {
        self.log.close();
    }
}

struct Bench {
    sim: Sim,
    clock: Turned,
    news: Arc<Mutex<Vec<News>>>,
    beyond: Arc<AtomicI64>,
    withholds: Arc<AtomicI64>,
    worker: Worker<Odd, LogSink>,
}

impl Bench {
    fn new(store: &Path, memory_limit: Option<u64>) -> Self {
        let records: Vec<_> = Generator::new(3, 50, Day(20_000))
            .take(2_000)
            .map(|record| {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                (text(record.key), text(record.json))
            })
            .collect();
        let sim = Sim::new(Deployment::new(default_rules()), 1, &records);
        let (clock, news) = (Turned::default(), Arc::<Mutex<Vec<News>>>::default());
        let (beyond, withholds) = (Arc::<AtomicI64>::default(), Arc::<AtomicI64>::default());
        let (log, sink) = sim.log.join();
        let source = Odd { log, beyond: Arc::clone(&beyond), withholds: Arc::clone(&withholds) };
        let mut setup = sim.setup(store);
        setup.clock = Box::new(clock.clone());
        setup.pace.memory_limit = memory_limit;
        setup.pace.commit_interval = Duration::from_millis(500);
        setup.pace.transaction_records_max = 100_000;
        let heard = Arc::clone(&news);
        setup.health = Box::new(move |news| heard.lock().unwrap().push(news));
        let worker = Worker::new(source, sink, setup);
        Self { sim, clock, news, beyond, withholds, worker }
    }

    /// Steps with that many seconds between; returns what was said.
    fn steps(&mut self, count: usize, seconds: u64) -> Vec<News> {
        for _ in 0..count {
            self.worker.step().unwrap();
            self.clock.turn(seconds);
        }
        std::mem::take(&mut *self.news.lock().unwrap())
    }

    fn start(&mut self) {
        self.sim.log.set_run_max(100);
        self.sim.log.assign(&[&[0]]);
        let said = self.steps(3, 0);
        let stands = |health| News::Partition(HERE, Some(health));
        assert_eq!(said, [News::Joined, stands(Health::Restoring), stands(Health::Running)]);
    }
}

fn running() -> News {
    News::Partition(HERE, Some(Health::Running))
}

#[track_caller]
fn assert_stalled(said: &[News], why: &str) {
    match said {
        [News::Partition(HERE, Some(Health::Stalled(text)))] if text.contains(why) => {}
        said => panic!("{why}: {said:?}"),
    }
}

#[test]
fn joined_with_nothing_to_do() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    assert_eq!(bench.steps(3, 10), []);
    bench.sim.log.assign(&[&[]]);
    assert_eq!(bench.steps(20, 10), [News::Joined]);
}

#[test]
fn stalled_by_commits_that_fail() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    bench.sim.log.set_faults(|| Fault::Refuse);
    assert_eq!(bench.steps(5, 10), []);
    assert_stalled(&bench.steps(10, 10), "has not been committed for");
    bench.sim.log.set_faults(|| Fault::None);
    assert_eq!(bench.steps(3, 10), [running()]);
    assert_eq!(bench.steps(60, 10), []);
    assert_eq!(bench.sim.log.lag(), 0);
}

#[test]
fn stalled_by_records_that_do_not_come() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    bench.withholds.store(1, Ordering::Relaxed);
    assert_stalled(&bench.steps(20, 10), "nothing was taken at position");
    bench.withholds.store(0, Ordering::Relaxed);
    assert_eq!(bench.steps(3, 10), [running()]);
}

#[test]
fn positions_without_a_record_are_nothing_to_take() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    bench.steps(30, 1);
    assert_eq!(bench.sim.log.lag(), 0);
    bench.beyond.store(1, Ordering::Relaxed);
    assert_eq!(bench.steps(60, 10), []);
}

#[test]
fn too_much_state_stops_the_intake_until_partitions_leave() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), Some(1));
    bench.sim.log.set_run_max(100);
    bench.sim.log.assign(&[&[0]]);
    let said = bench.steps(30, 10);
    let Some(News::Full(Some(why))) = said.last() else { panic!("{said:?}") };
    assert!(why.contains("state.memory_limit") && why.contains("add an instance"), "{why}");
    let lag = bench.sim.log.lag();
    assert!(lag > 0);
    assert_eq!(bench.steps(30, 10), [], "which is no stall");
    assert_eq!(bench.sim.log.lag(), lag);
    bench.sim.log.assign(&[&[]]);
    let said = bench.steps(2, 10);
    assert_eq!(said, [News::Partition(HERE, None), News::Full(None), News::Joined]);
}

#[test]
fn a_partition_that_stops_takes_along_what_is_not_committed() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    // Records are taken and nothing is committed while the clock stands.
    bench.steps(5, 0);
    bench.sim.log.truncate_before(HERE, Position(1_900));
    let said = bench.steps(2, 0);
    assert!(matches!(said[..], [News::Partition(HERE, Some(Health::Stopped(_)))]), "{said:?}");
    bench.steps(5, 10);
    for topic in Topic::ALL {
        let outputs = bench.sim.log.read(topic);
        assert!(outputs.is_empty(), "{topic:?}: {} of records that come again", outputs.len());
    }
}
