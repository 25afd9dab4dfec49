//! What customers get does not depend on how sweeps and batches are cut.

use cardlens_features::{Point, Slot};
use cardlens_model::{DAY_MS, EventTime};

use crate::support::{Entry, HOUR_MS, Run, TODAY, config};

type Row = (Point, Vec<(String, f64)>);

/// 40 customers over 120 days, a few hours apart, some late.
fn entries() -> Vec<Entry> {
    let mut seed = 3_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((seed >> 33) % below).unwrap()
    };
    let start = i64::from(TODAY.0) * DAY_MS;
    (0..600)
        .map(|at| {
            let late = if next(5) == 0 { next(20) * DAY_MS } else { 0 };
            let time = EventTime(start + at * 5 * HOUR_MS + next(3) * HOUR_MS - late);
            let customer = format!("c{}", next(40));
            Entry::new(&format!("t{at}"), 0, next(9_000)).at(time).of(&customer)
        })
        .collect()
}

/// Rows by customer, in their order; record numbers are those of batches, and left out.
fn by_customer(rows: Vec<Row>, run: &Run) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = rows
        .into_iter()
        .map(|(point, figures)| {
            let origin = match point.origin {
                cardlens_features::Origin::Record { time, late, reversal, .. } => {
                    format!("{time} {late} {reversal}")
                }
                other => format!("{other:?}"),
            };
            let text = format!("{origin} {} {} {figures:?}", point.as_of, point.first);
            (run.table.customer_id(point.slot).to_owned(), text)
        })
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

fn run(slice: Option<usize>, piece: usize) -> Vec<(String, String)> {
    let mut config = config(&["txn_7d", "spend_30d", "margin_365d", "recency_days", "rise_7d"]);
    config.settle_ms = 2 * HOUR_MS;
    config.allowed_lateness_ms = 30 * DAY_MS;
    let mut run = Run::new(config);
    run.slice = slice;
    for piece in entries().chunks(piece) {
        run.feed(piece);
    }
    run.slice = Some(7);
    let last = run.table.open_day().unwrap().plus(3);
    run.close(last);
    let rows = run.take();
    by_customer(rows, &run)
}

#[test]
fn sweeps_cut_differently_give_the_same_rows() {
    let expected = run(Some(1_000), 1_000);
    assert!(expected.len() > 40 * 100);
    for (slice, piece) in [(Some(1), 1_000), (Some(3), 7), (Some(64), 1), (Some(1_000), 65)] {
        assert_eq!(run(slice, piece), expected, "slices of {slice:?}, batches of {piece}");
    }
}

#[test]
fn days_missed_by_all_sweeps_are_made_up_for() {
    assert_eq!(run(None, 1_000), run(Some(1_000), 1_000));
    assert_eq!(run(None, 13), run(Some(5), 1_000));
}

#[test]
fn a_sweep_over_many_missed_days_pauses() {
    let mut run = Run::new(config(&["txn_7d"]));
    run.slice = None;
    let entries: Vec<Entry> =
        (0..10).map(|at| Entry::new("a", 0, 1).of(&format!("c{at}"))).collect();
    run.feed(&entries);
    let _ = run.take();
    run.table.close_day(TODAY.plus(99));
    let next = run.table.sweep(Slot(0), 8, &mut run.rows);
    assert_eq!((next, run.rows.len()), (Slot(1), 100));
    let next = run.table.sweep(next, 500, &mut run.rows);
    assert_eq!((next, run.rows.len()), (Slot(6), 600));
    assert_eq!(run.table.sweep(next, 500, &mut run.rows), Slot(10));
}

#[test]
fn a_day_is_closed_once() {
    let mut run = Run::new(config(&["txn_7d"]));
    run.feed(&[Entry::new("a", 0, 1)]);
    run.close(TODAY).close(TODAY).close(TODAY.plus(-5));
    assert_eq!(run.table.open_day(), Some(TODAY.plus(1)));
    assert_eq!(run.table.watermark(), Some(EventTime(i64::from(TODAY.0 + 1) * DAY_MS)));
    assert_eq!(run.take().len(), 2);
}
