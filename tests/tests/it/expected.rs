//! Exact windows of real and synthetic data, computed by an independent program, reproduced with
//! zero differences by a backtest.

use cardlens_tests::backtest::{EXACT, Windows, backtest, config, data, default_rules, text};

/// The independent program's results.
fn expected(name: &str) -> Windows {
    let text = text(&format!("expected/{name}"));
    let mut windows = Windows::new();
    for line in text.lines().skip(1) {
        let mut columns = line.split(',');
        let mut next = || columns.next().unwrap().to_owned();
        let key = (next(), next(), next().parse().unwrap());
        let mut int = || next().parse().unwrap();
        let (count, gross, refund, net) = (int(), int(), int(), int());
        let last = format!("{}Z", next().replace(' ', "T"));
        windows.insert(key, (count, gross, refund, net, last));
    }
    assert!(!windows.is_empty());
    windows
}

#[track_caller]
fn check(file: &str, day: &str, results: &str, partitions: u32) {
    let config = config(EXACT);
    let results_of = backtest(&[data(file)], &config, default_rules(), partitions, Some(day));
    let (found, expected) = (results_of.windows(), expected(results));
    let missing: Vec<_> =
        expected.iter().filter(|(key, row)| found.get(key) != Some(row)).collect();
    for (key, row) in missing.iter().take(5) {
        eprintln!("{key:?}: expected {row:?}, found {:?}", found.get(key));
    }
    let extra = found.keys().filter(|key| !expected.contains_key(*key)).count();
    assert_eq!((missing.len(), extra), (0, 0), "of {} rows of {results}", expected.len());
}

#[test]
fn micro_cases() {
    check("micro_cases.csv", "2024-03-01", "micro_expected_2024-03-01.csv", 1);
    check("micro_cases.csv", "2024-03-05", "micro_expected_2024-03-05.csv", 3);
}

#[test]
fn birmingham() {
    let file = "birmingham_2016-12_2017-02.csv.gz";
    check(file, "2016-12-31", "birmingham_windows_2016-12-31.csv.gz", 1);
    check(file, "2017-02-28", "birmingham_windows_2017-02-28.csv.gz", 4);
}

#[test]
fn tabformer() {
    let file = "tabformer_user0.csv.gz";
    check(file, "2008-02-29", "tabformer_windows_2008-02-29.csv.gz", 1);
    check(file, "2012-12-31", "tabformer_windows_2012-12-31.csv.gz", 1);
    check(file, "2020-02-28", "tabformer_windows_2020-02-28.csv.gz", 2);
}

#[test]
fn complete_journey() {
    let file = "cj_households_474.csv.gz";
    check(file, "2017-06-30", "cj474_windows_2017-06-30.csv.gz", 1);
    check(file, "2017-12-31", "cj474_windows_2017-12-31.csv.gz", 3);
}

#[test]
fn needs_120() {
    let file = "needs_120_txns.csv.gz";
    check(file, "2024-02-29", "needs120_windows_2024-02-29.csv.gz", 1);
    check(file, "2025-02-28", "needs120_windows_2025-02-28.csv.gz", 4);
}

#[test]
fn needs_600() {
    let file = "needs_600_txns.csv.gz";
    check(file, "2024-02-29", "needs600_windows_2024-02-29.csv.gz", 6);
    check(file, "2025-02-28", "needs600_windows_2025-02-28.csv.gz", 1);
}
