//! `cardlens sql` as people and scripts use it: the binary, a gateway, engines that work.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use cardlens_tests::asked::{Place, said};
use cardlens_tests::live::{now, pause};
use cardlens_tests::readers::records;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

fn place(password: Option<&str>) -> Place {
    Place::new(&records(11, 200, 3_000), password)
}

const SOME: &str = "SELECT customer_id, spend_365d, last_txn_at, first_seen_on, needs, \
    CAST(NULL AS BIGINT) AS nothing FROM customers ORDER BY customer_id LIMIT 3";

#[test]
fn results_in_every_form() {
    let place = place(None);
    let csv = place.answer(&["-f", "csv", SOME], None);
    let lines: Vec<&str> = csv.lines().collect();
    let header = "customer_id,spend_365d,last_txn_at,first_seen_on,needs,nothing";
    assert_eq!((lines.len(), lines[0]), (4, header));
    assert!(lines[1].starts_with('C') && lines[1].ends_with(','), "{csv}");
    let jsonl = place.answer(&["-f", "jsonl"], Some(&format!("{SOME};\n")));
    let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    for (row, line) in rows.iter().zip(&lines[1..]) {
        let cells: Vec<&str> = line.split(',').collect();
        // Money keeps its digits: 12.50 is not 12.5.
        assert!(jsonl.contains(&format!("\"spend_365d\":{},", cells[1])), "{jsonl}");
        assert!(cells[1].split_once('.').is_some_and(|(_, digits)| digits.len() == 2), "{line}");
        assert_eq!(
            (&row["customer_id"], &row["last_txn_at"]),
            (&cells[0].into(), &cells[2].into())
        );
        assert!(cells[2].ends_with('Z') && row["first_seen_on"] == cells[3]);
        assert!(row["needs"].is_array() && row["nothing"].is_null());
    }
    let json = place.answer(&["-f", "json", "-"], Some(SOME));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&json).unwrap(), rows);
    let table = place.answer(&[SOME], None);
    assert!(table.ends_with("(3 rows)\n") && !table.contains('…'), "{table}");
    assert_eq!(place.answer(&["SELECT 1 AS n; SELECT 2 AS n"], None).matches("(1 row)").count(), 2);

    let path = std::env::temp_dir().join(format!("cardlens-it-{}.parquet", std::process::id()));
    let all = "SELECT * FROM features";
    assert_eq!(place.answer(&["-o", path.to_str().unwrap(), all], None), "");
    let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let rows: usize = rows.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(place.answer(&["-f", "csv", all], None).lines().count(), rows + 1);
    assert!(rows > 100);
}

#[test]
fn failures_say_what_and_of_which_kind() {
    let place = place(None);
    place.refused(&["SELECT spent FROM customers"], 65, "spent");
    place.refused(&["DELETE FROM customers"], 65, "[");
    place.refused(&["--at", "127.0.0.1:1", "SELECT 1"], 69, "reach the gateway at `127.0.0.1:1`");
    place.refused(&[" ; "], 64, "there is no statement");
    place.refused(&["-f", "parquet", "SELECT 1; SELECT 2"], 64, "holds one result");
    let output = place.sql(&["-f", "parquet", "-"], Some("SELECT 1; SELECT 2"));
    assert_eq!(output.status.code(), Some(64), "{}", said(&output.stderr));
    place.refused(&["--password-file", "none", "--user", "u", "SELECT 1"], 78, "none");
    let first = place.refused(&["-f", "csv", "SELECT 1 AS n; nonsense; SELECT 2 AS n"], 65, "");
    assert_eq!(first, "n\n1\n", "the first that fails is the last");
}

#[test]
fn a_partition_that_cannot_be_read_is_an_error_or_a_stated_gap() {
    let mut place = place(None);
    let count = "SELECT count(*) AS n FROM customers";
    let all: u64 = place.answer(&["-f", "csv", count], None)[2..].trim().parse().unwrap();
    place.engines[1].hang_up();
    place.refused(&[count], 69, "cannot be reached");
    let output = place.sql(&["-f", "csv", "--partial", count], None);
    let (some, told) = (said(&output.stdout), said(&output.stderr));
    let some: u64 = some[2..].trim().parse().unwrap();
    assert!(output.status.success() && some > 0 && some < all, "{some} of {all}: {told}");
    assert_eq!(told.matches("left out: ").count(), 2, "{told}");
}

#[test]
fn names_and_passwords() {
    let place = place(Some("s3cret"));
    let path = std::env::temp_dir().join(format!("cardlens-it-{}.secret", std::process::id()));
    std::fs::write(&path, "s3cret\n").unwrap();
    let file = path.to_str().unwrap();
    let login = ["--user", "analyst", "--password-file", file, "-f", "csv", "SELECT 1 AS n"];
    assert_eq!(place.answer(&login, None), "n\n1\n");
    place.refused(&["SELECT 1"], 77, "log in first");
    place.refused(&["--user", "somebody", "--password-file", file, "SELECT 1"], 77, "do not match");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn ctrl_c_ends_a_statement_at_the_gateway_too() {
    let place = place(None);
    // There are few axes, so these are far more rows than anybody waits for.
    let slow = "SELECT count(*) FROM segment_changes a JOIN segment_changes b ON a.axis = b.axis \
        JOIN segment_changes c ON a.axis = c.axis JOIN segment_changes d ON a.axis = d.axis";
    let mut child = place.start(&[slow]);
    pause(Duration::from_millis(1_500));
    assert!(child.try_wait().unwrap().is_none(), "the statement should take longer");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output.stderr));
    assert!(said(&output.stderr).contains("cancelled"));
    // One statement runs at a time: this one has its turn because the other is gone.
    let started = now();
    let counted = place.answer(&["SELECT count(*) FROM customers"], None);
    assert!(counted.ends_with("(1 row)\n"), "{counted}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
