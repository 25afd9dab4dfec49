//! What the made-up records promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::*;

fn start() -> Day {
    Day::parse("2025-01-01").unwrap()
}

fn take(seed: u64, customers: u32, days: i32) -> (Vec<Generated>, Truth) {
    let end = i64::from(start().plus(days).0) * DAY_MS;
    let mut generator = Generator::new(seed, customers, start());
    let records = generator.by_ref().take_while(|record| record.time_ms < end).collect();
    (records, generator.truth().clone())
}

#[test]
fn a_seed_means_the_same_for_ever() {
    let (records, _) = take(7, 20, 30);
    assert_eq!(records, take(7, 20, 30).0);
    assert_ne!(records, take(8, 20, 30).0);
    let first = &records[0];
    let expected = include_str!("first_record.json").trim_end();
    assert_eq!(String::from_utf8_lossy(&first.json), expected);
}

#[test]
fn a_year_of_records_is_as_a_log_has_them() {
    let (records, truth) = take(1, 200, 365);
    assert!(records.is_sorted_by_key(|record| record.time_ms));
    // A card is used about twice in three days.
    let per_customer = records.len() / 200;
    assert!((150..700).contains(&per_customer), "{per_customer} records per customer and year");
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut repeated, mut late, mut abroad, mut originals) = (0, 0, 0, 0);
    for record in &records {
        let value: Value = serde_json::from_slice(&record.json).unwrap();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("customer").as_bytes(), record.key);
        assert_eq!(text("customer"), Generator::customer_id(record.customer));
        assert!(value["amount_minor"].as_u64().is_some_and(|amount| amount > 0), "{value}");
        *kinds.entry(text("kind")).or_default() += 1;
        let day = Day::parse(&text("time")[..10]).unwrap();
        late += usize::from(record.time_ms / DAY_MS > i64::from(day.0) + 2);
        abroad += usize::from(!matches!(text("country").as_str(), "US" | ""));
        if let Some(original) = value["reverses"].as_str() {
            originals += usize::from(ids.contains_key(original));
        }
        match ids.insert(text("id"), record.json.clone()) {
            Some(known) => {
                assert_eq!(known, record.json, "a repeated record is the same");
                repeated += 1;
            }
            None => assert!(text("id").len() == 11, "{value}"),
        }
    }
    for kind in ["purchase", "refund", "reversal", "cash", "payment", "fee", "interest"] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 10), "{kinds:?}");
    }
    assert!(repeated > 50 && late > 20 && abroad > 1_000 && originals > 500);
    assert!(truth.events().len() > 80 && !truth.gone().is_empty());
}

#[test]
fn needs_show_in_records() {
    let (records, truth) = take(3, 400, 200);
    let pets: BTreeSet<u32> = truth
        .needs()
        .iter()
        .filter(|need| need.need == "pets" && need.from == start())
        .map(|need| need.customer)
        .collect();
    let mut fed: BTreeMap<u32, usize> = BTreeMap::new();
    for record in records {
        let value: Value = serde_json::from_slice(&record.json).unwrap();
        if value["mcc"] == "5995" {
            *fed.entry(record.customer).or_default() += 1;
        }
    }
    assert!((50..130).contains(&pets.len()), "{} with pets", pets.len());
    assert!(pets.iter().all(|customer| fed.get(customer).is_some_and(|count| *count >= 3)));
}

#[test]
fn needs_end_after_they_begin() {
    let (_, truth) = take(5, 300, 500);
    let mut open: BTreeSet<(u32, &str)> = BTreeSet::new();
    for need in truth.needs() {
        assert!(need.to.is_none_or(|to| to >= need.from), "{need:?}");
        if need.to.is_none() {
            assert!(open.insert((need.customer, need.need)), "{need:?} twice");
        }
    }
    assert!(truth.needs().iter().any(|need| need.to.is_some()));
}

#[test]
fn without_customers_there_is_nothing() {
    assert_eq!(Generator::new(1, 0, start()).next(), None);
}

#[test]
fn history_runs_free_and_then_days_take_their_time() {
    let pace = Pace::new(1_000, Duration::from_secs(2));
    assert!(pace.is_history(999) && !pace.is_history(1_000));
    assert_eq!(pace.due(0), Duration::ZERO);
    assert_eq!(pace.due(1_000 + DAY_MS / 2), Duration::from_secs(1));
    assert_eq!(Pace::new(0, Duration::ZERO).due(DAY_MS), Duration::ZERO);
}
