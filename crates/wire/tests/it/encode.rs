//! What cardlens writes, byte by byte.

use cardlens_model::{
    Axis, Cause, Change, ChangeKind, Day, EventTime, Evidence, Headers, Held, HeldNeed,
    NearestMiss, Now, Number, PartitionId, Position, Reason, Record,
};
use cardlens_wire::{
    Decision, DecisionKind, EVENT_SCHEMA, Field, Origin, current_value, dead_letter,
    decision_value, event_headers, event_value, parse_current, parse_decision,
};

use crate::support::{compact, examples};

const ORIGIN: Origin<'_> =
    Origin { topic: "card.transactions", partition: PartitionId(3), position: Position(451) };

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

/// What a writer appends.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn compared(term: &'static str, figures: [Number; 3]) -> Evidence<'static> {
    let [value, bound, margin] = figures;
    let (feature, op) = term.split_once(" ").unwrap();
    let (op, _) = op.split_once(" ").unwrap();
    Evidence {
        term,
        feature: Some(feature),
        value,
        op: Some(op),
        bound: Some(bound),
        margin: Some(margin),
        weight: None,
    }
}

fn example() -> Change<'static> {
    // 0.17 - 0.15 is not 0.02 in binary; six decimals of it are.
    let floats = |value: f64, bound: f64| [value, bound, value - bound].map(Number::Float);
    let abroad = compared("share_abroad_90d >= 0.15", floats(0.17, 0.15));
    let active = compared("active_days_90d >= 10", [31, 10, 21].map(Number::Int));
    let dining = compared("share_dining_90d >= 0.25", floats(0.21, 0.25));
    Change {
        customer: "C00042",
        axis: Axis::Need,
        kind: ChangeKind::Entered,
        from: None,
        to: Some("leisure_travel"),
        cause: Cause::Transaction,
        causation_id: Some("tx-1"),
        rule: "leisure_travel",
        rules_version: 7,
        lens: "L2",
        score: Some(0.82),
        sequence: 17,
        since: day("2026-06-30"),
        previous_since: None,
        effective_at: EventTime(1_782_828_311_000),
        evidence: vec![Evidence { weight: Some(0.5), ..abroad }, active],
        nearest_miss: Some(NearestMiss { rule: "eating_out", evidence: dining }),
        margin_365d: 18_450,
        team: Some("bonding"),
        action_key: Some("travel-offer"),
        purpose: Some("marketing"),
        now: Now {
            value_tier: Some("mvc"),
            needs: vec!["leisure_travel", "digital_life"],
            lifecycle: Some("active"),
        },
    }
}

#[track_caller]
fn check(name: &str, change: &Change<'_>) {
    let expected = examples("segment-change").into_iter().find(|(file, _)| file == name).unwrap().1;
    assert_eq!(
        String::from_utf8(written(|out| event_value(change, out))).unwrap(),
        compact(&expected)
    );
}

#[test]
fn values_of_changes() {
    check("need-entered.json", &example());
    let tier = compared("margin_365d >= 15000", [18_450, 15_000, 3_450].map(Number::Int));
    let moved = Change {
        axis: Axis::Value,
        kind: ChangeKind::Moved,
        from: Some("mgc"),
        to: Some("mvc"),
        cause: Cause::TimePassed,
        causation_id: None,
        rule: "mvc",
        lens: "L1",
        score: None,
        sequence: 18,
        since: day("2026-07-01"),
        previous_since: Some(day("2026-03-12")),
        effective_at: EventTime(1_782_950_400_000),
        evidence: vec![tier],
        nearest_miss: None,
        action_key: None,
        now: Now { needs: vec!["leisure_travel"], ..example().now },
        ..example()
    };
    check("tier-moved.json", &moved);
    let plain = |term: &'static str, feature: Option<&'static str>, value| Evidence {
        term,
        feature,
        value,
        op: None,
        bound: None,
        margin: None,
        weight: None,
    };
    let left = Change {
        kind: ChangeKind::Left,
        from: Some("eating_out"),
        to: None,
        cause: Cause::Reversal,
        rule: "eating_out",
        // Rounds to zero, and to no negative one.
        score: Some(-0.000_000_1),
        sequence: 19,
        since: day("2026-07-02"),
        previous_since: Some(day("2026-05-01")),
        effective_at: EventTime(1_782_982_801_500),
        evidence: vec![
            plain("score < 0.4", None, Number::Bool(true)),
            plain("recency_days IS NULL", Some("recency_days"), Number::Null),
        ],
        nearest_miss: None,
        margin_365d: -120,
        team: None,
        action_key: None,
        purpose: None,
        now: Now::default(),
        ..example()
    };
    check("need-left.json", &left);
}

#[test]
fn floats_have_six_decimals_and_no_surprise() {
    let shown = |score: f64| {
        let change = Change { score: Some(score), ..example() };
        let value = written(|out| event_value(&change, out));
        let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
        value["confidence"].to_string()
    };
    for (score, expected) in [
        (0.1 + 0.2, "0.3"),
        (2.0 / 3.0, "0.666667"),
        (-1.0 / 3.0, "-0.333333"),
        (1.0, "1.0"),
        (123_456_789.123_456_7, "123456789.123457"),
        (f64::NAN, "null"),
        (f64::INFINITY, "null"),
    ] {
        assert_eq!(shown(score), expected);
    }
}

#[test]
fn headers_of_a_change() {
    let change = example();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_type", "cardlens.segment.changed.v1"),
        ("ce_source", "/cardlens/cards"),
        ("ce_id", "C00042:17"),
        ("ce_subject", "C00042"),
        ("ce_partitionkey", "C00042"),
        ("ce_time", "2026-06-30T14:05:11Z"),
        ("ce_recordedtime", "2026-06-30T14:05:11.250Z"),
        ("ce_sequence", "00000000000000000017"),
        ("ce_causationid", "tx-1"),
        ("ce_dataschema", EVENT_SCHEMA),
        ("content-type", "application/json"),
        ("ce_dataclassification", "confidential"),
        ("cardlens_source", "card.transactions/3/451"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let headers = |change: &Change<'_>, origin: Option<&Origin<'_>>| {
        let mut all = Vec::new();
        let mut each = |name: &str, value: &[u8]| all.push((name.to_owned(), value.to_vec()));
        event_headers(change, "cards", 1_782_828_311_250, origin, &mut each);
        all
    };
    assert_eq!(headers(&change, Some(&ORIGIN)), expected);
    let change = Change { causation_id: None, ..change };
    let headers = headers(&change, None);
    let absent = ["ce_causationid", "cardlens_source"];
    assert!(headers.iter().all(|(name, _)| !absent.contains(&name.as_str())));
    assert_eq!(headers.len(), expected.len() - absent.len());
}

#[test]
fn current_segments_round_trip() {
    let need =
        |need: &'static str, score, since| HeldNeed { need: need.into(), score, since: day(since) };
    let full = Held {
        value_tier: Some(("mvc".into(), day("2026-07-01"))),
        lifecycle: Some(("active".into(), day("2025-01-09"))),
        needs: vec![
            need("leisure_travel", 0.82, "2026-06-30"),
            need("digital_life", 1.0, "2026-02-11"),
        ],
        sequence: 18,
        margin_365d: 18_000,
        rules_version: 7,
    };
    let empty = Held { rules_version: 7, ..Held::default() };
    let expected = examples("customer-segments");
    for ((name, customer), held) in
        [("full.json", "C00042"), ("empty.json", "C00043")].into_iter().zip([full, empty])
    {
        let value = written(|out| current_value(customer, &held, out));
        let example = &expected.iter().find(|(file, _)| file == name).unwrap().1;
        assert_eq!(std::str::from_utf8(&value).unwrap(), compact(example));
        assert_eq!(parse_current(&value).unwrap(), (customer.to_owned(), held));
    }
    for wrong in ["", "{}", "null", "[]", r#"{"customer_id":"C"}"#] {
        assert!(parse_current(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let value = compact(&expected[1].1).replace("2026-07-01", "2026-02-30");
    let error = parse_current(value.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "parse current segments: `2026-02-30` is no day");
}

#[test]
fn decisions_round_trip() {
    let closed = DecisionKind::DayClosed { day: day("2026-06-30") };
    let adopted = DecisionKind::RulesAdopted { version: 8, digest: "0f".repeat(16) };
    let expected = [
        r#"{"decision":"day_closed","partition":3,"position":451,"day":"2026-06-30"}"#,
        r#"{"decision":"rules_adopted","partition":3,"position":451,"version":8,"digest":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}"#,
    ];
    for (what, expected) in [closed, adopted].into_iter().zip(expected) {
        let decision = Decision { partition: PartitionId(3), position: Position(451), what };
        let value = written(|out| decision_value(&decision, out));
        assert_eq!(std::str::from_utf8(&value).unwrap(), expected);
        assert_eq!(parse_decision(&value).unwrap(), decision);
    }
    for wrong in [r#"{"decision":"moved","partition":3,"position":451}"#, "", "{}"] {
        assert!(parse_decision(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(parse_decision(expected[0].replace("06-30", "06-31").as_bytes()).is_err());
}

/// Headers of a producer.
struct Sent(Vec<(String, Vec<u8>)>);

impl Headers for Sent {
    fn to_vec(&self) -> Vec<(String, Vec<u8>)> {
        self.0.clone()
    }
}

fn sent(name: &str, value: &str) -> Sent {
    Sent(vec![(name.to_owned(), value.as_bytes().to_vec())])
}

#[test]
fn dead_letters() {
    let trace = sent("traceparent", "00-4111111111111112-01");
    let record = Record {
        position: Position(451),
        appended_at: Some(5),
        key: Some(b"4111111111111112"),
        value: b"{\"card\":\"4111111111111112\"}",
        headers: &trace,
    };
    for reason in Reason::ALL {
        let letter = dead_letter(&record, reason, "cards", &ORIGIN);
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        assert_eq!(header("cardlens_reason").as_deref(), Some(reason.name()));
        assert_eq!(header("__connect.errors.topic").as_deref(), Some("card.transactions"));
        assert_eq!(header("__connect.errors.partition").as_deref(), Some("3"));
        assert_eq!(header("__connect.errors.offset").as_deref(), Some("451"));
        for name in [
            "connector.name",
            "task.id",
            "stage",
            "class.name",
            "exception.class.name",
            "exception.message",
        ] {
            assert!(header(&format!("__connect.errors.{name}")).is_some(), "{name}");
        }
        if reason.keeps_original() {
            assert_eq!(letter.key.as_deref(), record.key);
            assert_eq!(letter.value.as_deref(), Some(record.value));
            assert_eq!(letter.headers[0], trace.0[0]);
        } else {
            assert_eq!((&letter.key, &letter.value), (&None, &None));
            let all = format!("{:?}", letter.headers);
            assert!(!all.contains("4111") && header("traceparent").is_none());
        }
    }
}

/// Ways to write one card number in JSON. In each the digits 1111 follow one another somewhere.
const WRITTEN: [&str; 9] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "\\u0034111111111111111",
    "\\u00e94111111111111111",
    "4111\\u002d1111\\u002D1111\\u002d1111",
    "\\\\u0034111111111111111",
    "\\u005cu0034111111111111111",
    "4.111111111111111E15",
];

/// Whatever a record is rejected for, and wherever in it a card number stands, none is written.
#[test]
fn no_dead_letter_has_a_card_number() {
    let none = sent("a", "b");
    let check = |key: Option<&str>, value: &str, headers: &Sent, kept: bool| {
        let record = Record {
            position: Position(451),
            appended_at: None,
            key: key.map(str::as_bytes),
            value: value.as_bytes(),
            headers,
        };
        for reason in Reason::ALL.into_iter().filter(|reason| reason.keeps_original()) {
            let letter = dead_letter(&record, reason, "cards", &ORIGIN);
            assert_eq!(letter.value.is_some(), kept, "{key:?} {value} {:?}", headers.0);
            let added = letter.headers.iter().filter(|(name, _)| name != "a").count();
            assert_eq!(added, if kept && headers.0[0].0 != "a" { 11 } else { 10 });
            if !kept {
                let all = letter.headers.iter().map(|(_, value)| String::from_utf8_lossy(value));
                let all: String = all.collect();
                assert!(letter.key.is_none() && !all.contains("1111"), "{all}");
                assert!(all.contains("the original is left out") && all.contains(reason.name()));
            }
        }
    };
    let harmless = ["4111111111111112", "\\u0034111111111111112", "4.111111111111112E15"];
    for (written, kept) in
        WRITTEN.map(|card| (card, false)).into_iter().chain(harmless.map(|text| (text, true)))
    {
        for field in Field::ALL.map(Field::name).into_iter().chain(["memo", "Amount"]) {
            check(None, &format!("{{\"{field}\":\"{written}\"}}"), &none, kept);
            check(None, &format!("{{\"a\":[{{\"{field}\":{written}}}]}}"), &none, kept);
        }
        check(None, &format!("{{\"a\":{{\"{written}\":1}}}}"), &none, kept);
        check(None, &format!("{{}} {written}"), &none, kept);
        check(None, &format!("no JSON, {written},x"), &none, kept);
        check(Some(written), "{}", &none, kept);
        check(Some("C1"), "{}", &sent("a", &format!("<{written}>")), kept);
        check(Some("C1"), "{}", &sent(&format!("x{written}"), "b"), kept);
    }
}
