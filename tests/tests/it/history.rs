//! The history beside crashes and beside SQL: each change is in it once, and every customer of every
//! day that closed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use cardlens::generator::Generator;
use cardlens_engine::history::Files;
use cardlens_engine::view::Layout;
use cardlens_engine::{Deployment, Error, Fault, LogSink, LogSource, Topic, Worker};
use cardlens_model::Day;
use cardlens_query::relations::Catalog;
use cardlens_tests::backtest::default_rules;
use cardlens_tests::live::{now, pause};
use cardlens_tests::readers::{Engine, Stage, WINDOWS, history, records};
use cardlens_tests::sim::{Dice, Sim};
use datafusion::arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const PARTITIONS: u32 = 2;
/// First day of the records.
const FIRST: Day = Day(20_000);

/// Rows by day, as text; but for when they were written and with which run of records, which no
/// crash leaves as they were.
type Rows = BTreeMap<String, Vec<String>>;

fn batches(file: &Path) -> Vec<RecordBatch> {
    let file = File::open(file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// Files of a kind, sorted.
fn files(store: &Path, kind: &str) -> Vec<String> {
    let folder = store.join("history").join(kind);
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().map(|it| it.unwrap());
    let files = entries(&folder).flat_map(|day| entries(&day.path()).map(|file| file.path()));
    let files = files.filter(|file| file.extension().is_some_and(|kind| kind == "parquet"));
    let name = |file: &Path| file.strip_prefix(&folder).unwrap().display().to_string();
    let mut names: Vec<String> = files.map(|file| name(&file)).collect();
    names.sort();
    names
}

/// All rows of a kind by day, sorted, and its files.
fn rows(store: &Path, kind: &str) -> (Rows, Vec<String>) {
    let (mut rows, files) = (Rows::new(), files(store, kind));
    for name in &files {
        let of_day = rows.entry(name.split('/').next().unwrap().to_owned()).or_default();
        for batch in batches(&store.join("history").join(kind).join(name)) {
            let schema = batch.schema();
            let kept = |at: &usize| {
                !["changed_at", "position"].contains(&schema.field(*at).name().as_str())
            };
            let columns: Vec<usize> = (0..batch.num_columns()).filter(kept).collect();
            of_day.extend((0..batch.num_rows()).map(|row| {
                let value = |at: &usize| {
                    let value = array_value_to_string(batch.column(*at), row).unwrap();
                    format!("{}={value}", schema.field(*at).name())
                };
                columns.iter().map(value).collect::<Vec<_>>().join("|")
            }));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort());
    (rows, files)
}

/// Fails with the first row that only one of them has.
fn same(got: &(Rows, Vec<String>), expected: &(Rows, Vec<String>), what: &str) {
    assert_eq!(got.1, expected.1, "{what}: files");
    for (day, rows) in &got.0 {
        let of_day = &expected.0[day];
        for (one, other) in rows.iter().zip(of_day) {
            let pairs = one.split('|').zip(other.split('|')).filter(|(one, other)| one != other);
            assert!(one == other, "{what}, {day}, {:?}: {one}", pairs.collect::<Vec<_>>());
        }
        assert_eq!(rows.len(), of_day.len(), "{what}, {day}");
    }
}

/// Two partitions of customers of a month.
fn stage() -> Sim {
    let made = Generator::new(5, 150, FIRST).take(2_500).map(|record| {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(record.key), text(record.json))
    });
    let records: Vec<_> = made.collect();
    let mut sim = Sim::new(Deployment::new(default_rules()), PARTITIONS, &records);
    let layout = Layout::new(&sim.shared, &WINDOWS).unwrap();
    sim.history = Some(Arc::new(history(layout)));
    sim.log.set_run_max(40);
    sim
}

/// A worker that takes snapshots now and then, as the log's next member, and its only one.
fn member(sim: &Sim, store: &Path, members: &mut usize) -> Worker<LogSource, LogSink> {
    let mut setup = sim.setup(store);
    setup.pace.snapshot_interval = Some(Duration::from_millis(7));
    let (source, sink) = sim.log.join();
    let worker = Worker::new(source, sink, setup);
    let all: Vec<u32> = (0..PARTITIONS).collect();
    let mut split: Vec<&[u32]> = vec![&[]; *members];
    split.push(&all);
    *members += 1;
    sim.log.assign(&split);
    worker
}

/// Closes all days up to the last and waits until they are written.
fn finish(mut worker: Worker<LogSource, LogSink>, store: &Path, last: Day) {
    worker.close_through(last).unwrap();
    let started = now();
    let day = format!("day={last}");
    let mut before = Vec::new();
    loop {
        worker.settle().unwrap();
        pause(Duration::from_millis(300));
        let files: Vec<String> =
            ["changes", "profiles"].iter().flat_map(|it| files(store, it)).collect();
        let of_last = files.iter().filter(|file| file.contains(&day) && file.contains("-last"));
        if of_last.count() == 2 && files == before {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{files:?}");
        before = files;
    }
}

fn undisturbed(store: &Path) -> (Sim, Day) {
    let sim = stage();
    let mut worker = member(&sim, store, &mut 0);
    while worker.step().unwrap() {}
    worker.settle().unwrap();
    let last = FIRST.plus(40);
    finish(worker, store, last);
    (sim, last)
}

#[test]
fn what_was_not_written_when_the_process_died_is_written_after() {
    let (expected, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, last) = undisturbed(expected.path());
    let sim = stage();
    let mut members = 0;
    // Nothing can be written where a file stands in place of the folder.
    std::fs::write(store.path().join("history"), b"in the way").unwrap();
    let mut commits = 0;
    sim.log.set_faults(move || {
        commits += 1;
        if commits == 40 { Fault::DieAfter } else { Fault::None }
    });
    let mut worker = member(&sim, store.path(), &mut members);
    let died = loop {
        if let Err(error) = worker.step() {
            break error;
        }
    };
    assert!(matches!(died, Error::Fenced { .. }), "{died}");
    drop(worker);
    let left = sim.log.lag();
    assert!((500..2_000).contains(&left), "days closed, and days are still to come: {left}");
    std::fs::remove_file(store.path().join("history")).unwrap();
    let mut worker = member(&sim, store.path(), &mut members);
    while worker.step().unwrap() {}
    worker.settle().unwrap();
    finish(worker, store.path(), last);
    for kind in ["changes", "profiles"] {
        same(&rows(store.path(), kind), &rows(expected.path(), kind), kind);
    }
}

#[test]
fn every_change_is_in_the_history_once_after_any_crash() {
    let expected = tempfile::tempdir().unwrap();
    let (undisturbed, last) = undisturbed(expected.path());
    let changes = rows(expected.path(), "changes");
    let profiles = rows(expected.path(), "profiles");
    let written: usize = changes.0.values().map(Vec::len).sum();
    let published = undisturbed.log.read(Topic::Changes);
    // The close of the last day is decided when the one after is open.
    let closing = format!("{}T00:00:00Z", last.plus(1));
    let open = published.iter().filter(|message| {
        let event: serde_json::Value =
            serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
        event["effective_at"] == closing.as_str()
    });
    assert_eq!(written, published.len() - open.count());
    assert!(written > 200 && profiles.0.len() > 40, "{written}, {}", profiles.0.len());
    let mut deaths = 0;
    for seed in 1..=3 {
        let store = tempfile::tempdir().unwrap();
        let sim = stage();
        let mut faults = Dice(seed);
        sim.log.set_faults(move || match faults.below(100) {
            n if n < 6 => Fault::DieBefore,
            n if n < 12 => Fault::DieAfter,
            _ => Fault::None,
        });
        let mut members = 0;
        let mut worker = member(&sim, store.path(), &mut members);
        loop {
            match worker
                .step()
                .and_then(|more| if more { Ok(true) } else { worker.settle().map(|()| false) })
            {
                Ok(true) => {}
                Ok(false) => break,
                Err(Error::Fenced { .. }) => {
                    deaths += 1;
                    worker = member(&sim, store.path(), &mut members);
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        sim.log.set_faults(|| Fault::None);
        finish(worker, store.path(), last);
        let what = format!("seed {seed}");
        same(&rows(store.path(), "changes"), &changes, &what);
        same(&rows(store.path(), "profiles"), &profiles, &what);
    }
    assert!(deaths > 10, "only {deaths} deaths");
    println!("proved: {deaths} deaths, {written} changes, each once");
}

async fn numbers(catalog: &Catalog, sql: &str) -> Vec<i64> {
    let statement = catalog.statement().await.unwrap();
    let frame = statement.context().sql(sql).await.unwrap();
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let values = batches[0].columns().iter();
    values.map(|column| column.as_primitive::<Int64Type>().value(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_sees_every_change_once_from_files_and_from_memory() {
    let store = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(PARTITIONS);
    stage.store = Some(store.path().to_owned());
    let records = records(17, 200, 6_000);
    let engine = Engine::start(&stage, "one");
    stage.log.assign(&[&[0, 1]]);
    let catalog = Catalog::new(vec![engine.address()]);
    let catalog = catalog.with_history(Some(Files::in_folder(store.path()).unwrap()));
    let counts = "SELECT count(*), count(DISTINCT event_id) FROM segment_changes";
    let (mut seen, mut statements) = (0, 0);
    for some in records.chunks(300) {
        some.iter().for_each(|record| stage.append(record));
        while stage.log.lag() > 0 {
            pause(Duration::from_millis(2));
        }
        let got = numbers(&catalog, counts).await;
        assert!(got[0] == got[1] && got[0] >= seen, "{got:?} after {seen}");
        (seen, statements) = (got[0], statements + 1);
    }
    let published = i64::try_from(stage.log.read(Topic::Changes).len()).unwrap();
    let started = now();
    while numbers(&catalog, counts).await != [published, published] {
        assert!(started.elapsed() < Duration::from_secs(15), "of {published}");
        pause(Duration::from_millis(50));
    }
    assert!(rows(store.path(), "changes").1.len() > 20, "files were written");
    let halves = "SELECT sum(CASE WHEN day < DATE '2024-10-15' THEN 1 ELSE 0 END) - \
        (SELECT count(*) FROM segment_changes WHERE day < DATE '2024-10-15'), \
        sum(CASE WHEN day >= DATE '2024-10-15' AND customer_id = 'C0000007' THEN 1 ELSE 0 END) - \
        (SELECT count(*) FROM segment_changes WHERE customer_id = 'C0000007' \
        AND day >= DATE '2024-10-15') FROM segment_changes";
    assert_eq!(numbers(&catalog, halves).await, [0, 0]);
    let first = "SELECT count(*), count(spend_30d), sum(CASE WHEN as_of >= day THEN 0 ELSE 1 END) \
        FROM features_as_of('2024-10-10') WHERE as_of IS NOT NULL";
    let got = numbers(&catalog, first).await;
    assert!(got[0] > 50 && got[0] == got[1] && got[2] == 0, "{got:?}");
    // Who was in a need then is who had entered it by then and not left.
    let held = "SELECT (SELECT sum(cardinality(needs))::bigint FROM customers_as_of('2024-10-10')), \
        (SELECT sum(CASE change WHEN 'entered' THEN 1 WHEN 'left' THEN -1 ELSE 0 END)::bigint \
        FROM segment_changes WHERE axis = 'need' AND (day <= DATE '2024-10-10' OR \
        day = DATE '2024-10-11' AND effective_at = '2024-10-11T00:00:00Z' AND cause IN \
        ('time_passed', 'initial')))";
    let got = numbers(&catalog, held).await;
    assert_eq!(got[0], got[1], "needs held at a day's close, and what the changes say");
    // Why, on that day: by its figures, for what was held.
    let explained = "SELECT \
        (SELECT count(*) FROM explain_customer('C0000007', '2024-10-10')) AS terms, \
        (SELECT count(DISTINCT rule) FROM explain_customer('C0000007', '2024-10-10') \
        WHERE held AND axis = 'need') - (SELECT cardinality(needs)::bigint \
        FROM customers_as_of('2024-10-10') WHERE customer_id = 'C0000007') AS needs, \
        (SELECT count(*) FROM explain_customer('C0000007', '2024-10-10') e, \
        features_as_of('2024-10-10') f WHERE f.customer_id = 'C0000007' \
        AND e.feature = 'active_days_90d' AND e.value <> f.active_days_90d) AS figures";
    let got = numbers(&catalog, explained).await;
    assert!(got[0] > 50 && got[1..] == [0, 0], "{got:?}");
    println!("proved: {statements} statements, {published} changes, each seen once");
}
