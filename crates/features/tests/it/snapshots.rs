//! Tables as bytes.

use std::sync::Arc;

use cardlens_features::{Action, Slot, Table, TableConfig, snapshot};
use cardlens_model::{Category, CategoryTable, DAY_MS, EventTime, Kind};

use crate::{
    property::names,
    support::{Entry, HOUR_MS, Run, TODAY, config, value},
};

fn configured() -> TableConfig {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    TableConfig { allowed_lateness_ms: 40 * DAY_MS, settle_ms: HOUR_MS, ..config(&names) }
}

/// Two years of 30 customers, with all kinds of records and reversals.
fn entries() -> Vec<Entry> {
    let start = i64::from(TODAY.0) * DAY_MS;
    (0..1_500_i64)
        .map(|at| {
            let mix = usize::try_from(at.wrapping_mul(2_654_435_761) >> 7 & 0xffff).unwrap();
            let customer = match mix % 30 {
                29 => "a customer with a long name".to_owned(),
                other => format!("c{other}"),
            };
            let time = EventTime(start + at * 11 * HOUR_MS - (at % 7) * 20 * HOUR_MS);
            let entry = Entry::new(&format!("t{at}"), 0, at * 37 % 9_001).at(time).of(&customer);
            let entry = entry.category(Category([0, 0, 1, 2, 62][mix % 5]));
            match mix % 11 {
                0 => entry.kind(Kind::Cash),
                1 => entry.kind(Kind::Payment),
                2 => entry.kind(Kind::Authorization),
                3 => entry.reverses(&format!("t{}", at - 30)),
                4 => entry.reverses(&format!("t{}", at + 30)),
                _ => entry,
            }
        })
        .collect()
}

fn encoded(table: &Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot::encode(table, &mut bytes);
    bytes
}

#[test]
fn a_table_goes_on_as_if_it_had_not_been_away() {
    let entries = entries();
    for cut in [0, 1, 700, 1_499] {
        let mut there = Run::new(configured());
        there.feed(&entries[..cut]);
        let bytes = encoded(&there.table);
        let mut back = Run::with(snapshot::decode(&*bytes, configured()).unwrap());
        assert_eq!(encoded(&back.table), bytes);
        let _ = there.take();
        there.feed(&entries[cut..]);
        back.feed(&entries[cut..]);
        assert_eq!(back.take(), there.take());
        assert_eq!(back.table.customers(), there.table.customers());
        for at in 0..there.table.customers() {
            let slot = Slot(u32::try_from(at).unwrap());
            assert_eq!(back.table.customer_id(slot), there.table.customer_id(slot));
            let as_of = there.table.as_of(slot);
            let windows = there.table.windows(slot, as_of, &[1, 30, 400]);
            assert_eq!(back.table.windows(slot, as_of, &[1, 30, 400]), windows);
        }
    }
}

#[test]
fn damage_is_noticed() {
    let mut run = Run::new(configured());
    run.feed(&entries()[..300]);
    let bytes = encoded(&run.table);
    let check = |bytes: &[u8]| {
        let error = snapshot::decode(bytes, configured()).err().expect("damage is noticed");
        assert_eq!(error.action(), Action::FallBack);
    };
    for len in 0..bytes.len() {
        check(&bytes[..len]);
    }
    check(&[&bytes[..], &[0]].concat());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        check(&damaged);
    }
    check(b"");
    check(&bytes[1..]);
}

#[test]
fn categories_are_found_again_by_name() {
    let mut run = Run::new(configured());
    let entry = |id, category| Entry::new(id, 0, 100).category(Category(category));
    run.feed(&[entry("a", 0), entry("b", 1), entry("c", 1), entry("d", 2), entry("e", 62)]);
    let bytes = encoded(&run.table);
    let ranges = [(1, 1, "new"), (2, 2, "restaurants"), (3, 3, "groceries")];
    let table = CategoryTable::new(&ranges, &[]).unwrap();
    let names = ["groceries", "restaurants", "new", "other"].map(|name| format!("{name}_txn_7d"));
    let columns = cardlens_features::Plan::new(&names, &table).unwrap();
    let config = TableConfig { columns, categories: Arc::new(table), ..configured() };
    let mut back = Run::with(snapshot::decode(&*bytes, config).unwrap());
    let figures: Vec<f64> = back.figures("c", TODAY).into_iter().map(|it| it.1).collect();
    assert_eq!(figures, [1.0, 2.0, 0.0, 1.0]);
}

#[test]
fn what_moved_windows_must_be_the_same() {
    let bytes = encoded(&Run::new(configured()).table);
    let other = TableConfig { moves_windows: Kind::Authorization, ..configured() };
    let error = snapshot::decode(&*bytes, other).err().unwrap();
    assert_eq!(error.action(), Action::Stop);
    let other = TableConfig { value: value(), ..configured() };
    assert!(snapshot::decode(&*bytes, other).is_ok());
}
