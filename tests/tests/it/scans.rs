//! SQL over engines that work: several of them, partitions that move, records that stream in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cardlens_model::PartitionId;
use cardlens_query::relations::{Catalog, Options, Statement};
use cardlens_query::scan::describe;
use cardlens_query::{Action, Error};
use cardlens_tests::live::{now, pause};
use cardlens_tests::readers::{Engine, Stage, WINDOWS, records};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, DataFusionError> {
    context.sql(sql).await?.collect().await
}

async fn ask(statement: &Statement, sql: &str) -> Vec<RecordBatch> {
    run(statement.context(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn number(statement: &Statement, sql: &str) -> i64 {
    let batches = ask(statement, sql).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Waits until a catalogue sees so many partitions running, everything read.
async fn ready(catalog: &Catalog, partitions: i64) {
    let started = now();
    let sql = "SELECT count(*) FROM ops.partitions WHERE state = 'running'";
    loop {
        if let Ok(statement) = catalog.statement().await
            && number(&statement, sql).await == partitions
        {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the engines are not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn settled(stage: &Stage) {
    let started = now();
    while stage.log.lag() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the log is not read");
        pause(Duration::from_millis(5));
    }
}

/// The error of the query crate behind one of DataFusion's.
fn cause(error: &DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().unwrap().clone(),
        other => panic!("{other}"),
    }
}

/// Two engines with two partitions each.
async fn two() -> (Stage, [Engine; 2], Catalog) {
    let stage = Stage::new(4);
    records(11, 400, 6_000).iter().for_each(|record| stage.append(record));
    let engines = [Engine::start(&stage, "one"), Engine::start(&stage, "two")];
    stage.log.assign(&[&[0, 1], &[2, 3]]);
    let catalog = Catalog::new(engines.iter().map(Engine::address).collect());
    ready(&catalog, 4).await;
    settled(&stage);
    (stage, engines, catalog)
}

const QUERIES: [&str; 14] = [
    "SELECT customer_id, spend_30d FROM customers WHERE spend_30d > 100.00 ORDER BY 1",
    "SELECT customer_id FROM customers WHERE value_tier = 'mvc' ORDER BY 1",
    "SELECT customer_id FROM customers WHERE value_tier <> 'nosuch' ORDER BY 1",
    "SELECT customer_id, needs FROM customers WHERE txn_30d >= 3 AND spend_365d < 900.5 ORDER BY 1",
    "SELECT count(*) FROM customers WHERE last_txn_at > '2024-10-20T12:00:00Z'",
    "SELECT count(*), sum(spend_365d), min(first_seen_on) FROM customers",
    "SELECT * FROM customers WHERE customer_id = 'C0000007'",
    "SELECT * FROM customers WHERE customer_id = 'nobody'",
    "SELECT customer_id FROM customers WHERE value_tier_since >= DATE '2024-10-10' ORDER BY 1",
    "SELECT value_tier, count(*) FROM customers GROUP BY 1 ORDER BY 1",
    "SELECT need, count(*), round(sum(score), 4) FROM customer_needs WHERE score > 0.5 GROUP BY 1 ORDER BY 1",
    "SELECT category, sum(net) FROM customer_categories WHERE window_days = 30 GROUP BY 1 ORDER BY 1",
    "SELECT cause, count(*) FROM segment_changes WHERE axis = 'need' GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM features WHERE share_online_90d > 0.25 AND 5 <= txn_90d",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_answer_as_all_rows_would() {
    let (_stage, engines, catalog) = two().await;
    let statement = catalog.statement().await.unwrap();
    let plain = SessionContext::new();
    // Categories first: what a statement pins is decided when it first reads.
    for table in
        ["customer_categories", "customers", "features", "customer_needs", "segment_changes"]
    {
        let frame = statement.context().table(table).await.unwrap();
        let schema = Arc::clone(frame.schema().inner());
        let rows = frame.collect().await.unwrap();
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        assert!(count > 50, "{count} rows of {table}");
        let memory = MemTable::try_new(schema, vec![rows]).unwrap();
        plain.register_table(table, Arc::new(memory)).unwrap();
    }
    for sql in QUERIES {
        let shown = |batches: &[RecordBatch]| pretty_format_batches(batches).unwrap().to_string();
        let (seen, expected) = (ask(&statement, sql).await, run(&plain, sql).await.unwrap());
        assert_eq!(shown(&seen), shown(&expected), "{sql}");
    }
    for limit in [0, 1, 7, 5_000] {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM features WHERE txn_90d > 1 LIMIT {limit})"
        );
        let expected = run(&plain, &sql).await.unwrap();
        let expected = expected[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(number(&statement, &sql).await, expected, "{sql}");
    }
    assert_eq!(statement.positions().len(), 4);
    for view in ["value_need_matrix", "segment_flows"] {
        let rows = ask(&statement, &format!("SELECT * FROM {view}")).await;
        assert!(rows.iter().any(|batch| batch.num_rows() > 0), "{view}");
    }
    // Judged at the gateway on the same figures as by the engine.
    let exits = "SELECT count(*) FROM customer_needs WHERE nearest_exit IS NULL OR abs(score - \
        CAST(split_part(split_part(nearest_exit, '\"value\":', 2), ',', 1) AS DOUBLE)) > 0.000001";
    assert_eq!(number(&statement, exits).await, 0);
    let sized =
        "SELECT count(*) FROM ops.partitions WHERE state_bytes > 10000 AND lag_seconds >= 0";
    assert_eq!(number(&statement, sized).await, 4);
    let (seen, lag) = (statement.positions(), ask(&statement, "SELECT * FROM as_of_lag()").await);
    let positions = lag[0].column(1).as_primitive::<Int64Type>().values();
    assert_eq!(*positions, *seen.into_values().collect::<Vec<_>>());
    drop(statement);
    let started = now();
    while engines.iter().any(|engine| engine.desk.pins() > 0) {
        assert!(started.elapsed() < Duration::from_secs(10), "pins are given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_sees_one_version_while_records_stream_in() {
    let stage = Arc::new(Stage::new(2));
    let records = records(13, 300, 60_000);
    records[..2_000].iter().for_each(|record| stage.append(record));
    let engine = Engine::start(&stage, "one");
    stage.log.assign(&[&[0, 1]]);
    let catalog = Catalog::new(vec![engine.address()]);
    ready(&catalog, 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let feeding = {
        let (stage, stop) = (Arc::clone(&stage), Arc::clone(&stop));
        std::thread::spawn(move || {
            for record in records[2_000..].iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                stage.append(record);
                while stage.log.lag() > 2_000 && !stop.load(Ordering::Relaxed) {
                    pause(Duration::from_millis(1));
                }
            }
        })
    };
    let mut positions = std::collections::BTreeSet::new();
    let different = "SELECT count(*) FROM customers a FULL JOIN customers b USING (customer_id) \
        WHERE (a.spend_365d IS DISTINCT FROM b.spend_365d) OR \
        (a.sequence IS DISTINCT FROM b.sequence)";
    let started = now();
    while positions.len() <= 3 && started.elapsed() < Duration::from_secs(60) {
        let statement = catalog.statement().await.unwrap();
        assert_eq!(number(&statement, different).await, 0);
        let two = "SELECT (SELECT CAST(sum(spend_365d) * 100 AS BIGINT) FROM customers) - \
            (SELECT CAST(sum(spend_365d) * 100 AS BIGINT) FROM features)";
        assert_eq!(number(&statement, two).await, 0);
        positions.insert(statement.positions());
    }
    stop.store(true, Ordering::Relaxed);
    feeding.join().unwrap();
    assert!(positions.len() > 3, "{} versions were seen", positions.len());
    println!("proved: {} versions, each whole", positions.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_moves_is_an_error_that_says_so() {
    let (stage, engines, catalog) = two().await;
    let count = "SELECT count(*) FROM customers";
    let statement = catalog.statement().await.unwrap();
    let all = number(&statement, count).await;
    stage.log.assign(&[&[0], &[1, 2, 3]]);
    let started = now();
    let error = loop {
        match run(statement.context(), count).await {
            Err(error) => break error,
            Ok(rows) => {
                assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), all);
                assert!(started.elapsed() < Duration::from_secs(20), "nothing moved");
            }
        }
    };
    let moved = cause(&error);
    assert!(matches!(moved, Error::Moved { partition: 1, .. }), "{moved}");
    assert_eq!(moved.action(), Action::Restart);
    ready(&catalog, 4).await;
    assert_eq!(number(&catalog.statement().await.unwrap(), count).await, all);
    drop(engines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_silent_is_an_error_or_a_stated_gap() {
    let (_stage, mut engines, catalog) = two().await;
    let count = "SELECT count(*) FROM customers";
    let all = number(&catalog.statement().await.unwrap(), count).await;
    engines[1].hang_up();
    let statement = catalog.statement().await.unwrap();
    let error = run(statement.context(), count).await.unwrap_err();
    assert!(matches!(cause(&error), Error::Unread { partition: 2, .. }), "{error}");
    let partial =
        catalog.statement_with(Options { partial: true, ..Options::default() }).await.unwrap();
    let some = number(&partial, count).await;
    assert!(some > 0 && some < all, "{some} of {all}");
    assert_eq!((partial.gaps().len(), partial.positions().len()), (2, 2), "{:?}", partial.gaps());
    let silent = "SELECT count(*) FROM ops.instances WHERE NOT reachable";
    assert_eq!(number(&partial, silent).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_engines_rejected_is_told_of() {
    let (stage, mut engines, catalog) = two().await;
    stage.log.append(PartitionId(2), b"C1", b"no JSON", 0);
    stage.log.append(PartitionId(3), b"C2", b"{}", 0);
    let started = now();
    let statement = loop {
        let statement = catalog.statement().await.unwrap();
        let all = "SELECT sum(record_count)::bigint FROM ops.rejected HAVING count(*) > 0";
        if ask(&statement, all).await.iter().any(|batch| {
            batch.num_rows() > 0 && batch.column(0).as_primitive::<Int64Type>().value(0) == 2
        }) {
            break statement;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nothing is told of");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let letters = "SELECT partition, reason, engine FROM ops.dead_letters ORDER BY partition";
    let shown = pretty_format_batches(&ask(&statement, letters).await).unwrap().to_string();
    let told: Vec<&str> = shown.lines().filter(|line| line.contains("127.0.0.1")).collect();
    assert_eq!(told.len(), 2, "{shown}");
    assert!(told[0].contains("| 2 ") && told[0].contains("bad_type"), "{shown}");
    assert!(told[1].contains("| 3 ") && told[1].contains("missing_field"), "{shown}");
    assert!(told.iter().all(|line| line.contains(&engines[1].address())), "{shown}");

    // An engine that is silent is an error, or a gap that was asked for.
    engines[1].hang_up();
    let statement = catalog.statement().await.unwrap();
    let error = run(statement.context(), letters).await.unwrap_err();
    assert_eq!(cause(&error).action(), Action::Retry, "{error}");
    let options = Options { partial: true, ..Options::default() };
    let partial = catalog.statement_with(options).await.unwrap();
    assert_eq!(number(&partial, "SELECT count(*) FROM ops.dead_letters").await, 0);
    assert_eq!(partial.gaps().len(), 1, "{:?}", partial.gaps());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_was_given_nothing_yet_is_no_empty_table() {
    let stage = Stage::new(2);
    let engine = Engine::start(&stage, "one");
    let catalog = Catalog::new(vec![engine.address()]);
    for partial in [false, true] {
        let statement =
            catalog.statement_with(Options { partial, ..Options::default() }).await.unwrap();
        let error = run(statement.context(), "SELECT count(*) FROM customers").await.unwrap_err();
        assert!(matches!(cause(&error), Error::NotJoined), "{error}");
        assert_eq!(cause(&error).action(), Action::Retry);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_read_in_place_answer_as_endpoints_do() {
    let (stage, engines, catalog) = two().await;
    let mut pins = Vec::new();
    for desk in engines.iter().map(|engine| &engine.desk) {
        for seat in desk.seats().0 {
            pins.push(desk.pin(seat.partition, seat.epoch, true).await.unwrap().1);
        }
    }
    let layout = engines[0].desk.layout();
    let description = describe(&stage.deployment, &stage.shared, layout, (&WINDOWS, 2));
    let held = Catalog::held(description, pins);
    let in_place = held.statement().await.unwrap();
    let shown = |batches: &[RecordBatch]| pretty_format_batches(batches).unwrap().to_string();
    for sql in QUERIES {
        let asked = catalog.statement().await.unwrap();
        let expected = shown(&ask(&asked, sql).await);
        assert_eq!(shown(&ask(&in_place, sql).await), expected, "{sql}");
    }
    // What streams in later is not seen, by whoever reads them.
    let before = in_place.positions();
    records(11, 400, 9_000)[6_000..].iter().for_each(|record| stage.append(record));
    settled(&stage);
    let positions = async |catalog: &Catalog| {
        let statement = catalog.statement().await.unwrap();
        ask(&statement, QUERIES[5]).await;
        statement.positions()
    };
    let started = now();
    while positions(&catalog).await == before {
        assert!(started.elapsed() < Duration::from_secs(30), "later records are not seen");
    }
    assert_eq!(positions(&held).await, before);
}
