//! Rule files: what they may say, and what is said about those that do not.

use super::{files, need, rules, schema};
use crate::{Lens, REVIEW, RuleSet, Standing, WITHHELD_DEFAULT};

/// The problems of a rule set, one per line.
#[track_caller]
fn refused(needs: &str, expected: &[&str]) {
    let problems = RuleSet::parse(&files(needs)).unwrap_err();
    let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(got, expected);
}

#[test]
fn reads_every_key() {
    let rules = rules(
        r#"
[[need]]
name = "leisure_travel"
label = "Travels for leisure"
owner = "crm"
lens = "L2"
purpose = "marketing"
description = "Pays abroad."
enter = "score >= 0.6 AND active_days_90d >= 10"
exit = "score < 0.4"
min_hold = "14d"
confirm = "3d"
answers = ["frequent_traveller"]
action_key = "travel-offer"
bundle = ["fx-free card", "travel insurance"]
expanded = ["lounge"]
[[need.evidence]]
term = "share_abroad_90d >= 0.15"
weight = 0.5
[[need.evidence]]
term = "countries_90d / 4.0"
weight = 0.25
[[need.test]]
name = "three weeks in Spain"
given = "fixtures/spain.csv"
at = "2026-07-01T00:00:00Z"
expect = { C1 = "entered", C2 = "none" }
"#,
    );
    let need = &rules.needs[0];
    assert_eq!((need.hold.min_hold_days, need.hold.confirm_days), (14, 3));
    assert_eq!(need.bundle, ["fx-free card", "travel insurance"]);
    assert_eq!(need.terms[1].weight_micro, 250_000);
    let test = &need.tests[0];
    let expect = test.expect.iter().map(|e| (&e.customer[..], e.standing));
    assert!(expect.eq([("C1", Standing::Entered), ("C2", Standing::None)]));
    let places = [test.spot, test.expect[1].spot].map(|s| rules.problem(s, "m".into()).to_string());
    assert_eq!(places, ["needs.toml:24:9: m", "needs.toml:27:34: m"]);
    assert_eq!(rules.version, 3);
    let names = ["active_days_90d", "countries_90d", "margin_365d", "share_abroad_90d", "txn_30d"];
    assert_eq!(rules.feature_names(), names);
}

#[test]
fn reports_every_fault_at_once() {
    let text = r#"[[need]]
name = "Travel"
label = "x"
lens = "L9"
purpose = "credit"
entr = "score >= 0.6"
min_hold = "14 days"
[[need.evidence]]
term = "share_abroad_90d >= "
weight = 11
colour = "red"
"#;
    refused(
        text,
        &[
            "needs.toml:1:1: [[need]] needs `enter`",
            "needs.toml:2:9: `Travel` is no name: a letter, then a-z, 0-9 and underscores",
            "needs.toml:4:9: `lens` is one of L0, L1, L2, L3, L4, L5, L6, not `L9` (did you mean `L0`?)",
            "needs.toml:5:12: needs may not be used for credit decisions \
             (purposes are marketing, service, retention)",
            "needs.toml:6:1: [[need]] has no key `entr` (did you mean `enter`?)",
            "needs.toml:7:13: `14 days` is no number of days from 0 to 400 (write \"14d\")",
            "needs.toml:9:29: Expected: an expression, found: EOF",
            "needs.toml:10:10: `weight` lies between -10 and 10",
            "needs.toml:11:1: [[need.evidence]] has no key `colour`",
        ],
    );
    refused("[[need]\n", &["needs.toml:1:8: unclosed array table, expected `]`"]);
    refused(
        "need = 3",
        &["needs.toml:1:8: `need` is a list of tables, not an integer (write [[need]])"],
    );
}

#[test]
fn reports_faults_of_tests() {
    let text = need("a", "enter = \"score > 1\"", &[]);
    let test = "[[need.test]]\nname = \"n\"\ngiven = \"g.csv\"\nat = \"2026-07-01T00:00:00Z\"\n";
    refused(
        &format!(
            "{text}{test}expect = {{ C1 = \"enterd\" }}\n{test}expect = {{}}\n{test}colour = 1\n"
        ),
        &[
            "needs.toml:11:18: expected is one of none, entered, left, not `enterd`",
            "needs.toml:12:1: [[need.test]] expects nothing (write expect = { C1 = \"entered\" })",
            "needs.toml:17:1: [[need.test]] expects nothing (write expect = { C1 = \"entered\" })",
            "needs.toml:21:1: [[need.test]] has no key `colour`",
        ],
    );
}

#[test]
fn reports_faults_of_the_whole() {
    let one = need("a", "enter = \"score > 1\"", &[]);
    refused(&format!("{one}{one}"), &["needs.toml:7:1: there are two called `a`"]);
    refused(
        &need("a", "enter = \"score > 1\"", &[("score > 2", 1.0)]),
        &["needs.toml:8:9: `score` is known in `enter` and `exit` of a need only"],
    );
    refused(
        "[[category]]\nname = \"food\"\nmcc = [\"5400-5499\", \"54\"]\n[[category]]\nname = \"b\"\n\
         mcc = [\"5499\"]\n[value]\n[[value.interchange]]\ncategory = \"foood\"\nbasis_points = 5\n",
        &[
            "needs.toml:3:22: `54` is neither a code nor a range of codes \
             (write \"5411\" or \"5400-5499\")",
            "rules.toml: range 5499-5499 of `b` overlaps another",
        ],
    );
    let problems = RuleSet::parse(&[]).unwrap_err();
    assert_eq!(problems[0].to_string(), "rules.toml: the rule set needs `version`");
}

#[test]
fn finds_columns_and_types_when_compiled() {
    let schema = schema(&["margin_365d", "txn_30d", "share_abroad_90d"]);
    let text = need(
        "a",
        "enter = \"score >= 0.5 AND txn_30 > 1\"\nexit = \"txn_30d\"",
        &[("share_abroad_90d > 0.1", 1.0), ("txn_30d AND true", 1.0)],
    );
    let problems = Lens::compile(rules(&text), &schema).unwrap_err();
    let got: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(got.len(), 3, "{got:#?}");
    assert!(got[0].starts_with("needs.toml:12:9: "), "{}", got[0]);
    assert_eq!(got[1], "needs.toml:7:9: a number stands where a condition is needed");
    assert_eq!(got[2], "needs.toml:6:27: there is no feature `txn_30` (did you mean `txn_30d`?)");
    let problems = rules(&text).unknown_feature("txn_30", Some("txn_30d"));
    assert_eq!(problems[0].to_string(), got[2]);
}

#[test]
fn the_digest_changes_with_any_byte() {
    let one = rules("");
    assert_eq!(one.digest, rules("").digest);
    assert_ne!(one.digest, rules(" ").digest);
    assert_eq!(one.digest.len(), 32);
}

#[test]
fn the_default_rules_are_sound() {
    let rules = RuleSet::parse(&RuleSet::default_files()).unwrap();
    let names = rules.feature_names();
    let schema = schema(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(Lens::compile(rules.clone(), &schema).is_ok());
    let categories = rules.category_table(&WITHHELD_DEFAULT);
    assert_eq!(categories.names().len(), 54);
    assert_eq!(categories.name(categories.of(5411)), "groceries");
    assert_eq!(categories.name(categories.of(8062)), "withheld");
    assert!(REVIEW.iter().all(|mcc| !WITHHELD_DEFAULT.contains(mcc)));
}
