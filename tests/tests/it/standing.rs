//! What a worker says of itself: joined, stalled, full, and over it again; on a clock that the test
//! turns.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardlens_engine::{
    Bounds, Committed, Deployment, EachPublished, Error, Fault, Health, LogSink, LogSource,
    Metrics, News, Polled, Source, Topic, Worker,
};
use cardlens_model::{Headers, PartitionId, Position, Record};
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, Turned, records};

const HERE: PartitionId = PartitionId(0);

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The headers of every record.
struct Traced;

impl Headers for Traced {
    fn to_vec(&self) -> Vec<(String, Vec<u8>)> {
        vec![("traceparent".to_owned(), TRACE.as_bytes().to_vec())]
    }
}

/// The log, with headers; with positions beyond its records that hold none, as markers of
/// transactions do, or that hold what is not decided; and with records that are there and do not
/// come.
struct Odd {
    log: LogSource,
    markers: Arc<AtomicI64>,
    undecided: Arc<AtomicI64>,
    withholds: Arc<AtomicI64>,
}

impl Source for Odd {
    fn partitions(&mut self) -> Option<u32> {
        self.log.partitions()
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled<'_>, Error> {
        if self.withholds.load(Ordering::Relaxed) > 0 {
            return Ok(Polled::Idle);
        }
        Ok(match self.log.poll(wait)? {
            Polled::Records { partition, records, next } => {
                let traced = records.into_iter().map(|it| Record { headers: &Traced, ..it });
                Polled::Records { partition, records: traced.collect(), next }
            }
            polled => polled,
        })
    }

    fn committed(&mut self, partition: PartitionId) -> Result<Option<Committed>, Error> {
        self.log.committed(partition)
    }

    fn bounds(&mut self, partition: PartitionId) -> Result<Bounds, Error> {
        let Bounds { low, high, .. } = self.log.bounds(partition)?;
        let stable = Position(high.0 + self.markers.load(Ordering::Relaxed));
        let high = Position(stable.0 + self.undecided.load(Ordering::Relaxed));
        Ok(Bounds { low, high, stable })
    }

    fn reached(&mut self, partition: PartitionId) -> Option<Position> {
        let markers = self.markers.load(Ordering::Relaxed);
        let high = self.log.bounds(partition).ok()?.high;
        (markers > 0).then_some(Position(high.0 + markers))
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
    markers: Arc<AtomicI64>,
    undecided: Arc<AtomicI64>,
    withholds: Arc<AtomicI64>,
    metrics: Metrics,
    worker: Worker<Odd, LogSink>,
}

impl Bench {
    fn new(store: &Path, memory_limit: Option<u64>) -> Self {
        let sim = Sim::new(Deployment::new(default_rules()), 1, &records(3, 50, 2_000));
        let (clock, news) = (Turned::default(), Arc::<Mutex<Vec<News>>>::default());
        let [markers, undecided, withholds]: [Arc<AtomicI64>; 3] = Default::default();
        let (log, sink) = sim.log.join();
        let source = Odd {
            log,
            markers: Arc::clone(&markers),
            undecided: Arc::clone(&undecided),
            withholds: Arc::clone(&withholds),
        };
        let mut setup = sim.setup(store);
        let metrics = setup.metrics.clone();
        setup.clock = Box::new(clock.clone());
        setup.pace.memory_limit = memory_limit;
        setup.pace.commit_interval = Duration::from_millis(500);
        setup.pace.transaction_records_max = 100_000;
        let heard = Arc::clone(&news);
        setup.health = Box::new(move |news| heard.lock().unwrap().push(news));
        let worker = Worker::new(source, sink, setup);
        Self { sim, clock, news, markers, undecided, withholds, metrics, worker }
    }

    /// Steps with that many seconds between; returns what was said.
    fn steps(&mut self, count: usize, seconds: u64) -> Vec<News> {
        for _ in 0..count {
            self.worker.step().unwrap();
            self.clock.turn(seconds);
        }
        std::mem::take(&mut *self.news.lock().unwrap())
    }

    /// Lag in records and seconds, and for how long something has been undecided.
    fn lag(&self) -> (i64, f64, f64) {
        let labels = ["card.transactions", "0"];
        let seconds = &self.metrics.partition_lag_seconds;
        (
            self.metrics.partition_lag_records.with_label_values(&labels).get(),
            seconds.with_label_values(&labels).get(),
            self.metrics.lso_stall_seconds.with_label_values(&labels).get(),
        )
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
    bench.markers.store(1, Ordering::Relaxed);
    assert_eq!(bench.steps(60, 10), []);
    assert_eq!(bench.lag(), (0, 0.0, 0.0));
}

#[test]
fn what_is_not_decided_is_nothing_to_take_and_shows() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    bench.steps(30, 1);
    bench.undecided.store(3, Ordering::Relaxed);
    assert_eq!(bench.steps(13, 10), [], "which is no stall");
    let (records, age, stall) = bench.lag();
    assert!(records == 3 && age > 0.0 && (110.0..=130.0).contains(&stall), "{:?}", bench.lag());
    // One transaction has ended, and another is open.
    bench.markers.store(1, Ordering::Relaxed);
    bench.steps(2, 1);
    assert!(bench.lag().2 < 10.0, "{:?}", bench.lag());
    bench.undecided.store(0, Ordering::Relaxed);
    bench.steps(2, 10);
    assert_eq!(bench.lag(), (0, 0.0, 0.0));
}

#[test]
fn changes_carry_the_trace_of_the_record_that_tipped_them() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    bench.steps(40, 1);
    let (mut traced, mut others) = (0, 0);
    for change in bench.sim.log.read(Topic::Changes) {
        let headers = change.headers.iter().filter(|(name, _)| name.ends_with("traceparent"));
        let found: Vec<_> = headers.map(|(name, value)| (name.as_str(), &value[..])).collect();
        let tipped = change.headers.iter().any(|(name, _)| name == "ce_causationid");
        let trace = TRACE.as_bytes();
        let expected = [("traceparent", trace), ("ce_traceparent", trace)];
        assert_eq!(found, if tipped { &expected[..] } else { &[] });
        (traced, others) = (traced + usize::from(tipped), others + usize::from(!tipped));
    }
    assert!(traced > 50 && others > 10, "{traced} and {others}");
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
fn who_does_not_get_what_is_there_is_not_idle() {
    let store = tempfile::tempdir().unwrap();
    let sim = Sim::new(Deployment::new(default_rules()), 2, &records(3, 50, 4_000));
    sim.log.set_run_max(50);
    let (clock, withholds) = (Turned::default(), Arc::<AtomicI64>::default());
    let setup = || {
        let mut setup = sim.setup(store.path());
        setup.clock = Box::new(clock.clone());
        setup.pace.idle_after = Some(Duration::from_secs(20));
        setup
    };
    let (log, sink) = sim.log.join();
    let mut active = Worker::new(log, sink, setup());
    let (log, sink) = sim.log.join();
    let (markers, undecided) = (Arc::default(), Arc::default());
    let source = Odd { log, markers, undecided, withholds: Arc::clone(&withholds) };
    let mut other = Worker::new(source, sink, setup());
    sim.log.assign(&[&[0], &[1]]);
    for step in 0..30 {
        active.step().unwrap();
        other.step().unwrap();
        withholds.store(i64::from(step >= 5), Ordering::Relaxed);
        clock.turn(10);
    }
    assert!((1_000..3_000).contains(&sim.log.lag()), "{}", sim.log.lag());
    assert!(sim.log.read(Topic::Decisions).is_empty(), "its records would be late");
}

#[test]
fn a_partition_that_stops_takes_along_what_is_not_committed() {
    let store = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(store.path(), None);
    bench.start();
    // Records are taken and nothing is committed while the clock stands.
    bench.steps(5, 0);
    bench.sim.log.truncate_before(HERE, Position(1_900));
    let labels = ["card.transactions", "0"];
    let gap = bench.metrics.input_gap_records.with_label_values(&labels);
    assert_eq!(gap.get(), 0);
    let said = bench.steps(2, 0);
    assert!(matches!(said[..], [News::Partition(HERE, Some(Health::Stopped(_)))]), "{said:?}");
    let gap = bench.metrics.input_gap_records.with_label_values(&labels).get();
    assert!((1_000..1_900).contains(&gap), "{gap}");
    bench.steps(5, 10);
    for topic in Topic::ALL {
        let outputs = bench.sim.log.read(topic);
        assert!(outputs.is_empty(), "{topic:?}: {} of records that come again", outputs.len());
    }
}
