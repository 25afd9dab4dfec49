//! The hand-checked boundary cases of `tests/data`, in their own order and in others.

use cardlens_model::{Day, EventTime, Kind};

use crate::support::{Entry, Run, categories, config};

const CASES: &str = include_str!("../data/micro_cases.csv");
const EXPECTED: [(&str, &str); 2] = [
    ("2024-03-01", include_str!("../data/micro_expected_2024-03-01.csv")),
    ("2024-03-05", include_str!("../data/micro_expected_2024-03-05.csv")),
];

/// `2024-03-01T23:59:59` or the same with a blank.
fn time(text: &str) -> EventTime {
    let day = Day::parse(&text[..10]).unwrap();
    let mut parts = text[11..].split(':').map(|part| part.parse::<i64>().unwrap());
    let mut next = || parts.next().unwrap();
    let seconds = next() * 3_600 + next() * 60 + next();
    EventTime(i64::from(day.0) * 86_400_000 + seconds * 1_000)
}

fn entry(line: &str) -> Entry {
    let fields: Vec<&str> = line.split(',').collect();
    let [id, customer, at, mcc, amount, kind, original] = fields[..] else { unreachable!() };
    let kind = *Kind::ALL.iter().find(|known| known.name() == kind).unwrap();
    let category = categories().of(mcc.parse().unwrap_or(u16::MAX));
    let entry = Entry::new(id, 0, amount.parse().unwrap()).of(customer).at(time(at));
    let entry = entry.category(category).kind(kind);
    Entry { original: (!original.is_empty()).then(|| original.to_owned()), ..entry }
}

#[track_caller]
fn check(entries: &[Entry], as_of: Day, expected: &str) {
    let mut run = Run::new(config(&[]));
    run.feed(entries);
    let mut found = Vec::new();
    for customer in ["A", "B", "C"] {
        let slot = run.table.slot_of(customer).unwrap();
        for row in run.table.windows(slot, as_of, &[7, 30, 90, 365]) {
            let category = categories().name(row.category).to_owned();
            let last = row.last_at.to_string().replace('T', " ").replace('Z', "");
            found.push(format!(
                "{customer},{category},{},{},{},{},{},{last}",
                row.window_days, row.txn_count, row.gross, row.refund, row.net
            ));
        }
    }
    let window = |line: &str| line.split(',').nth(2).unwrap().parse::<u32>().unwrap();
    let key = |line: &String| {
        let head: String = line.splitn(3, ',').take(2).collect();
        (head, window(line))
    };
    found.sort_by_key(key);
    let expected: Vec<&str> = expected.lines().skip(1).collect();
    assert_eq!(found, expected);
}

#[test]
fn boundary_cases_in_any_order() {
    for (as_of, expected) in EXPECTED {
        let as_of = Day::parse(as_of).unwrap();
        let mut entries: Vec<Entry> = CASES.lines().skip(1).map(entry).collect();
        entries.retain(|entry| entry.time < EventTime(i64::from(as_of.0 + 1) * 86_400_000));
        check(&entries, as_of, expected);
        entries.reverse();
        check(&entries, as_of, expected);
        entries.sort_by_key(|entry| (entry.time, entry.id.clone()));
        check(&entries, as_of, expected);
    }
}
