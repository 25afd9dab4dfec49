//! Small cases worked out by hand.

use std::path::Path;

use super::*;

const CUSTOMERS: &str = "customer_id,first_day,last_day,income_index\n\
                         A,2024-01-01,2025-01-31,1.0\n\
                         B,2024-01-01,2025-01-31,1.0\n\
                         C,2024-12-01,2025-01-31,1.0\n\
                         D,2024-01-01,2024-12-15,1.0\n";
const MAP: &str = "label,need\npet_owner,pets\nfoodie,eating_out\n";
const TRUTH: &str = "customer_id,need,from_date,to_date\n\
                     A,pet_owner,2024-01-01,2025-01-31\n\
                     B,pet_owner,2024-11-01,2025-01-31\n\
                     D,pet_owner,2024-06-01,2024-08-31\n";

/// One line of `changes.jsonl`.
fn event(customer: &str, sequence: u64, change: &str, (segment, since): (&str, &str)) -> String {
    serde_json::json!({
        "partition": 0, "key": customer, "headers": {"ce_id": format!("{customer}:{sequence}")},
        "value": {
            "customer_id": customer, "axis": "need", "change": change, "segment": segment,
            "sequence": sequence, "since": since, "effective_at": format!("{since}T12:00:00Z"),
        }
    })
    .to_string()
        + "\n"
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cardlens-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn files(folder: &Folder, changes: &str) -> Files {
    Files {
        changes: folder.write("changes.jsonl", changes),
        truth: folder.write("truth.csv", TRUTH),
        customers: folder.write("customers.csv", CUSTOMERS),
        events: None,
        map: folder.write("map.csv", MAP),
    }
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

#[test]
fn scores_by_hand() {
    let folder = Folder::new("eval-scores");
    let changes = [
        event("A", 1, "entered", ("pets", "2024-03-01")),
        event("B", 2, "left", ("pets", "2024-12-20")),
        event("B", 1, "entered", ("pets", "2024-12-11")),
        event("C", 1, "entered", ("pets", "2024-12-02")),
        event("D", 1, "entered", ("pets", "2024-10-15")),
        event("D", 2, "entered", ("spaceflight", "2024-10-15")),
        event("X", 1, "entered", ("pets", "2024-10-15")),
    ];
    let at = ["2024-11-30", "2024-12-31", "2024-12-15"].map(day);
    let report = evaluate(&files(&folder, &changes.concat()), &at).unwrap();
    assert_eq!(report.dates, ["2024-11-30", "2024-12-15", "2024-12-31"]);
    // A holds and has it three times. B is within grace on the first date, holds on the second,
    // holds no longer on the third. C is too young. D holds without having it, and is gone after
    // the second date.
    let pets = &report.needs[0];
    assert_eq!((pets.hits, pets.misses, pets.false_alarms, pets.scored), (4, 1, 2, 7));
    assert_eq!(pets.precision.value, Some(4.0 / 6.0));
    assert_eq!(pets.recall.value, Some(0.8));
    assert_eq!(pets.f1.value, Some(8.0 / 11.0));
    assert!(pets.f1.low <= pets.f1.value && pets.f1.value <= pets.f1.high);
    // Nobody eats out and nobody is said to: there is no F1, and the mean is over the other.
    assert_eq!(report.needs[1].f1.value, None);
    assert_eq!((report.macro_f1.value, report.macro_f1_needs), (Some(8.0 / 11.0), 1));
    assert_eq!((report.customers, report.customers_scored), (4, 3));
    // B's onset of November is found after 40 days, D's of June is missed; A's is none.
    let delays = Delays { onsets: 2, missed: 1, median_days: Some(40), p90_days: None };
    assert_eq!((pets.delays, report.delays), (delays, delays));
    // False: B left while having it; C and D entered without.
    assert_eq!((report.changes, report.false_changes), (5, 3));
    // B's entry is undone after nine days.
    assert_eq!(report.flaps, 1);
    let years = f64::from(397 + 397 + 62 + 350) / 365.25;
    assert!((report.false_changes_per_customer_year - 3.0 / years).abs() < 1e-12);
    assert_eq!(
        report.notes,
        [
            "1 customers of the changes are unknown and not scored",
            "no label, so not scored: spaceflight"
        ]
    );
    let text = report.text();
    assert!(text.contains("macro-F1 0.727"), "{text}");
    assert!(serde_json::to_string(&report).unwrap().contains("\"median_days\":40"));
}

#[test]
fn dates_are_the_last_six_month_ends() {
    let folder = Folder::new("eval-dates");
    let report = evaluate(&files(&folder, ""), &[]).unwrap();
    let expected =
        ["2024-08-31", "2024-09-30", "2024-10-31", "2024-11-30", "2024-12-31", "2025-01-31"];
    assert_eq!(report.dates, expected);
    assert_eq!(report.macro_f1.value, Some(0.0));
    assert_eq!(report.flapping_share, None);
}

#[test]
fn edges_of_grace_and_activity() {
    let folder = Folder::new("eval-edges");
    let labels = labels::Labels::read(&files(&folder, "")).unwrap();
    let customer = |id: &str| &labels.customers[labels.customer(id).unwrap()];
    let truth = |id: &str, at: &str| customer(id).truth_on(0, day(at));
    use labels::Truth::{Grace, Has, HasNot};
    assert_eq!(truth("A", "2024-01-15"), Has);
    assert_eq!(truth("B", "2024-10-31"), HasNot);
    assert_eq!((truth("B", "2024-11-01"), truth("B", "2024-12-01")), (Grace, Grace));
    assert_eq!(truth("B", "2024-12-02"), Has);
    assert_eq!((truth("D", "2024-08-31"), truth("D", "2024-09-01")), (Has, Grace));
    assert_eq!((truth("D", "2024-09-30"), truth("D", "2024-10-01")), (Grace, HasNot));
    assert!(!customer("A").counts_on(day("2024-03-30")));
    assert!(customer("A").counts_on(day("2024-03-31")));
    assert!(
        customer("D").counts_on(day("2024-12-15")) && !customer("D").counts_on(day("2024-12-16"))
    );
}

#[test]
fn late_knowledge_is_not_dated_back() {
    let folder = Folder::new("eval-late");
    let changes = [
        event("A", 1, "entered", ("pets", "2024-06-10")),
        event("A", 2, "left", ("pets", "2024-06-01")),
        event("A", 2, "left", ("pets", "2024-06-01")),
        event("A", 5, "entered", ("pets", "2024-07-01")),
    ];
    let files = files(&folder, &changes.concat());
    let labels = labels::Labels::read(&files).unwrap();
    let history = changes::History::read(&files.changes, &labels).unwrap();
    let held = |at: &str| history.held_on(0, 0, day(at));
    assert_eq!(["2024-06-09", "2024-06-10", "2024-07-01"].map(held), [false, false, true]);
    let expected =
        ["1 repeated events were counted once", "2 events are missing, going by their sequence"];
    assert_eq!(history.notes, expected);
}

#[test]
fn life_events_find_their_needs() {
    let folder = Folder::new("eval-life");
    let changes = [event("B", 1, "entered", ("pets", "2024-11-21"))];
    let events = "customer_id,event,date\nB,adopted_pet,2024-11-01\nA,lost_job,2024-05-05\n";
    let files = Files {
        events: Some(folder.write("events.csv", events)),
        ..files(&folder, &changes.concat())
    };
    let report = evaluate(&files, &[]).unwrap();
    let [adopted, lost] = report.life_events.as_slice() else { panic!("two kinds of events") };
    assert_eq!((&*adopted.event, adopted.need.as_deref()), ("adopted_pet", Some("pets")));
    assert_eq!(adopted.delays.unwrap().median_days, Some(20));
    assert_eq!((lost.need.as_deref(), lost.events), (None, 1));
    let text = report.text();
    assert!(
        text.contains("lost_job              no label begins with it: not scored  n = 1\n"),
        "{text}"
    );
}

#[test]
fn faults_name_file_and_line() {
    let folder = Folder::new("eval-faults");
    let good = files(&folder, "");
    #[track_caller]
    fn check(files: &Files, expected: &[&str]) {
        let problems = evaluate(files, &[]).expect_err("it is wrong");
        let folder = files.changes.parent().unwrap_or(Path::new("")).display().to_string();
        let shown: Vec<String> = problems
            .iter()
            .map(|problem| problem.to_string().replace(&format!("{folder}/"), ""))
            .collect();
        assert_eq!(shown, expected);
    }
    let with = |name: &str, text: &str| folder.write(name, text);
    check(
        &Files { map: with("m.csv", "label,need\na,b\na,c\n"), ..good.clone() },
        &["m.csv:3:1: label `a` stands twice"],
    );
    check(
        &Files { map: with("m.csv", "lable,need\na,b\n"), ..good.clone() },
        &["m.csv:1:1: no column `label` (it has lable, need)"],
    );
    let truth = "customer_id,need,from_date,to_date\nA,x,2024-02-30,2024-03-01\nQ,x,2024-01-01,\
                 2024-01-02\nA,x,2024-03-01,2024-02-01\nA,x\n";
    check(
        &Files { truth: with("t.csv", truth), ..good.clone() },
        &[
            "t.csv:2:1: `from_date` is no day: `2024-02-30` (such as 2026-06-30)",
            "t.csv:3:1: `Q` is not among the customers",
            "t.csv:4:1: ends on 2024-02-01 before it begins",
            "t.csv:5:1: 2 values, and the header has 4",
        ],
    );
    let moved = event("A", 1, "moved", ("pets", "2024-06-10"));
    check(
        &Files { changes: with("c.jsonl", &format!("\n{moved}")), ..good.clone() },
        &["c.jsonl:2:1: a need is entered or left, not `moved`"],
    );
    check(
        &Files { changes: with("c.jsonl", "{}\n"), ..good.clone() },
        &["c.jsonl:1:1: no segment change: missing field `value` at line 1 column 2"],
    );
    let twice =
        "customer_id,first_day,last_day\nA,2024-01-01,2024-01-02\nA,2024-01-01,2024-01-02\n";
    check(
        &Files { customers: with("u.csv", twice), ..good.clone() },
        &["u.csv:3:1: customer `A` stands twice"],
    );
    let missing =
        Files { customers: folder.0.join("none.csv"), map: folder.0.join("no.csv"), ..good };
    check(
        &missing,
        &[
            "no.csv: read the file: No such file or directory (os error 2)",
            "none.csv: read the file: No such file or directory (os error 2)",
        ],
    );
}

#[test]
fn delays_are_ranked_with_misses_last() {
    let of = |delays: &[i32], missed: usize| {
        let found = delays.iter().copied().map(Some);
        let delays = Delays::of(found.chain(std::iter::repeat_n(None, missed)).collect());
        (delays.median_days, delays.p90_days)
    };
    assert_eq!(of(&[], 0), (None, None));
    assert_eq!(of(&[5], 0), (Some(5), Some(5)));
    assert_eq!(of(&[9, 1, 5], 0), (Some(5), Some(9)));
    assert_eq!(of(&[1, 2], 2), (Some(2), None));
    assert_eq!(of(&[1], 2), (None, None));
    assert_eq!(of(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1), (Some(5), Some(9)));
}
