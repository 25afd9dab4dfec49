//! The ten questions of docs/sql.md, each asked as it stands there, and answered as it says.
//! `UPDATE_GOLDEN=1` writes the answers into the page; the difference is then read like code.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cardlens::generator::Generator;
use cardlens_model::{DAY_MS, Day};
use cardlens_tests::asked::Place;

const SECTION: &str = "\n## Ten questions\n";
const QUESTION: &str = "```sql\n";
const ANSWER: &str = "```text\n";
const END: &str = "```\n";

/// Customers and days that the page names.
const CUSTOMERS: u32 = 500;
const DAYS: [&str; 2] = ["2025-07-01", "2026-06-30"];

/// A year of the demo's customers: id and JSON.
fn year() -> Vec<(Vec<u8>, Vec<u8>)> {
    let [first, last] = DAYS.map(|day| Day::parse(day).unwrap());
    let end = i64::from(last.plus(1).0) * DAY_MS;
    let made = Generator::new(1, CUSTOMERS, first).take_while(|record| record.time_ms < end);
    made.map(|record| (record.key, record.json)).collect()
}

#[test]
fn every_question_is_answered_as_the_page_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, section) = page.split_once(SECTION).unwrap();
    for named in [&format!("--customers {CUSTOMERS}"), DAYS[0], DAYS[1]] {
        assert!(section.contains(named), "the page does not say `{named}`");
    }
    let place = Place::new(&year(), None);
    let mut parts = section.split(QUESTION);
    let mut answered = format!("{before}{SECTION}{}", parts.next().unwrap());
    let mut questions = 0;
    for part in parts {
        let (question, rest) = part.split_once(END).unwrap();
        let given = rest.strip_prefix(ANSWER).and_then(|rest| rest.split_once(END));
        let rest = given.map_or(rest, |(_, rest)| rest);
        let answer = place.answer(&["-"], Some(question));
        assert!(!answer.ends_with("\n(0 rows)\n"), "{question}has no answer to show");
        write!(answered, "{QUESTION}{question}{END}{ANSWER}{answer}{END}{rest}").unwrap();
        questions += 1;
    }
    assert_eq!(questions, 10);
    #[allow(clippy::disallowed_methods, reason = "the test's own knob")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        fs::write(&path, &answered).unwrap();
    } else {
        let differ = page.lines().zip(answered.lines()).find(|(one, other)| one != other);
        assert!(
            page == answered,
            "the page says the first of these, now it is the second: {differ:?}"
        );
    }
}
