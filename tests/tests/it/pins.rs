//! Pins taken while records stream in: each is of one committed position, and equal to what an
//! engine sees that has read exactly so far.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use cardlens_engine::files::write_tables;
use cardlens_engine::view::{Desk, NULL, Pinned, Refusal};
use cardlens_engine::{LogSink, LogSource, Worker};
use cardlens_model::PartitionId;
use cardlens_tests::readers::{HandClock, Stage, WINDOWS, records};
use cardlens_tests::sim::Dice;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const COMMIT: Duration = Duration::ZERO;

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
        let stage = Stage::new(1);
        stage.log.set_run_max(37);
        let clock = HandClock::default();
        let desk = stage.desk(Box::new(clock.clone()));
        let mut worker = stage.worker(Some(desk.clone()), COMMIT);
        stage.log.assign(&[&[0]]);
        let mut dice = Dice(seed);
        let mut kept: BTreeMap<i64, Arc<Pinned>> = BTreeMap::new();
        for batch in records.chunks(400) {
            batch.iter().for_each(|record| stage.append(record));
            for _ in 0..dice.below(12) + 1 {
                worker.step().unwrap();
                clock.forward(Duration::from_millis(dice.below(200)));
            }
            let (_, pinned) = take(&desk, &mut worker, seed == 2).unwrap();
            kept.insert(pinned.position.0, pinned);
        }
        for (position, pinned) in kept.iter().step_by(3) {
            let fresh = Stage::new(1);
            let so_far = usize::try_from(*position).unwrap();
            records[..so_far].iter().for_each(|record| fresh.append(record));
            let desk = fresh.desk(Box::new(HandClock::default()));
            let mut worker = fresh.worker(Some(desk.clone()), COMMIT);
            fresh.log.assign(&[&[0]]);
            while fresh.log.lag() > 0 || desk.seats().0.is_empty() {
                worker.step().unwrap();
            }
            let (_, expected) = take(&desk, &mut worker, seed == 2).unwrap();
            assert_eq!(expected.position, pinned.position);
            assert_eq!(rows(pinned), rows(&expected), "seed {seed}, position {position}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} pins");
    println!("proved: {compared} pins of one position each, equal to the state at it");
}

/// A table of a folder as one batch a file's batch.
fn table(folder: &std::path::Path, name: &str) -> Vec<RecordBatch> {
    let file = File::open(folder.join(name)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn a_view_equals_the_tables_written_at_its_position() {
    let stage = Stage::new(1);
    records(5, 1_200, 8_000).iter().for_each(|record| stage.append(record));
    let desk = stage.desk(Box::new(HandClock::default()));
    let mut worker = stage.worker(Some(desk.clone()), COMMIT);
    stage.log.assign(&[&[0]]);
    while stage.log.lag() > 0 || desk.seats().0.is_empty() {
        worker.step().unwrap();
    }
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
fn what_is_not_used_expires_and_what_moved_is_gone() {
    let stage = Stage::new(1);
    records(7, 100, 500).iter().for_each(|record| stage.append(record));
    let clock = HandClock::default();
    let desk = stage.desk(Box::new(clock.clone()));
    let mut worker = stage.worker(Some(desk.clone()), COMMIT);
    stage.log.assign(&[&[0]]);
    while stage.log.lag() > 0 || desk.seats().0.is_empty() {
        worker.step().unwrap();
    }
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
