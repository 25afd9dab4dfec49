//! The default rules against labelled customers: a backtest scored by `eval`.
//!
//! The bound is what a first release must reach; the figures themselves are printed.

use cardlens::eval::{Files, Report, evaluate};
use cardlens_tests::backtest::{backtest, config, data, default_rules};

/// Least mean F1 over the labels.
const MACRO_F1_MIN: f64 = 0.65;

fn score(population: &str) -> Report {
    let transactions = data(&format!("{population}_txns.csv.gz"));
    let results = backtest(&[transactions], &config(""), default_rules(), 1, None);
    let file = |name: &str| data(&format!("{population}_{name}.csv"));
    let files = Files {
        changes: results.folder.path().join("changes.jsonl"),
        truth: file("truth_needs"),
        customers: file("customers"),
        events: Some(file("truth_events")),
        map: data("needs_labels.csv"),
    };
    evaluate(&files, &[]).unwrap()
}

#[track_caller]
fn check(population: &str) {
    let report = score(population);
    println!("{population}\n{}", report.text());
    let found = report.macro_f1.value.unwrap();
    assert_eq!(report.macro_f1_needs, 12, "every label counts");
    assert!(found >= MACRO_F1_MIN, "macro-F1 of {population} is {found:.3}");
}

#[test]
fn needs_600() {
    check("needs_600");
}

#[test]
fn needs_120() {
    check("needs_120");
}
