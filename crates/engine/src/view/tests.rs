//! Pins taken while records stream in: each is of one committed position, and equal to what an
//! engine sees that has read exactly so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use cardlens_lens::RuleSet;
use cardlens_model::PartitionId;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::desk::fresh_for;
use super::{Desk, Layout, NULL, Pinned, Refusal};
use crate::files::write_tables;
use crate::partition::Partition;
use crate::{
    Clock, Deployment, Log, LogSink, LogSource, Metrics, Names, Pace, Retention, Shared,
    SystemClock, Worker, WorkerSetup,
};

const WINDOWS: [u16; 4] = [7, 30, 90, 365];

/// A clock that the test moves.
#[derive(Debug, Clone, Default)]
struct HandClock(Arc<AtomicU64>);

impl HandClock {
    fn forward(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A small generator of chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

/// Records of customers and their JSON, over some months, refunds and late ones among them.
fn records(seed: u64, customers: u64, count: u64) -> Vec<(String, String)> {
    const MCCS: [&str; 8] = ["5411", "5812", "5541", "3001", "4111", "5732", "5912", "7011"];
    let mut dice = Dice(seed * 7_919 + 1);
    let start = 20_000 * 86_400_u64;
    let made = (0..count).map(|n| {
        let customer = format!("C{:05}", dice.below(customers));
        let back = if dice.below(20) == 0 { dice.below(5 * 86_400) } else { dice.below(3_600) };
        let time = start + 6 * 86_400 + n * 120 * 86_400 / count - back;
        let (day, second) = (i32::try_from(time / 86_400).unwrap(), time % 86_400);
        let (year, month, day) = cardlens_model::Day(day).civil();
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let kind = if dice.below(15) == 0 { "refund" } else { "purchase" };
        let mcc = MCCS[usize::try_from(dice.below(8)).unwrap()];
        let country = if dice.below(6) == 0 { "FR" } else { "US" };
        let channel = if dice.below(3) == 0 { "online" } else { "in_person" };
        let amount = 100 + dice.below(20_000);
        let json = format!(
            "{{\"id\":\"t{n}\",\"customer\":\"{customer}\",\
             \"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\",\
             \"kind\":\"{kind}\",\"amount_minor\":{amount},\"currency\":\"USD\",\
             \"mcc\":\"{mcc}\",\"country\":\"{country}\",\"channel\":\"{channel}\"}}"
        );
        (customer, json)
    });
    made.collect()
}

/// The built-in rules over one partition of a log.
struct Stage {
    deployment: Deployment,
    shared: Arc<Shared>,
    log: Log,
}

impl Stage {
    fn new() -> Self {
        let deployment = Deployment::new(RuleSet::parse(&RuleSet::default_files()).unwrap());
        let shared = deployment.shared().unwrap();
        Self { deployment, shared, log: Log::new(1, Retention::ALL) }
    }

    fn append(&self, (customer, json): &(String, String)) {
        self.log.append(PartitionId(0), customer.as_bytes(), json.as_bytes(), 0);
    }

    fn desk(&self, clock: &HandClock) -> Desk {
        let layout = Layout::new(&self.shared, &WINDOWS).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Desk::new(layout, 10_000, Box::new(clock.clone()), metrics)
    }

    /// A worker that commits after every step.
    fn worker(&self, desk: &Desk) -> Worker<LogSource, LogSink> {
        self.worker_by(Box::new(SystemClock::new()), desk)
    }

    fn worker_by(
        &self,
        clock: Box<dyn Clock + Send + Sync>,
        desk: &Desk,
    ) -> Worker<LogSource, LogSink> {
        let (source, sink) = self.log.join();
        let (deployment, shared) = (self.deployment.clone(), Arc::clone(&self.shared));
        self.log.assign(&[&[0]]);
        let setup = WorkerSetup {
            clock,
            shared: Arc::clone(&self.shared),
            pace: Pace {
                commit_interval: Duration::ZERO,
                transaction_records_max: 1,
                snapshot_interval: None,
                idle_after: None,
                memory_limit: None,
            },
            names: Names { service: "view".into(), input: "cards".into() },
            store: None,
            history: None,
            metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
            decoding: Box::new(move || deployment.decoding(&shared, crate::Format::Json)),
            observer: None,
            health: Box::new(|_| {}),
            desk: Some(desk.clone()),
        };
        Worker::new(source, sink, setup)
    }

    /// Everything appended is taken, and everybody brought to the last closed day: in between, how
    /// far a sweep has come is no matter of the position alone.
    fn read(&self, desk: &Desk, worker: &mut Worker<LogSource, LogSink>) {
        let sweeping = |worker: &Worker<_, _>| worker.partitions().any(Partition::sweeping);
        while self.log.lag() > 0 || desk.seats().0.is_empty() || sweeping(worker) {
            worker.step().unwrap();
        }
    }
}

/// Takes a pin, stepping the worker until it is there.
fn take(
    desk: &Desk,
    worker: &mut Worker<LogSource, LogSink>,
    categories: bool,
) -> Result<(u64, Arc<Pinned>), Refusal> {
    let epoch = desk.seats().0[0].epoch;
    let mut taking = pin!(desk.pin(PartitionId(0), epoch, categories));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(taken) = taking.as_mut().poll(&mut context) {
            return taken;
        }
        worker.step().unwrap();
    }
    panic!("no pin in 10,000 steps");
}

/// Every row of a pin: id, numbers of all columns, windows.
fn rows(pinned: &Pinned) -> Vec<(String, Vec<i64>, String)> {
    let mut rows = Vec::new();
    for page in 0..pinned.pages() {
        let columns: Vec<Vec<i64>> = (0..pinned.layout().columns().len())
            .map(|column| {
                let array = pinned.column(page, column);
                match array.as_primitive_opt::<Int64Type>() {
                    Some(ints) => ints.values().to_vec(),
                    None => {
                        let floats = array.as_primitive::<Float64Type>().values();
                        floats.iter().map(|value| value.to_bits().cast_signed()).collect()
                    }
                }
            })
            .collect();
        for row in 0..pinned.rows(page) {
            let place = rows.len();
            let windows = format!("{:?}", pinned.windows(place));
            let values = columns.iter().map(|column| column[row]).collect();
            rows.push((pinned.ids(page).value(row).to_owned(), values, windows));
        }
    }
    assert_eq!(rows.len(), pinned.customers());
    rows
}

#[test]
fn a_pin_is_what_an_engine_sees_that_has_read_exactly_so_far() {
    let mut compared = 0;
    for seed in 1..=3 {
        let records = records(seed, 1_500, 6_000);
        let stage = Stage::new();
        stage.log.set_run_max(37);
        let clock = HandClock::default();
        let desk = stage.desk(&clock);
        let mut worker = stage.worker(&desk);
        worker.step().unwrap();
        worker.step().unwrap();
        let mut dice = Dice(seed);
        let mut kept: BTreeMap<i64, Arc<Pinned>> = BTreeMap::new();
        for batch in records.chunks(400) {
            batch.iter().for_each(|record| stage.append(record));
            for _ in 0..dice.below(12) + 1 {
                worker.step().unwrap();
                clock.forward(Duration::from_millis(dice.below(200)));
            }
            stage.read(&desk, &mut worker);
            let (_, pinned) = take(&desk, &mut worker, seed == 2).unwrap();
            kept.insert(pinned.position.0, pinned);
        }
        for (position, pinned) in kept.iter().step_by(3) {
            let fresh = Stage::new();
            let so_far = usize::try_from(*position).unwrap();
            records[..so_far].iter().for_each(|record| fresh.append(record));
            let desk = fresh.desk(&HandClock::default());
            let mut worker = fresh.worker(&desk);
            fresh.read(&desk, &mut worker);
            let (_, expected) = take(&desk, &mut worker, seed == 2).unwrap();
            assert_eq!(expected.position, pinned.position);
            for (row, expected) in rows(pinned).iter().zip(rows(&expected)) {
                assert_eq!(*row, expected, "seed {seed}, position {position}");
            }
            assert_eq!(pinned.customers(), expected.customers());
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} pins");
}

/// A table of a folder as one batch a file's batch.
fn table(folder: &std::path::Path, name: &str) -> Vec<RecordBatch> {
    let file = File::open(folder.join(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn a_view_equals_the_tables_written_at_its_position() {
    let stage = Stage::new();
    records(5, 1_200, 8_000).iter().for_each(|record| stage.append(record));
    let desk = stage.desk(&HandClock::default());
    let mut worker = stage.worker(&desk);
    stage.read(&desk, &mut worker);
    let (_, pinned) = take(&desk, &mut worker, true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_tables(&worker, &WINDOWS, None, folder.path()).unwrap();
    let layout = pinned.layout().columns().to_vec();
    let (mut place, mut values) = (0, 0);
    for batch in table(folder.path(), "customers.parquet") {
        let ids = batch.column_by_name("customer_id").unwrap().as_string::<i32>();
        for (row, id) in ids.iter().enumerate() {
            assert_eq!(pinned.id(place + row), id.unwrap());
            assert_eq!(pinned.find(id.unwrap()), Some(place + row));
        }
        for (column, known) in layout.iter().enumerate() {
            let Some(written) = batch.column_by_name(&known.name) else { continue };
            for row in 0..batch.num_rows() {
                let at = place + row;
                let seen = pinned.column(at / 1_024, column);
                let same = if let Some(ints) = written.as_primitive_opt::<Int64Type>() {
                    seen.as_primitive::<Int64Type>().value(at % 1_024) == ints.value(row)
                } else if let Some(floats) = written.as_primitive_opt::<Float64Type>() {
                    seen.as_primitive::<Float64Type>().value(at % 1_024) == floats.value(row)
                } else if let Some(days) = written.as_primitive_opt::<Date32Type>() {
                    let day = if days.is_null(row) { NULL } else { i64::from(days.value(row)) };
                    seen.as_primitive::<Int64Type>().value(at % 1_024) == day
                } else {
                    continue;
                };
                assert!(same, "`{}` of customer {at}", known.name);
                values += 1;
            }
        }
        place += batch.num_rows();
    }
    assert_eq!(place, pinned.customers());
    assert!(values > 50_000, "only {values} values were compared");
    let windows: usize = (0..place).map(|place| pinned.windows(place).len()).sum();
    let written = table(folder.path(), "windows.parquet");
    assert_eq!(windows, written.iter().map(RecordBatch::num_rows).sum::<usize>());
}

#[test]
fn a_seat_tells_how_far_behind_a_partition_is_and_how_large() {
    let stage = Stage::new();
    stage.log.set_run_max(37);
    records(9, 50, 200).iter().for_each(|record| stage.append(record));
    let clock = HandClock::default();
    let desk = stage.desk(&clock);
    let mut worker = stage.worker_by(Box::new(clock.clone()), &desk);
    let seat = || desk.seats().0.remove(0);
    while desk.seats().0.is_empty() || seat().position.0 == 0 {
        worker.step().unwrap();
    }
    // Records were appended at 0, and are looked for every few seconds.
    clock.forward(Duration::from_secs(95));
    worker.step().unwrap();
    let behind = seat();
    assert!(behind.lag_records > 0 && behind.state_bytes > 0, "{behind:?}");
    assert_eq!(behind.behind, Duration::from_secs(95));
    // What is committed since waits no longer, before it is looked for again.
    worker.step().unwrap();
    assert_eq!((seat().lag_records, seat().behind), (behind.lag_records - 37, behind.behind));
    stage.read(&desk, &mut worker);
    assert_eq!((seat().lag_records, seat().behind), (0, Duration::ZERO));
}

#[test]
fn what_is_not_used_expires_and_what_moved_is_gone() {
    let stage = Stage::new();
    records(7, 100, 500).iter().for_each(|record| stage.append(record));
    let clock = HandClock::default();
    let desk = stage.desk(&clock);
    let mut worker = stage.worker(&desk);
    stage.read(&desk, &mut worker);
    let (pin, pinned) = take(&desk, &mut worker, false).unwrap();
    let (again, same) = take(&desk, &mut worker, false).unwrap();
    assert!(Arc::ptr_eq(&pinned, &same) && pin != again, "a fresh pin is handed out at once");
    let (partition, epoch) = (PartitionId(0), pinned.epoch);
    let got = |pin| desk.pinned(pin, partition, epoch).map(|pinned| pinned.position);
    clock.forward(Duration::from_secs(59));
    assert_eq!(got(pin), Ok(pinned.position));
    clock.forward(Duration::from_secs(59));
    assert_eq!((got(pin), got(again)), (Ok(pinned.position), Err(Refusal::Expired)));
    desk.unpin(pin);
    assert_eq!(got(pin), Err(Refusal::Expired));
    let (pin, pinned) = take(&desk, &mut worker, false).unwrap();
    stage.log.assign(&[&[]]);
    worker.step().unwrap();
    assert_eq!(desk.pinned(pin, partition, epoch).err(), Some(Refusal::Moved));
    assert!(!pinned.alive());
}

#[test]
fn views_take_a_tenth_of_the_time_together() {
    let ms = Duration::from_millis;
    assert_eq!(fresh_for(ms(1), 1), ms(250));
    assert_eq!(fresh_for(ms(300), 1), ms(3_000));
    assert_eq!(fresh_for(ms(300), 4), ms(12_000), "four of these take 1.2 s in 12");
    assert_eq!(fresh_for(ms(9_000), 4), ms(60_000), "but none is older than a minute");
}
