//! Each folder of `tests/golden` is a case: `in.jsonl` goes through a backtest under the rules of
//! `tests/rules`, and what a consumer would see is compared with `out.jsonl`: changes, then
//! rejected records. `UPDATE_GOLDEN=1` rewrites `out.jsonl`; the diff is then reviewed like code.
//!
//! The same cases are run on the log, crashed after every batch and moved between members.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cardlens_engine::Deployment;
use cardlens_lens::RuleSet;
use cardlens_tests::backtest::{backtest, config};
use cardlens_tests::sim::Sim;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> =
        fs::read_dir(folder("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 6, "{cases:?}");
    cases
}

fn rules() -> RuleSet {
    cardlens::wiring::rule_set(Some(&folder("rules"))).unwrap()
}

/// What a consumer sees, without the time of writing.
fn run(case: &Path) -> String {
    let config = config("[service]\nname = \"golden\"\n");
    let results = backtest(&[case.join("in.jsonl")], &config, rules(), 1, None);
    let mut lines = String::new();
    for mut change in results.changes() {
        change["headers"].as_object_mut().unwrap().remove("ce_recordedtime").unwrap();
        writeln!(lines, "{change}").unwrap();
    }
    for mut rejected in results.rejected() {
        rejected.as_object_mut().unwrap().remove("file");
        writeln!(lines, "{rejected}").unwrap();
    }
    lines
}

#[test]
fn golden() {
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for case in cases() {
        let actual = run(&case);
        let path = case.join("out.jsonl");
        if update {
            fs::write(&path, &actual).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            actual == expected,
            "{}:\n--- expected\n{expected}--- actual\n{actual}",
            case.display()
        );
    }
}

/// The accepted lines of a case, with their customers; others go to partition 0 all the same.
fn records(case: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(case.join("in.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            (value["customer"].as_str().unwrap_or_default().to_owned(), line.to_owned())
        })
        .collect()
}

#[test]
fn golden_cases_crashed_after_every_batch() {
    let deployment = Deployment::new(rules());
    let mut deaths = 0;
    for case in cases() {
        let records = records(&case);
        for partitions in [1, 2] {
            let expected = Sim::undisturbed(&deployment, partitions, &records);
            for seed in 1..=4 {
                let sim = Sim::new(deployment.clone(), partitions, &records);
                // Nearly every commit is the last one of its member.
                let disturbed = sim.disturbed(seed, 80);
                let (told, died) = (disturbed.told, disturbed.deaths);
                assert_eq!(told, expected, "{}, seed {seed}", case.display());
                sim.check_published();
                deaths += died;
            }
        }
    }
    assert!(deaths > 100, "only {deaths} deaths");
}
