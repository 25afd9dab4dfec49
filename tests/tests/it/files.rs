//! Files through `cardlens backtest` as people start it: formats, and an end before the end.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use cardlens_model::{DAY_MS, Day};
use cardlens_tests::backtest::text;
use cardlens_tests::live::{binary, pause};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

const ROWS: usize = 5_000;

/// What a backtest of a file wrote: changes and rejected records, and the bytes of both tables.
fn results(folder: &Path, file: &str) -> (Vec<Value>, [Vec<u8>; 2]) {
    let out = folder.join(format!("{file}.out"));
    let mut command = Command::new(binary());
    command.args(["backtest", "--from"]).arg(folder.join(file)).arg("--out").arg(&out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = Vec::new();
    for name in ["changes.jsonl", "rejected.jsonl"] {
        for line in std::fs::read_to_string(out.join(name)).unwrap().lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            // When it was written, and where it was read, differ.
            line["headers"]["ce_recordedtime"] = Value::Null;
            line["file"] = Value::Null;
            line["original"] = Value::Null;
            lines.push(line);
        }
    }
    assert!(!out.join("unfinished").exists());
    let tables = ["customers.parquet", "windows.parquet"];
    (lines, tables.map(|name| std::fs::read(out.join(name)).unwrap()))
}

/// The columns of a CSV file, typed as those who write Parquet would.
fn batch(csv: &str) -> RecordBatch {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let columns = names.iter().enumerate().map(|(place, name)| {
        let cells = rows.iter().map(|row| Some(row[place]).filter(|cell| !cell.is_empty()));
        let column: ArrayRef = match *name {
            "amount_cents" => {
                Arc::new(cells.map(|cell| cell?.parse().ok()).collect::<Int64Array>())
            }
            "mcc" => Arc::new(cells.map(|cell| cell?.parse().ok()).collect::<Int32Array>()),
            "ts" => {
                let times = cells.map(|cell| time(cell.unwrap()));
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            _ => Arc::new(cells.collect::<StringArray>()),
        };
        (*name, column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Milliseconds of `2024-03-01T00:00:00`.
fn time(text: &str) -> i64 {
    let (day, clock) = text.split_once('T').unwrap();
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
    i64::from(Day::parse(day).unwrap().0) * DAY_MS + seconds * 1_000
}

#[test]
fn parquet_and_tabs_say_what_commas_say() {
    let folder = tempfile::tempdir().unwrap();
    let text = text("needs_120_txns.csv.gz");
    let mut csv: String = text.split_inclusive('\n').take(1 + ROWS).collect();
    assert!(!csv.contains('"') && !csv.contains('\t'), "commas stand between columns only");
    // One of them is rejected, in every format.
    csv = csv.replacen(",1262,", ",-1262,", 1);
    std::fs::write(folder.path().join("a.csv"), &csv).unwrap();
    std::fs::write(folder.path().join("a.tsv"), csv.replace(',', "\t")).unwrap();
    let batch = batch(&csv);
    let file = File::create(folder.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let expected = results(folder.path(), "a.csv");
    assert!(expected.0.len() > 100, "{} lines", expected.0.len());
    assert_eq!(expected.0.iter().filter(|line| line["reason"] == "bad_amount").count(), 1);
    for name in ["a.tsv", "a.parquet"] {
        assert!(results(folder.path(), name) == expected, "{name} says something else");
    }
}

/// A file that takes minutes to read and is small: one packed block over and over.
fn long_file(path: &Path) {
    let line = "{\"id\":\"1\",\"customer\":\"A\",\"time\":\"2026-03-01T08:00:00Z\",\
                \"kind\":\"purchase\",\"amount_minor\":1,\"currency\":\"USD\"}\n";
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(line.repeat(8_000).as_bytes()).unwrap();
    std::fs::write(path, packed.finish().unwrap().repeat(4_000)).unwrap();
}

#[test]
fn an_interrupted_backtest_says_so_and_leaves_no_results() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.jsonl.gz");
    long_file(&file);
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for signal in ["-INT", "-TERM"] {
        std::fs::write(out.join("customers.parquet"), "of an older run").unwrap();
        let mut command = Command::new(binary());
        command.args(["backtest", "--from"]).arg(&file).arg("--out").arg(&out);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !out.join("unfinished/changes.jsonl").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it ended before it began");
            pause(Duration::from_millis(10));
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("interrupted; what was written by then is in `"), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let left: Vec<_> =
            std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["unfinished"], "after {signal}");
        std::fs::remove_dir_all(out.join("unfinished")).unwrap();
    }
}
