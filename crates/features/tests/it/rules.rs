//! Each rule of the ledger, by example.

use cardlens_features::{Origin, Outcome};
use cardlens_model::{Calendar, Category, DAY_MS, Day, EventTime, Kind};

use crate::support::{Entry, HOUR_MS, Run, TODAY, config};

const NAMES: [&str; 7] = [
    "txn_30d",
    "gross_30d",
    "refunds_30d",
    "refund_txn_30d",
    "largest_ticket_30d",
    "cash_30d",
    "payments_30d",
];

/// What the figures of `NAMES` are after records in this and in the opposite order, and how many
/// were not plainly applied.
#[track_caller]
fn check(entries: &[Entry], expected: [i64; 7], outcomes: usize) {
    let reversed: Vec<Entry> = entries.iter().rev().cloned().collect();
    for order in [entries, &reversed] {
        let mut run = Run::new(config(&NAMES));
        run.feed(&[Entry::new("anchor", 0, 0).kind(Kind::Fee)]);
        run.feed(order);
        #[allow(clippy::cast_possible_truncation, reason = "figures of tests are small")]
        let found: Vec<i64> = run.figures("c", TODAY).iter().map(|it| it.1 as i64).collect();
        assert_eq!(found, expected);
        assert_eq!(run.outcomes.len(), outcomes, "{:?}", run.outcomes);
    }
}

#[test]
fn kinds() {
    let it = |kind| Entry::new("a", 1, 500).kind(kind);
    check(&[it(Kind::Purchase)], [1, 500, 0, 0, 500, 0, 0], 0);
    check(&[it(Kind::Cash)], [1, 500, 0, 0, 500, 500, 0], 0);
    check(&[it(Kind::Refund)], [0, 0, 500, 1, 0, 0, 0], 0);
    check(&[it(Kind::Chargeback)], [0, 0, 500, 0, 0, 0, 0], 0);
    check(&[it(Kind::Payment)], [0, 0, 0, 0, 0, 0, 500], 0);
    check(&[it(Kind::Reversal)], [0, 0, 500, 1, 0, 0, 0], 0);
    check(&[it(Kind::Authorization)], [0; 7], 1);
}

#[test]
fn duplicates_are_by_customer_and_id() {
    let it = Entry::new("a", 1, 500);
    check(&[it.clone(), it.clone()], [1, 500, 0, 0, 500, 0, 0], 1);
    check(&[it.clone(), it.clone().of("d")], [1, 500, 0, 0, 500, 0, 0], 0);
    let other_id = Entry { id: "b".into(), ..it.clone() };
    check(&[it, other_id], [2, 1_000, 0, 0, 500, 0, 0], 0);
    let (refund, again) = (Entry::new("r", 2, 70).kind(Kind::Refund), Entry::new("r", 2, 70));
    check(&[refund.clone(), refund], [0, 0, 70, 1, 0, 0, 0], 1);
    let reversal = again.reverses("x");
    check(&[reversal.clone(), reversal], [0, 0, 70, 1, 0, 0, 0], 1);
    // An authorization and its clearing may share an id.
    let clearing = Entry::new("s", 2, 90);
    check(&[clearing.clone(), clearing.kind(Kind::Authorization)], [1, 90, 0, 0, 90, 0, 0], 1);
}

#[test]
fn reversals() {
    let it = |id, ago, amount| Entry::new(id, ago, amount);
    let purchase = it("p", 3, 500);
    let full = it("r", 1, 500).reverses("p");
    check(&[purchase.clone(), full.clone()], [0, 0, 0, 0, 500, 0, 0], 0);
    check(&[purchase.clone(), it("r", 1, 900).reverses("p")], [0, 0, 0, 0, 500, 0, 0], 0);
    let partial = it("q", 2, 120).reverses("p");
    check(&[purchase.clone(), partial.clone()], [1, 380, 0, 0, 500, 0, 0], 0);
    // The earlier of two is honoured, whatever its amount.
    check(&[purchase.clone(), full.clone(), partial.clone()], [1, 380, 0, 0, 500, 0, 0], 1);
    check(&[full.clone(), purchase.clone(), partial.clone()], [1, 380, 0, 0, 500, 0, 0], 1);
    // Without the original too: it is the same reversal, seen twice.
    check(&[full.clone(), partial.clone()], [0, 0, 120, 1, 0, 0, 0], 1);
    let earlier = it("e", 2, 500).reverses("p");
    check(&[purchase.clone(), full.clone(), earlier], [0, 0, 0, 0, 500, 0, 0], 1);
    // On the original's day: outside of the window with it.
    check(&[it("p", 45, 500), full.clone()], [0; 7], 0);
    check(&[it("p", 45, 500), it("r", 1, 100).reverses("p")], [0; 7], 0);
    check(&[it("p", 3, 500).kind(Kind::Cash), full.clone()], [0, 0, 0, 0, 500, 0, 0], 0);
    check(&[it("p", 3, 500).kind(Kind::Cash), partial.clone()], [1, 380, 0, 0, 500, 380, 0], 0);
    check(&[it("p", 3, 500).kind(Kind::Refund), full.clone()], [0; 7], 0);
    check(&[it("p", 3, 500).kind(Kind::Refund), partial.clone()], [0, 0, 380, 1, 0, 0, 0], 0);
    check(&[it("p", 3, 500).kind(Kind::Chargeback), partial], [0, 0, 380, 0, 0, 0, 0], 0);
    // No reversal undoes these: it counts as a refund.
    check(&[it("p", 3, 500).kind(Kind::Payment), full.clone()], [0, 0, 500, 1, 0, 0, 500], 0);
    let of_reversal = it("s", 1, 40).reverses("r");
    check(&[purchase.clone(), full.clone(), of_reversal], [0, 0, 40, 1, 500, 0, 0], 0);
    check(&[it("p", 1, 40).reverses("p")], [0, 0, 40, 1, 0, 0, 0], 0);
    // Of another customer's purchase.
    check(&[purchase.of("d"), full], [0, 0, 500, 1, 0, 0, 0], 0);
}

#[test]
fn a_reversal_of_an_ignored_record_is_ignored_too() {
    let authorization = Entry::new("p", 3, 500).kind(Kind::Authorization);
    let reversal = Entry::new("r", 1, 500).reverses("p");
    let mut run = Run::new(config(&NAMES));
    run.feed(&[authorization, reversal]);
    let ignored = [Kind::Authorization, Kind::Reversal].map(Outcome::Ignored);
    assert_eq!(run.outcomes, [(0, ignored[0]), (1, ignored[1])]);
    assert!(run.take().is_empty());
    // The other way round it is a refund until the authorization is seen.
    let (authorization, reversal) =
        (Entry::new("q", 3, 500).kind(Kind::Authorization), Entry::new("s", 1, 500).reverses("q"));
    run.feed(&[reversal]);
    assert_eq!(run.figures("c", TODAY)[2].1, 500.0);
    run.feed(&[authorization]);
    assert_eq!(run.figures("c", TODAY)[2].1, 0.0);
}

#[test]
fn authorizations_move_windows_when_so_configured() {
    let mut config = config(&NAMES);
    config.moves_windows = Kind::Authorization;
    let mut run = Run::new(config);
    let authorization = Entry::new("p", 0, 500).kind(Kind::Authorization);
    run.feed(&[authorization, Entry::new("q", 0, 500), Entry::new("r", 0, 500).reverses("p")]);
    assert_eq!(run.outcomes, [(1, Outcome::Ignored(Kind::Purchase))]);
    assert_eq!(run.figures("c", TODAY)[..2], [("txn_30d".into(), 0.0), ("gross_30d".into(), 0.0)]);
    assert_eq!(run.take().len(), 2);
}

#[test]
fn one_row_for_each_record_that_counts() {
    let mut run = Run::new(config(&["txn_7d"]));
    let purchase = Entry::new("a", 0, 500);
    run.feed(&[
        purchase.clone(),
        purchase.clone(),
        Entry::new("b", 2, 1),
        Entry::new("r", 0, 500).reverses("a"),
        Entry::new("z", 401, 1),
    ]);
    let found: Vec<_> = run
        .take()
        .into_iter()
        .map(|(point, figures)| match point.origin {
            Origin::Record { record_idx, late, reversal, time } => {
                assert_eq!((point.as_of, point.withheld), (TODAY, false));
                assert!(time.0 >= purchase.time.0 - 2 * DAY_MS);
                (record_idx, late, reversal, point.first, figures[0].1)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [(0, false, false, true, 1.0), (2, true, false, false, 2.0), (3, false, true, false, 1.0)];
    assert_eq!(found, expected);
    assert_eq!(run.outcomes, [(1, Outcome::Duplicate), (4, Outcome::TooLate)]);
}

#[test]
fn lateness_bounds_records_ids_and_reversals() {
    let mut config = config(&NAMES);
    config.allowed_lateness_ms = 2 * DAY_MS;
    let mut run = Run::new(config);
    let noon = |ago: i32, ms: i64| EventTime(i64::from(TODAY.0 - ago) * DAY_MS + 12 * HOUR_MS + ms);
    run.feed(&[
        Entry::new("o", 9, 500),
        Entry::new("a", 0, 1),
        Entry::new("b", 0, 1).at(noon(2, 0)),
        Entry::new("c", 0, 1).at(noon(2, -1)),
        // Its original is forgotten.
        Entry::new("r", 0, 500).reverses("o"),
    ]);
    assert_eq!(run.outcomes, [(3, Outcome::TooLate)]);
    let figures = run.figures("c", TODAY);
    assert_eq!([figures[0].1, figures[2].1], [3.0, 500.0]);
    // What may still come is still known.
    run.feed(&[Entry::new("b", 0, 1).at(noon(2, 0)), Entry::new("s", 0, 1).reverses("b")]);
    assert_eq!(run.outcomes[1..], [(0, Outcome::Duplicate)]);
    assert_eq!(run.figures("c", TODAY)[0].1, 2.0);
}

#[test]
fn withheld_records_count_in_value_alone() {
    let names = [
        "txn_365d",
        "gross_365d",
        "categories_365d",
        "recency_days",
        "tenure_days",
        "value_interchange_365d",
        "margin_quality",
        "merchants_365d",
        "chargebacks_365d",
    ];
    let mut run = Run::new(config(&names));
    let secret = |id, ago: i32| Entry { merchant: 7, ..Entry::new(id, ago, 100_000) };
    let secret = |id, ago| secret(id, ago).category(Category::WITHHELD);
    // Before anything else: there is no open day, and the row is as of the record's own.
    run.feed(&[secret("s", 2)]);
    assert_eq!((run.table.open_day(), run.table.watermark()), (None, None));
    // Later than everything else, and long before.
    run.feed(&[Entry::new("a", 1, 1_000), secret("t", 0), secret("u", 90)]);
    run.feed(&[secret("v", 0).kind(Kind::Chargeback).category(Category::WITHHELD)]);
    assert_eq!(run.table.open_day(), Some(TODAY.plus(-1)));
    let points: Vec<_> = run.take().into_iter().map(|it| (it.0.as_of, it.0.withheld)).collect();
    let day = |ago: i32| TODAY.plus(-ago);
    let expected =
        [(day(2), true), (day(1), false), (day(1), true), (day(1), true), (day(1), true)];
    assert_eq!(points, expected);
    let figures = |run: &mut Run, as_of| -> Vec<f64> {
        run.figures("c", as_of).into_iter().map(|it| it.1).collect()
    };
    // 1.55 % of 201,000: what is later than the as-of day is not seen yet.
    let value = 3_116.0;
    assert_eq!(figures(&mut run, day(1)), [1.0, 1_000.0, 1.0, 0.0, 0.0, value, 1.0, 0.0, 0.0]);
    assert_eq!(figures(&mut run, day(0)), [1.0, 1_000.0, 1.0, 1.0, 1.0, value, 1.0, 0.0, 0.0]);
    // A reversal without an MCC of its own shows nothing but value either.
    run.feed(&[Entry::new("w", 1, 100_000).reverses("s")]);
    let rows = run.take();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].0.withheld);
    assert_eq!(rows[0].1[0].1, 1.0);
}

#[test]
fn rows_after_a_future_record_are_as_of_its_day() {
    let mut config = config(&["txn_1d", "recency_days"]);
    config.settle_ms = 2 * DAY_MS;
    let mut run = Run::new(config);
    run.feed(&[Entry::new("a", 0, 1), Entry::new("b", 1, 1), Entry::new("c", 0, 1).of("d")]);
    assert_eq!(run.table.open_day(), Some(TODAY.plus(-2)));
    run.close(TODAY.plus(-2)).close(TODAY.plus(-1)).close(TODAY).close(TODAY.plus(1));
    let found: Vec<_> = run
        .take()
        .into_iter()
        .map(|(point, figures)| (point.slot.0, point.as_of, figures[0].1))
        .collect();
    let (now, next) = (TODAY, TODAY.plus(1));
    let mut expected = vec![(0, now, 1.0), (0, now, 1.0), (1, now, 1.0)];
    for day in [now, now, now, next] {
        let txn = if day == next { 0.0 } else { 1.0 };
        expected.extend([(0, day, txn), (1, day, txn)]);
    }
    assert_eq!(found, expected);
}

#[test]
fn the_batch_is_cut_before_the_record_that_closes_a_day() {
    let mut config = config(&["txn_1d"]);
    config.settle_ms = 2 * HOUR_MS;
    let mut run = Run::new(config);
    let at =
        |id, hour| Entry::new(id, 0, 1).at(EventTime(i64::from(TODAY.0) * DAY_MS + hour * HOUR_MS));
    let entries = [at("a", 3), at("b", 25), at("c", 26), at("d", 24)];
    let batch = crate::support::batch(&entries, &Calendar::utc());
    let applied = run.table.apply(&batch, 0, &mut run.rows);
    assert_eq!((applied.next, applied.closes), (2, Some(TODAY)));
    // Until the day is closed there is no way on.
    let again = run.table.apply(&batch, 2, &mut run.rows);
    assert_eq!((again.next, again.closes), (2, Some(TODAY)));
    run.table.close_day(TODAY);
    let applied = run.table.apply(&batch, 2, &mut run.rows);
    assert_eq!((applied.next, applied.closes), (4, None));
    assert_eq!(run.table.open_day(), Some(TODAY.plus(1)));
    let rows = run.take();
    let origins: Vec<bool> = rows.iter().map(|it| it.0.origin == Origin::DayClose(TODAY)).collect();
    assert_eq!(origins, [false, false, true, false, false]);
}

#[test]
fn long_ids_and_many_customers() {
    let mut run = Run::new(config(&["txn_1d"]));
    let id = |at: usize| match at % 3 {
        0 => format!("customer with a long name {at}"),
        _ => format!("{at:0>16}"),
    };
    let entries: Vec<Entry> =
        (0..2_000).map(|at| Entry::new("a", 0, 1).of(&id(at % 1_000))).collect();
    run.feed(&entries);
    assert_eq!((run.table.customers(), run.outcomes.len()), (1_000, 1_000));
    for at in 0..1_000 {
        let slot = run.table.slot_of(&id(at)).unwrap();
        assert_eq!(run.table.customer_id(slot), id(at));
    }
    assert_eq!(run.table.slot_of("nobody"), None);
}

#[test]
fn last_instants_are_exact_in_zones_with_clock_changes() {
    let day = i64::from(TODAY.0) * DAY_MS;
    let change = EventTime(day + 1_000 * 3_600);
    for (before, after) in [(3_600_000, 7_200_000), (7_200_000, 3_600_000)] {
        let calendar = Calendar::from_transitions(before, &[(change, after)]);
        let mut config = config(&[]);
        config.calendar = calendar;
        // The hour that comes twice has one local time for two instants.
        for hour in (-30..30).filter(|hour| before < after || !(1..2).contains(hour)) {
            let mut run = Run::new(config.clone());
            let time = EventTime(day + hour * HOUR_MS + 1_234);
            run.feed(&[Entry::new("a", 0, 1).at(time)]);
            let slot = run.table.slot_of("c").unwrap();
            let rows = run.table.windows(slot, run.table.as_of(slot), &[1]);
            assert_eq!(rows[0].last_at, time, "hour {hour}");
        }
    }
}

#[test]
fn what_counts_as_nothing_is_dropped_with_its_id() {
    let mut config = config(&NAMES);
    config.allowed_lateness_ms = 2 * DAY_MS;
    let mut run = Run::new(config);
    let bytes = |run: &Run, part: &str| {
        run.table.memory().into_iter().find(|it| it.0 == part).map_or(0, |it| it.1)
    };
    for ago in (0..300).rev() {
        run.feed(&[
            Entry::new(&format!("a{ago}"), ago, 10).kind(Kind::Authorization),
            Entry::new(&format!("p{ago}"), ago, 10),
            Entry::new(&format!("r{ago}"), ago, 10).reverses(&format!("p{ago}")),
        ]);
    }
    // One posting of 16 bytes a day, and little more than two days of the rest.
    assert!(bytes(&run, "postings") < 300 * 16 * 5 / 4, "{:?}", run.table.memory());
    assert!(bytes(&run, "ids") < 8 * 4 * 40, "{:?}", run.table.memory());
    assert_eq!(run.figures("c", TODAY)[..3].iter().map(|it| it.1).sum::<f64>(), 0.0);
}

#[test]
fn tables_may_move_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<cardlens_features::Table>();
    check::<cardlens_features::Rows>();
}

#[test]
fn quiet_customers_give_their_memory_back() {
    let mut run = Run::new(config(&["txn_400d"]));
    let entries: Vec<Entry> =
        (0..600).map(|at| Entry::new(&format!("t{at}"), 300 - at / 2, 1)).collect();
    run.feed(&entries);
    let bytes = |run: &Run| run.table.memory().iter().skip(2).map(|it| it.1).sum::<usize>();
    let full = bytes(&run);
    run.close(TODAY.plus(300));
    assert!(bytes(&run) < full / 2);
    run.close(Day(TODAY.0 + 500));
    assert_eq!(bytes(&run), 0);
    assert_eq!(run.figures("c", TODAY.plus(500))[0].1, 0.0);
    run.feed(&[Entry::new("again", -501, 1)]);
    assert_eq!(run.figures("c", TODAY.plus(501))[0].1, 1.0);
}
