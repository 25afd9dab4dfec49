//! Standings and explanations.

use arrow_array::RecordBatch;
use cardlens_model::{Axis, Cause, ChangeKind, Day, EventTime, Number};

use super::{Random, batch, floats, ints, lens, need, schema};
use crate::{
    Judged, Lens, Membership, Move, Point, Seen, Standings, Step, Tip, margin_step, step_margin,
};

const COLUMNS: [&str; 3] = ["margin_365d", "txn_30d", "share_abroad_90d"];

fn travel() -> String {
    let conditions = "enter = \"score >= 0.6 AND txn_30d >= 3\"\nexit = \"score < 0.4\"\n\
                      min_hold = \"10d\"\naction_key = \"travel-offer\"";
    need("travel", conditions, &[("share_abroad_90d >= 0.2", 0.5), ("txn_30d >= 4", 0.3)])
        + &need(
            "busy",
            "enter = \"score >= 0.9\"",
            &[("txn_30d >= 8", 0.5), ("txn_30d / 9.0", 0.5)],
        )
}

fn row(lens: &Lens, margin: i64, txn: i64, share: f64) -> (RecordBatch, Judged) {
    let batch =
        batch(&super::schema(&COLUMNS), vec![ints(&[margin]), ints(&[txn]), floats(&[share])]);
    let judged = lens.evaluate(&batch).unwrap();
    (batch, judged)
}

fn point(day: i32) -> Point {
    Point { slot: 0, row: 0, as_of: Day(day), judge_needs: true, day_closed: true }
}

#[test]
fn changes_come_in_order_with_their_numbers() {
    let lens = lens(&travel(), &schema(&COLUMNS));
    let mut standings = Standings::new(&lens);
    let mut moves = Vec::new();
    let (_, judged) = row(&lens, 1_500, 9, 0.3);
    assert!(standings.observe(point(100), &judged, &mut moves));
    let told: Vec<_> =
        moves.iter().map(|m| (m.axis, m.kind, m.from, m.to, m.sequence, m.initial)).collect();
    assert_eq!(
        told,
        [
            (Axis::Value, ChangeKind::Entered, None, Some(0), 1, true),
            (Axis::Lifecycle, ChangeKind::Entered, None, Some(0), 2, true),
            (Axis::Need, ChangeKind::Entered, None, Some(0), 3, false),
            (Axis::Need, ChangeKind::Entered, None, Some(1), 4, false),
        ]
    );
    // `now` is what holds right after each change, not after the row.
    assert_eq!(moves.iter().map(|m| m.now.needs).collect::<Vec<_>>(), [0, 0, 1, 3]);
    assert!(!standings.observe(point(100), &judged, &mut moves));

    moves.clear();
    let (_, judged) = row(&lens, 820, 0, 0.0);
    assert!(standings.observe(Point { judge_needs: false, ..point(105) }, &judged, &mut moves));
    assert!(moves.is_empty(), "only the margin moved; needs were not judged");
    assert!(standings.observe(point(105), &judged, &mut moves));
    let told: Vec<_> = moves.iter().map(|m| (m.axis, m.kind, m.rule(), m.sequence)).collect();
    assert_eq!(
        told,
        [(Axis::Lifecycle, ChangeKind::Moved, 1, 5), (Axis::Need, ChangeKind::Left, 1, 6)]
    );
    let held = standings.held(0, lens.rules(), Some((&judged, 0)));
    assert_eq!(held.value_tier, Some(("best".into(), Day(100))));
    assert_eq!(held.lifecycle, Some(("lapsed".into(), Day(105))));
    assert_eq!(held.needs.len(), 1);
    assert_eq!((held.needs[0].since, held.needs[0].score), (Day(100), 0.0));
    assert_eq!((held.sequence, held.margin_365d, held.rules_version), (6, 820, 3));

    // What is published can be taken over, and judged on as before.
    let mut other = Standings::new(&lens);
    other.adopt(0, &held, lens.rules());
    for standings in [&mut standings, &mut other] {
        moves.clear();
        assert!(!standings.observe(point(109), &judged, &mut moves));
        assert!(standings.observe(point(110), &judged, &mut moves));
        assert_eq!((moves[0].previous_since, moves[0].since), (Some(Day(100)), Day(110)));
        assert_eq!((moves[0].from, moves[0].to, moves[0].sequence), (Some(0), None, 7));
    }
    let mut gone = held;
    gone.needs[0].need = "unheard".into();
    other.adopt(0, &gone, lens.rules());
    assert_eq!(other.placement(0).needs, 0);
}

/// The packed store does what the plain state machines do, and survives its own parts.
#[test]
fn standings_equal_the_state_machines() {
    let conditions = |hold, confirm| {
        format!(
            "enter = \"score >= 0.75\"\nexit = \"score < 0.5\"\nmin_hold = \"{hold}d\"\n\
             confirm = \"{confirm}d\""
        )
    };
    let terms = [("share_abroad_90d", 1.0)];
    let text = need("a", &conditions(0, 0), &terms)
        + &need("b", &conditions(5, 0), &terms)
        + &need("c", &conditions(4, 3), &terms);
    let lens = lens(&text, &schema(&COLUMNS));
    let holds: Vec<_> = lens.rules().needs.iter().map(|need| need.hold).collect();
    for seed in 1..40_u64 {
        let mut random = Random(seed << 32 | 77);
        let mut standings = Standings::new(&lens);
        let mut plain = [[Membership::default(); 3]; 5];
        let mut suppressed = [0; 2];
        for day in 0..120 {
            let slot = u32::try_from(random.next(5)).unwrap();
            let share = [0.2, 0.6, 0.9][usize::try_from(random.next(3)).unwrap()];
            let (_, judged) = row(&lens, 5, 1, share);
            let mut moves: Vec<Move> = Vec::new();
            standings.observe(Point { slot, ..point(day / 2) }, &judged, &mut moves);
            let mut expected = Vec::new();
            for (need, hold) in holds.iter().enumerate() {
                let seen = Seen { enter: share > 0.8, exit: share < 0.5 };
                let state = &mut plain[slot as usize][need];
                let (after, step) = state.observe(seen, *hold, Day(day / 2));
                *state = after;
                match step {
                    Step::Change => expected.push((need, after.held)),
                    Step::Suppressed(reason) => suppressed[reason as usize] += 1,
                    Step::Stay => {}
                }
            }
            let got: Vec<_> = moves
                .iter()
                .filter(|m| m.axis == Axis::Need)
                .map(|m| (m.rule(), m.kind == ChangeKind::Entered))
                .collect();
            assert_eq!(got, expected, "seed {seed}, day {day}");
            if day % 17 == 0 {
                let parts = standings.to_parts();
                let restored = Standings::from_parts(&lens, &parts).unwrap();
                assert_eq!(restored.to_parts(), parts);
                let counts = standings.take_suppressed();
                suppressed = [suppressed[0] - counts[0], suppressed[1] - counts[1]];
                standings = restored;
            }
        }
        assert_eq!(standings.take_suppressed(), suppressed, "seed {seed}");
    }
    let mut parts = Standings::new(&lens).to_parts();
    parts.held.push(1);
    assert!(Standings::from_parts(&lens, &parts).is_err());
}

#[test]
fn explains_a_change() {
    let lens = lens(&travel(), &schema(&COLUMNS));
    let mut standings = Standings::new(&lens);
    let mut moves = Vec::new();
    let (batch, judged) = row(&lens, 18_450, 5, 0.123_456_789);
    standings.observe(point(100), &judged, &mut moves);
    assert_eq!(moves.len(), 2);
    let (batch_in, judged_in) = row(&lens, 18_450, 5, 0.323_456_789);
    standings.observe(point(101), &judged_in, &mut moves);
    let tip = Tip {
        customer: "C1",
        cause: Cause::Transaction,
        causation_id: Some("T9"),
        effective_at: EventTime(5),
    };
    let change = lens.assemble(&moves[2], &tip, &batch_in, &judged_in).unwrap();
    assert_eq!((change.rule, change.to), ("travel", Some("travel")));
    assert_eq!((change.score, change.lens, change.sequence), (Some(0.8), "L2", 3));
    assert_eq!(change.action_key, Some("travel-offer"));
    assert_eq!((change.team, change.purpose), (Some("bonding"), Some("marketing")));
    assert_eq!(change.now.needs, ["travel"]);
    assert_eq!(change.now.value_tier, Some("best"));
    let evidence: Vec<_> =
        change.evidence.iter().map(|e| (e.term, e.value, e.margin, e.weight)).collect();
    assert_eq!(
        evidence,
        [
            (
                "share_abroad_90d >= 0.2",
                Number::Float(0.323_457),
                Some(Number::Float(0.123_457)),
                Some(0.5)
            ),
            ("txn_30d >= 4", Number::Int(5), Some(Number::Int(1)), Some(0.3)),
            ("txn_30d >= 3", Number::Int(5), Some(Number::Int(2)), None),
        ]
    );
    assert_eq!(
        (change.evidence[0].op, change.evidence[0].bound),
        (Some(">="), Some(Number::Float(0.2)))
    );
    // A number that counts in full from 9 on is shown as what is missing until then.
    let miss = change.nearest_miss.unwrap();
    assert_eq!((miss.rule, miss.evidence.term), ("busy", "txn_30d >= 8"));

    // Before, the need was the nearest miss, by the share.
    let change = lens.assemble(&moves[0], &tip, &batch, &judged).unwrap();
    let miss = change.nearest_miss.unwrap();
    assert_eq!(miss.rule, "travel");
    assert_eq!(miss.evidence.term, "share_abroad_90d >= 0.2");
    assert_eq!(miss.evidence.margin, Some(Number::Float(-0.076_543)));
    assert_eq!(change.evidence[0].term, "margin_365d >= 1000");
    assert_eq!((change.lens, change.score), ("L1", None));

    let all = lens.explain(&batch, &judged, 0).unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!((all[4].rule, all[4].enter, all[4].score), ("travel", false, Some(0.3)));
    let portion = &all[5].evidence[1];
    assert_eq!((portion.value, portion.bound), (Number::Int(5), Some(Number::Float(9.0))));
    assert_eq!((portion.op, portion.margin), (Some(">="), Some(Number::Float(-4.0))));
}

#[test]
fn a_need_that_is_held_says_what_it_would_be_left_by() {
    let both = need(
        "both",
        "enter = \"score >= 0.5\"\nexit = \"score < 0.4 AND txn_30d < 4\"",
        &[("share_abroad_90d", 1.0)],
    );
    let lens = lens(&(travel() + &both), &schema(&COLUMNS));
    let check = |(txn, share), expected: [(&str, f64); 3]| {
        let (batch, judged) = row(&lens, 0, txn, share);
        for (need, (term, margin)) in expected.into_iter().enumerate() {
            let exit = lens.nearest_exit(need, &batch, &judged, 0).unwrap().unwrap();
            let told = match exit.margin.unwrap() {
                Number::Int(margin) => f64::from(i32::try_from(margin).unwrap()),
                Number::Float(margin) => margin,
                other => panic!("{other:?}"),
            };
            assert_eq!((exit.term, told), (term, margin), "need {need} of {txn}, {share}");
        }
    };
    // An exit by the score; without an exit, whatever of `enter` fails first; of an exit of two
    // conditions the one that takes longer, against its bound.
    check((9, 0.3), [("score < 0.4", 0.4), ("score >= 0.9", 0.1), ("txn_30d < 4", 5.0)]);
    check((6, 0.8), [("score < 0.4", 0.4), ("score >= 0.9", -0.566_667), ("score < 0.4", 0.4)]);
    // Past its exit, and held for a while all the same.
    check((3, 0.0), [("score < 0.4", -0.4), ("score >= 0.9", -0.733_333), ("txn_30d < 4", -1.0)]);
}

#[test]
fn a_move_down_says_what_ended() {
    let lens = lens(&travel(), &schema(&COLUMNS));
    let mut standings = Standings::new(&lens);
    let mut moves = Vec::new();
    standings.observe(point(1), &row(&lens, 1_000, 0, 0.0).1, &mut moves);
    standings.observe(point(2), &row(&lens, 900, 0, 0.0).1, &mut moves);
    assert_eq!(moves.len(), 2, "between the bounds the tier is kept");
    let (batch, judged) = row(&lens, 799, 0, 0.0);
    standings.observe(point(3), &judged, &mut moves);
    let tip = Tip {
        customer: "C1",
        cause: Cause::TimePassed,
        causation_id: None,
        effective_at: EventTime(0),
    };
    let change = lens.assemble(&moves[2], &tip, &batch, &judged).unwrap();
    assert_eq!((change.from, change.to), (Some("best"), Some("rest")));
    assert_eq!((change.kind, change.rule), (ChangeKind::Moved, "rest"));
    assert_eq!(change.evidence.len(), 1);
    assert_eq!(change.evidence[0].term, "margin_365d < 800");
    assert_eq!(change.evidence[0].margin, Some(Number::Int(-1)));
    assert_eq!(change.team, Some("retention"));
}

#[test]
fn other_rules_keep_what_kept_its_name() {
    let old = lens(&travel(), &schema(&COLUMNS));
    let mut standings = Standings::new(&old);
    standings.observe(point(50), &row(&old, 2_000, 9, 0.5).1, &mut Vec::new());
    let renamed =
        need("calm", "enter = \"txn_30d < 2\"", &[]) + &travel().replace("busy", "hectic");
    let new = lens(&renamed, &schema(&COLUMNS));
    let under = standings.under(old.rules(), &new);
    assert_eq!(under.placement(0).needs, 0b010);
    assert_eq!(under.membership(0, 1).since, Day(50));
    assert_eq!((under.sequence(0), under.placement(0).tier), (4, Some(0)));
}

#[test]
fn margins_have_two_digits() {
    let mut last = i16::MIN;
    for margin in (-200_000..200_000).chain([1_000_000_000_000, i64::MAX]) {
        let step = margin_step(margin);
        assert!(step >= last, "{margin}");
        last = step;
        assert_eq!(margin_step(step_margin(step)), step, "{margin}");
    }
    let shown = [0, 7, -99, 104, 105, 994, 995, 18_450, -18_550, 9_949_999]
        .map(|margin| step_margin(margin_step(margin)));
    assert_eq!(shown, [0, 7, -99, 100, 110, 990, 1_000, 18_000, -19_000, 9_900_000]);
    assert_eq!(step_margin(margin_step(i64::MIN)), -9_200_000_000_000_000_000);
}
