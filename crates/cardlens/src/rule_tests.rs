//! `cardlens test`: what rules say of transactions in files, against what their tests expect.
//!
//! A `[[need.test]]` names a file beside the rules, a moment, and where customers stand with the
//! need by then. The file goes through the engine as in a backtest, up to the day before which the
//! moment lies; a change counts when it was effective by the moment. Records that are rejected and
//! customers that are not in the file fail the test: they would pass for customers without the need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cardlens_engine::files::{Places, customers};
use cardlens_engine::{Error, Output, Outputs, Progress, Sink, Topic};
use cardlens_lens::{Need, RuleSet, RuleTest, Standing};
use cardlens_model::{EventTime, Position, Problem};
use cardlens_wire::{TIME_MAX, TIME_MIN};
use serde_json::Value;

use crate::backtest::{Failure, Input, Replay};
use crate::config::Config;

/// What came of the tests of a rule set.
#[derive(Debug, Default)]
pub struct Report {
    /// Tests that passed.
    pub passed: usize,
    /// What was not as expected in the others.
    pub failures: Vec<Problem>,
}

/// Runs every test of a rule set, whose files lie in `folder`.
#[must_use]
pub fn run(config: &Config, rules: &RuleSet, folder: &Path) -> Report {
    let mut report = Report::default();
    for need in &rules.needs {
        for test in &need.tests {
            let failures = failures(config, rules, folder, (need, test));
            report.passed += usize::from(failures.is_empty());
            report.failures.extend(failures);
        }
    }
    report
}

/// Tests that cannot be run, as far as the rule files alone tell.
#[must_use]
pub fn faults(rules: &RuleSet) -> Vec<Problem> {
    let tests = rules.needs.iter().flat_map(|need| &need.tests);
    tests.filter(|test| moment(&test.at).is_none()).map(|test| no_moment(rules, test)).collect()
}

/// The time that a text says, if records may have it.
fn moment(text: &str) -> Option<EventTime> {
    let time = EventTime(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
    (TIME_MIN < time && time < TIME_MAX).then_some(time)
}

fn no_moment(rules: &RuleSet, test: &RuleTest) -> Problem {
    let message = format!("`{}`: `at` is no time: `{}`", test.name, test.at);
    rules.problem(test.spot, message).suggest("write \"2026-07-01T00:00:00Z\"")
}

fn failures(
    config: &Config,
    rules: &RuleSet,
    folder: &Path,
    (need, test): (&Need, &RuleTest),
) -> Vec<Problem> {
    let Some(at) = moment(&test.at) else { return vec![no_moment(rules, test)] };
    let standings = match standings(config, rules, folder.join(&test.given), (need, at)) {
        Ok(standings) => standings,
        Err(why) => return vec![rules.problem(test.spot, format!("`{}`: {why}", test.name))],
    };
    let mut failures = Vec::new();
    for expected in &test.expect {
        let (customer, wanted) = (&expected.customer, expected.standing.name());
        let got = match standings.get(customer) {
            Some(standing) if *standing == expected.standing => continue,
            Some(standing) => standing.name().to_owned(),
            None => format!("no such customer in `{}`", test.given),
        };
        let message = format!(
            "`{}`: `{customer}` and need `{}`: expected {wanted}, got {got}",
            test.name, need.name
        );
        failures.push(rules.problem(expected.spot, message));
    }
    failures
}

/// Where each customer of a file stands with a need at a moment, or why that cannot be said.
fn standings(
    config: &Config,
    rules: &RuleSet,
    file: PathBuf,
    (need, at): (&Need, EventTime),
) -> Result<BTreeMap<String, Standing>, String> {
    // The last day of which something lies before the moment.
    let (last, _) = config.service.calendar.local(EventTime(at.0 - 1));
    let input = Input { files: &[file], partitions: 1, as_of: Some(last) };
    let sink = |places| {
        let need = need.name.clone();
        Ok(Heard { need, at, places, standings: BTreeMap::new(), rejected: None })
    };
    let mut replay = Replay::new(input, config, rules.clone(), sink).map_err(said)?;
    replay.run(&AtomicBool::new(false), |_, _| {}).map_err(said)?;
    let heard = replay.worker.sink();
    if let Some(rejected) = &heard.rejected {
        return Err(rejected.clone());
    }
    let mut standings: BTreeMap<String, Standing> =
        customers(&replay.worker).into_iter().map(|id| (id, Standing::None)).collect();
    standings.extend(heard.standings.clone());
    Ok(standings)
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Rules(problems) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        Failure::Interrupted => "interrupted".to_owned(),
        Failure::Other(error) => format!("{error:#}"),
    }
}

/// A sink that follows one need up to a moment.
struct Heard {
    need: String,
    at: EventTime,
    places: Places,
    standings: BTreeMap<String, Standing>,
    /// The first record that was rejected, and why.
    rejected: Option<String>,
}

impl Heard {
    fn change(&mut self, value: &[u8]) {
        let change: Value = serde_json::from_slice(value).unwrap_or_default();
        let text = |name: &str| change[name].as_str().unwrap_or_default();
        let by_then = moment(text("effective_at")).is_some_and(|time| time <= self.at);
        let standing = match text("change") {
            "entered" => Standing::Entered,
            _ => Standing::Left,
        };
        if by_then && text("axis") == "need" && text("segment") == self.need {
            self.standings.insert(text("customer_id").to_owned(), standing);
        }
    }

    fn reject(&mut self, output: &Output<'_>) {
        if self.rejected.is_some() {
            return;
        }
        let header = |name: &str| output.header(name).map(String::from_utf8_lossy);
        let position = header("__connect.errors.offset").and_then(|text| text.parse().ok());
        let place = position.and_then(|position| self.places.of(Position(position)));
        let (file, line) = place.unwrap_or_default();
        let why = header("__connect.errors.exception.message").unwrap_or_default();
        self.rejected = Some(format!("{}:{line}: the record is rejected: {why}", file.display()));
    }
}

impl Sink for Heard {
    fn commit(&mut self, outputs: &Outputs, _progress: &[Progress]) -> Result<(), Error> {
        for output in outputs.iter() {
            match output.topic {
                Topic::Changes => self.change(output.value.unwrap_or_default()),
                Topic::DeadLetters => self.reject(&output),
                Topic::Current | Topic::Decisions => {}
            }
        }
        Ok(())
    }
}
