//! Judging batches: both evaluators, scores, NULL.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array};

use super::{Random, batch, floats, ints, lens, need, schema};
use crate::lens::micro;

#[test]
fn judges_rows() {
    let schema = schema(&["margin_365d", "txn_30d", "share_abroad_90d"]);
    let text = need(
        "a",
        "enter = \"score >= 0.6 AND txn_30d >= 3\"\nexit = \"score < 0.4\"",
        &[("share_abroad_90d >= 0.2", 0.5), ("txn_30d / 8", 0.2), ("share_abroad_90d", -0.1)],
    ) + &need("b", "enter = \"txn_30d BETWEEN 2 AND 4\"", &[]);
    let lens = lens(&text, &schema);
    let columns = vec![ints(&[900, 1_000, -5]), ints(&[0, 8, 3]), floats(&[0.0, 0.5, 0.199_999_9])];
    let judged = lens.evaluate(&batch(&schema, columns)).unwrap();
    assert_eq!(judged.score_micro(0, 0), 0);
    assert_eq!(judged.score_micro(0, 1), 500_000 + 200_000 - 50_000);
    // Whole numbers divide as whole numbers in SQL: 3 / 8 is 0.
    assert_eq!(judged.score_micro(0, 2), -20_000);
    assert_eq!([0, 1, 2].map(|row| judged.enter(row)), [0, 0b01, 0b10]);
    assert_eq!([0, 1, 2].map(|row| judged.exit(row)), [0b11, 0b10, 0b01]);
    // Tiers: best when and exit, rest when; then the two stages.
    assert_eq!(judged.axes(0), 0b10 | 0b10 << 32 | 0b01 << 48);
    assert_eq!(judged.axes(1), 0b11 | 0b01 << 32 | 0b10 << 48);
    assert_eq!(judged.axes(2) & 0xffff_ffff, 0b10 | 0b01 << 16);
    assert_eq!([0, 1, 2].map(|row| judged.margin(row)), [900, 1_000, -5]);
    assert_eq!(judged.rows(), 3);
}

#[test]
fn null_is_false_and_a_zero_divisor_harms_nobody() {
    let schema = schema(&["margin_365d", "txn_30d", "share_abroad_90d", "spend_30d"]);
    let text = need(
        "a",
        "enter = \"NOT (spend_30d / txn_30d > 10)\"",
        &[("coalesce(spend_30d, 7) = 7", 0.25), ("spend_30d / txn_30d", 0.5)],
    );
    let lens = lens(&text, &schema);
    let spend: ArrayRef = Arc::new(Int64Array::from(vec![Some(100), Some(5), None, Some(200)]));
    let columns = vec![ints(&[0; 4]), ints(&[0, 5, 5, 5]), floats(&[0.0; 4]), spend];
    let judged = lens.evaluate(&batch(&schema, columns)).unwrap();
    assert_eq!([0, 1, 2, 3].map(|row| judged.enter(row)), [0, 1, 0, 0]);
    assert_eq!([0, 1, 2, 3].map(|row| judged.exit(row)), [1, 0, 1, 1]);
    assert_eq!([0, 1, 2, 3].map(|row| judged.score_micro(0, row)), [0, 500_000, 250_000, 500_000]);
}

#[test]
fn numbers_add_the_nearest_millionth() {
    assert_eq!(micro(0.5, 1), 1);
    assert_eq!(micro(2.0, 300_000), 300_000);
    assert_eq!(micro(-2.0, 300_000), 0);
    assert_eq!(micro(f64::NAN, 300_000), 0);
    assert_eq!(micro(1.0 / 3.0, -300_000), -100_000);
}

/// A random comparison, or a combination of some.
fn condition(random: &mut Random, depth: u64, score: bool) -> String {
    if depth > 0 && random.next(3) > 0 {
        let left = condition(random, depth - 1, score);
        let right = condition(random, depth - 1, score);
        return match random.next(4) {
            0 => format!("({left} AND {right})"),
            1 => format!("({left} OR {right})"),
            2 => format!("NOT ({left} OR {right})"),
            _ => format!("NOT {left}"),
        };
    }
    let op = [">=", ">", "<", "<=", "=", "<>"][usize::try_from(random.next(6)).unwrap()];
    let number = i64::try_from(random.next(7)).unwrap() - 3;
    match random.next(if score { 8 } else { 7 }) {
        0 | 1 => format!("txn_30d {op} {number}"),
        2 | 3 => format!("share_abroad_90d {op} {number}.25"),
        4 => format!("{number} {op} margin_365d"),
        5 => format!("txn_30d + margin_365d {op} {number}"),
        6 => format!("txn_30d BETWEEN {number} AND 2"),
        _ => format!("score {op} {}", f64::from(i32::try_from(number).unwrap()) / 4.0),
    }
}

/// Both evaluators give the same for any rules and any values, the odd floats among them.
#[test]
fn the_own_evaluator_agrees_with_datafusion() {
    let schema = schema(&["margin_365d", "txn_30d", "share_abroad_90d"]);
    for seed in 1..60_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = String::new();
        for place in 0..1 + random.next(4) {
            let enter = condition(&mut random, 3, true);
            let exit = condition(&mut random, 2, true);
            let number = format!("txn_30d * {}.5", random.next(3));
            let terms =
                [condition(&mut random, 2, false), condition(&mut random, 1, false), number];
            let terms: Vec<_> = terms.iter().map(|term| (term.as_str(), 0.25)).collect();
            let conditions = format!("enter = \"{enter}\"\nexit = \"{exit}\"");
            text += &need(&format!("n{place}"), &conditions, &terms);
        }
        let lens = lens(&text, &schema);
        let rows = usize::try_from(random.next(200)).unwrap();
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, -2.75, 0.25, 1.25, 1e-9];
        let mut int = || {
            let values = (0..rows).map(|_| i64::try_from(random.next(9)).unwrap() - 4);
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        };
        let (margin, txn) = (int(), int());
        let share = (0..rows).map(|_| odd[usize::try_from(random.next(8)).unwrap()]);
        let share: ArrayRef = Arc::new(Float64Array::from_iter_values(share));
        let batch = batch(&schema, vec![margin, txn, share]);
        let (own, plain) = (lens.evaluate(&batch).unwrap(), lens.evaluate_plain(&batch).unwrap());
        assert_eq!((own.rows(), plain.rows()), (rows, rows), "seed {seed}");
        for row in 0..rows {
            let of = |judged: &crate::Judged| {
                let scores: Vec<i32> =
                    (0..lens.rules().needs.len()).map(|n| judged.score_micro(n, row)).collect();
                (judged.enter(row), judged.exit(row), judged.axes(row), scores)
            };
            assert_eq!(of(&own), of(&plain), "seed {seed}, row {row}\n{text}");
        }
    }
}

#[test]
fn comparisons_are_made_once_and_here() {
    let schema = schema(&["margin_365d", "txn_30d", "share_abroad_90d"]);
    let one = need(
        "a",
        "enter = \"score >= 0.6 AND 3 <= txn_30d\"\nexit = \"score < 0.4 OR NOT txn_30d > 2\"",
        &[("share_abroad_90d >= 0.2", 0.5), ("txn_30d / 8.0", 0.2), ("txn_30d * 0.1", 0.2)],
    );
    assert_eq!(lens(&one, &schema).others(), 0);
}
