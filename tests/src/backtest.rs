//! Backtests of the test data.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use cardlens::backtest::{Backtest, Summary};
use cardlens::config::{Config, Purpose};
use cardlens_lens::RuleSet;
use cardlens_model::Day;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

/// A file of `tests/data`.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// The text of a file of `tests/data`, plain or gzip.
#[must_use]
pub fn text(name: &str) -> String {
    let bytes = std::fs::read(data(name)).unwrap();
    if !name.ends_with(".gz") {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text
}

/// No category withheld and lateness of the whole horizon: what the expected windows assume.
pub const EXACT: &str = "[time]\nallowed_lateness = \"400d\"\n[privacy]\nwithhold = []\n\
    legal_basis = \"test data\"\napproved_by = \"tests\"\n";

/// A configuration from the text of one file.
#[must_use]
pub fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&[file], [], Purpose::Local).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
    })
}

/// The rule set that comes with cardlens.
#[must_use]
pub fn default_rules() -> RuleSet {
    RuleSet::parse(&RuleSet::default_files()).unwrap()
}

/// What a backtest wrote.
pub struct Results {
    pub folder: TempDir,
    pub summary: Summary,
}

/// Replays files.
#[must_use]
pub fn backtest(
    from: &[PathBuf],
    config: &Config,
    rules: RuleSet,
    partitions: u32,
    as_of: Option<&str>,
) -> Results {
    let folder = tempfile::tempdir().unwrap();
    let backtest = Backtest {
        from: from.to_vec(),
        partitions,
        as_of: as_of.map(|day| Day::parse(day).unwrap()),
        out: folder.path().to_owned(),
        progress: false,
    };
    let summary = backtest.run(config, rules, &Arc::new(AtomicBool::new(false))).unwrap();
    Results { folder, summary }
}

/// A row of windows: count, gross, refund, net, last record.
pub type WindowFigures = (i64, i64, i64, i64, String);

/// Windows by customer, category and days.
pub type Windows = BTreeMap<(String, String, i32), WindowFigures>;

impl Results {
    /// The lines of `changes.jsonl`.
    #[must_use]
    pub fn changes(&self) -> Vec<serde_json::Value> {
        self.lines("changes.jsonl")
    }

    /// The lines of `rejected.jsonl`.
    #[must_use]
    pub fn rejected(&self) -> Vec<serde_json::Value> {
        self.lines("rejected.jsonl")
    }

    fn lines(&self, name: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `windows.parquet`.
    #[must_use]
    pub fn windows(&self) -> Windows {
        let file = std::fs::File::open(self.folder.path().join("windows.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let mut windows = Windows::new();
        for batch in reader {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let customers = column("customer_id").as_string::<i32>();
            let categories = column("category").as_string::<i32>();
            let days = column("window_days").as_primitive::<Int32Type>();
            let int = |name: &str| column(name).as_primitive::<Int64Type>();
            let (count, gross) = (int("txn_count"), int("gross_minor"));
            let (refund, net) = (int("refund_minor"), int("net_minor"));
            let last = column("last_at").as_primitive::<TimestampMillisecondType>();
            for row in 0..batch.num_rows() {
                let key =
                    (customers.value(row).into(), categories.value(row).into(), days.value(row));
                let last = cardlens_model::EventTime(last.value(row)).to_string();
                let figures =
                    (count.value(row), gross.value(row), refund.value(row), net.value(row), last);
                assert!(windows.insert(key, figures).is_none());
            }
        }
        windows
    }
}
