//! Two instances beside a real broker under one gateway, asked without pause: records stream in, one
//! instance leaves in good order and comes back, the other is killed. Every answer is right, or an
//! error that names a partition and says what to do.
//!
//! Right means: of all partitions at one position each, which no later answer lies before; with
//! relations that agree with one another; and in the end what a backtest of the same input says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardlens_tests::backtest::{backtest, config, default_rules};
use cardlens_tests::broker::{Broker, free_ports};
use cardlens_tests::live::{Gateway, Instance, dealt, feed, feed_config, now, pause, produce};
use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

const PARTITIONS: u32 = 6;
/// Longest wait for partitions to move, and for the last records to be read.
const WAIT: Duration = Duration::from_secs(120);
/// Right answers that are wanted while nothing moves.
const CALM: usize = 25;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// Time over which records stream in: longer than all of it takes, so that they always do.
const STREAMS: Duration = Duration::from_secs(300);
/// Questions whose answers never get less, column by column.
const GROWING: [&str; 2] = [
    "SELECT count(*), coalesce(sum(sequence), 0) FROM customers",
    "SELECT count(*), coalesce(sum(sequence), 0) FROM customers WHERE customer_id = 'N000000'",
];

/// Questions whose answer is 0 when all relations are of one position.
const AGREEING: [&str; 3] = [
    "SELECT count(*) FROM customers c FULL JOIN (SELECT customer_id, sum(net) AS net \
     FROM customer_categories WHERE window_days = 365 GROUP BY customer_id) k USING (customer_id) \
     WHERE c.spend_365d IS DISTINCT FROM coalesce(k.net, 0)",
    "SELECT (SELECT count(*) FROM customer_needs n JOIN customers c USING (customer_id)) - \
     (SELECT coalesce(sum(cardinality(needs)), 0) FROM customers)",
    "SELECT count(*) FROM customers c FULL JOIN features f USING (customer_id) \
     WHERE (c.spend_30d IS DISTINCT FROM f.spend_30d) OR (c.txn_30d IS DISTINCT FROM f.txn_30d)",
];

const EVERYBODY: &str = "SELECT customer_id, partition, as_of, value_tier, value_tier_since, \
    lifecycle, array_to_string(needs, ' '), sequence, CAST(spend_30d * 100 AS BIGINT), \
    CAST(spend_365d * 100 AS BIGINT), txn_30d FROM customers ORDER BY customer_id";

/// The same columns of a backtest.
const COLUMNS: [&str; 11] = [
    "customer_id",
    "partition",
    "as_of",
    "value_tier",
    "value_tier_since",
    "lifecycle",
    "needs",
    "sequence",
    "spend_30d",
    "spend_365d",
    "txn_30d",
];

/// Cells as text; nothing is an empty one.
type Table = Vec<Vec<String>>;

/// Somebody who asks, and what they know by what they were told.
struct Analyst {
    client: Client,
    warnings: Arc<Mutex<Vec<String>>>,
    /// Greatest answers so far, by question.
    greatest: BTreeMap<&'static str, Vec<i64>>,
    /// Where each partition was read last.
    positions: BTreeMap<u32, i64>,
    asked: usize,
    right: usize,
    refused: BTreeMap<String, usize>,
}

impl Analyst {
    fn connect(port: u16, gateway: &Gateway) -> Self {
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&warnings);
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("analyst").dbname("cardlens");
        config.connect_timeout(Duration::from_secs(5));
        config.notice_callback(move |notice| {
            heard.lock().unwrap().push(notice.message().to_owned());
        });
        let started = now();
        let client = loop {
            match config.connect(NoTls) {
                Ok(client) => break client,
                Err(error) => {
                    assert!(started.elapsed() < WAIT, "{error}\n{}", gateway.log());
                    pause(Duration::from_millis(100));
                }
            }
        };
        let (greatest, positions) = (BTreeMap::new(), BTreeMap::new());
        let refused = BTreeMap::new();
        Self { client, warnings, greatest, positions, asked: 0, right: 0, refused }
    }

    /// Rows, or what the error says.
    fn rows(&mut self, sql: &str) -> Result<Table, String> {
        let answer = match self.client.simple_query(sql) {
            Ok(answer) => answer,
            Err(error) => {
                let fault = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
                assert_eq!(fault.code().code(), "58000", "{sql}: {fault}");
                return Err(fault.message().to_owned());
            }
        };
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Asks the next question and judges the answer.
    fn ask(&mut self) {
        let place = self.asked % (GROWING.len() + AGREEING.len());
        self.asked += 1;
        let agreeing = place.checked_sub(GROWING.len());
        let sql = agreeing.map_or_else(|| GROWING[place], |place| AGREEING[place]);
        match self.rows(sql) {
            Ok(rows) => {
                let numbers: Vec<i64> = rows[0].iter().map(|cell| cell.parse().unwrap()).collect();
                match agreeing {
                    Some(_) => assert_eq!(numbers, [0], "{sql}"),
                    None => self.check_growth(sql, numbers),
                }
                self.check_positions();
                self.right += 1;
            }
            Err(message) => self.check_refusal(message),
        }
        pause(PAUSE);
    }

    fn check_growth(&mut self, sql: &'static str, numbers: Vec<i64>) {
        if let Some(before) = self.greatest.get(sql) {
            let less = before.iter().zip(&numbers).any(|(before, now)| now < before);
            assert!(!less, "{sql}: {numbers:?} after {before:?}");
        }
        self.greatest.insert(sql, numbers);
    }

    /// Every partition was read, and none before where it was read last.
    fn check_positions(&mut self) {
        let shown = self.rows("SHOW cardlens.position").unwrap().remove(0).remove(0);
        let of = |pair: &str| {
            let (partition, position) = pair.split_once(':').unwrap();
            (partition.parse::<u32>().unwrap(), position.parse::<i64>().unwrap())
        };
        let read: BTreeMap<u32, i64> = shown.split(',').map(of).collect();
        assert!(read.keys().copied().eq(0..PARTITIONS), "{shown}");
        for (partition, position) in &self.positions {
            assert!(read[partition] >= *position, "{shown} after {:?}", self.positions);
        }
        self.positions = read;
    }

    fn check_refusal(&mut self, message: String) {
        assert!(names(&message).is_some() && message.ends_with("try again"), "{message}");
        *self.refused.entry(message).or_default() += 1;
    }

    /// Asks until something is so; how many errors there were meanwhile.
    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) -> usize {
        let (started, before) = (now(), self.errors());
        while !done(self) {
            self.ask();
            if started.elapsed() > WAIT {
                panic!("not yet: {what}; {:?}; {:?}", self.owners(), self.refused);
            }
        }
        self.errors() - before
    }

    /// Asks until so many more answers were right.
    fn calm(&mut self) {
        let wanted = self.right + CALM;
        self.until("right answers", |analyst| analyst.right >= wanted);
    }

    fn errors(&self) -> usize {
        self.refused.values().sum()
    }

    /// Partitions that are served, and by whom.
    fn owners(&mut self) -> BTreeMap<u32, String> {
        let sql = "SELECT partition, instance FROM ops.partitions WHERE state = 'running'";
        let rows = self.rows(sql).unwrap();
        rows.into_iter().map(|mut row| (row[0].parse().unwrap(), row.remove(1))).collect()
    }

    /// Whether all partitions are served, and by these instances, each of which has some.
    fn served_by(&mut self, instances: &[&str]) -> bool {
        let owners = self.owners();
        let serving: BTreeSet<&str> = owners.values().map(String::as_str).collect();
        owners.keys().copied().eq(0..PARTITIONS) && serving.iter().eq(instances)
    }

    /// Takes an answer without the partitions that are missing: it has all the others, and names
    /// each that it has not.
    fn check_partial(&mut self, missing: &BTreeSet<u32>) {
        self.rows("SET cardlens.partial = on").unwrap();
        self.warnings.lock().unwrap().clear();
        let sql = "SELECT partition, count(*) FROM customers GROUP BY partition";
        let rows = self.rows(sql).unwrap();
        self.rows("SET cardlens.partial = off").unwrap();
        let seen: BTreeSet<u32> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
        let all: BTreeSet<u32> = (0..PARTITIONS).collect();
        assert_eq!(seen, all.difference(missing).copied().collect());
        let warnings = std::mem::take(&mut *self.warnings.lock().unwrap());
        let named: BTreeSet<u32> = warnings.iter().filter_map(|text| names(text)).collect();
        assert!(warnings.iter().all(|text| text.starts_with("left out: ")), "{warnings:?}");
        assert_eq!((&named, warnings.len()), (missing, missing.len()), "{warnings:?}");
    }
}

/// The partition that a message names.
fn names(message: &str) -> Option<u32> {
    (0..PARTITIONS).find(|partition| message.contains(&format!("partition {partition} ")))
}

/// Lets what is left of the records come at once when it is dropped, by a failure too.
struct Hurry<'a>(&'a AtomicBool);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a backtest of the records says of everybody.
fn expected(records: &[(String, String)], settings: &str) -> Table {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.jsonl");
    let lines: String = records.iter().map(|(_, value)| format!("{value}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let results = backtest(&[file], &config(settings), default_rules(), PARTITIONS, None);
    let file = std::fs::File::open(results.folder.path().join("customers.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut table: Table = reader.flat_map(|batch| cells(&batch.unwrap())).collect();
    table.sort();
    table
}

fn cells(batch: &RecordBatch) -> Table {
    let columns = COLUMNS.map(|name| batch.column_by_name(name).unwrap());
    let cell = |column: &datafusion::arrow::array::ArrayRef, row: usize| match column.as_list_opt()
    {
        Some(lists) => {
            let list: &datafusion::arrow::array::ListArray = lists;
            let names = list.value(row);
            names.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" ")
        }
        None if column.is_null(row) => String::new(),
        None => array_value_to_string(column, row).unwrap(),
    };
    let row = |row| columns.iter().map(|column| cell(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

/// The instance leaves in good order while questions are asked.
fn leave(instance: &mut Instance, analyst: &mut Analyst) {
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| instance.terminate());
        analyst.until("the instance has left", |_| leaving.is_finished());
        let (code, took) = leaving.join().unwrap();
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(20), "leaving took {took:?}");
    });
}

fn configuration(folder: &Path, broker: &Broker, settings: &str) -> std::path::PathBuf {
    let file = folder.join("run.toml");
    let text = format!(
        "{settings}[kafka]\nbootstrap_servers = \"{}\"\nsession_timeout = \"6s\"\n\
         [state]\nstore = \"{}\"\nsnapshot_interval = \"1s\"\n[output]\ncreate_topics = true\n",
        broker.bootstrap(),
        folder.join("state").display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn answers_are_right_or_errors_while_partitions_move() {
    let folder = tempfile::tempdir().unwrap();
    let settings = feed_config("USD", "US");
    let records = feed("needs_120_txns.csv.gz", "USD");
    assert!(records.iter().any(|(customer, _)| customer == "N000000"));
    let broker = Broker::start().unwrap();
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let stamps = [("message.timestamp.type", "LogAppendTime")];
    broker.create_topic("cards", partitions, &stamps).unwrap();
    let file = configuration(folder.path(), &broker, &settings);
    let [first, second, pgwire] = [(); 3].map(|()| free_ports().unwrap());
    // The gateway may be there before the engines.
    let engines = [first[1], second[1]].map(|port| format!("127.0.0.1:{port}"));
    let gateway = Gateway::start(folder.path(), &engines, pgwire[0], "");
    let mut one = Instance::start_scanned("one", folder.path(), &file, first);
    let mut two = Instance::start_scanned("two", folder.path(), &file, second);
    let mut analyst = Analyst::connect(pgwire[0], &gateway);
    let both = ["one", "two"];
    let started = now();
    while !analyst.served_by(&both) {
        assert!(started.elapsed() < WAIT, "{}{}{}", one.log(), two.log(), gateway.log());
        pause(PAUSE);
    }
    let hurry = AtomicBool::new(false);
    let dealt = dealt(&records, PARTITIONS);
    let killed = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(&broker, &dealt, STREAMS, &hurry));
        let _hurry = Hurry(&hurry);
        analyst.calm();
        leave(&mut one, &mut analyst);
        analyst.until("the other took over", |analyst| analyst.served_by(&["two"]));
        analyst.calm();
        one.spawn();
        analyst.until("it has partitions again", |analyst| analyst.served_by(&both));
        analyst.calm();
        let owners = analyst.owners();
        let lost = owners.into_iter().filter(|(_, owner)| owner == "two").map(|(id, _)| id);
        let lost: BTreeSet<u32> = lost.collect();
        two.kill();
        analyst.check_partial(&lost);
        let errors = analyst.until("killed", |analyst| analyst.served_by(&["one"]));
        analyst.calm();
        two.spawn();
        analyst.until("both serve again", |analyst| analyst.served_by(&both));
        analyst.calm();
        assert!(!producing.is_finished(), "records came all the time");
        errors
    });
    assert!(killed > 0, "the partitions of a killed instance were missed: {:?}", analyst.refused);
    let all = i64::try_from(records.len()).unwrap();
    analyst.until("all is read", |analyst| analyst.positions.values().sum::<i64>() == all);
    let told = analyst.rows(EVERYBODY).unwrap();
    let expected = expected(&records, &settings);
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!(told, expected, "{EVERYBODY}");
    }
    assert!(told.len() == expected.len() && told.len() > 100, "{} customers", told.len());
    for instance in [&mut one, &mut two] {
        instance.check_alive();
        assert_eq!(instance.terminate().0, Some(0), "{}", instance.log());
    }
    let (right, errors) = (analyst.right, analyst.errors());
    println!("proved: {right} right answers, {errors} errors that name a partition, none wrong");
    for (message, times) in &analyst.refused {
        println!("{times} times: {message}");
    }
}
