//! Another rule set at the next start: state is kept, everybody is judged anew once, and what changes
//! is told with the new rules as its reason, whenever the one who adopts them dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use cardlens_engine::{Deployment, Error, Fault, LogSink, LogSource, Source as _, Topic, Worker};
use cardlens_lens::RuleSet;
use cardlens_model::PartitionId;
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, Told, records, told};
use cardlens_wire::{Decision, DecisionKind};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};

const PARTITIONS: u32 = 2;

/// The built-in rules, with a need that is entered earlier and at once, and the next version.
fn other_rules() -> RuleSet {
    let mut files = RuleSet::default_files();
    let mut change = |file: &str, from: &str, to: &str| {
        let (_, text) = files.iter_mut().find(|(name, _)| name == file).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        *text = text.replace(from, to);
    };
    change("rules.toml", "version = 1", "version = 2");
    change("eating_out.toml", "score >= 0.6 AND active_days_90d >= 10", ENTER);
    change("eating_out.toml", "confirm = \"7d\"", "confirm = \"0d\"");
    RuleSet::parse(&files).unwrap()
}

/// The built-in rules without a need.
fn fewer_rules(need: &str) -> RuleSet {
    let mut files = RuleSet::default_files();
    files.retain(|(name, _)| *name != format!("{need}.toml"));
    let (_, text) = files.iter_mut().find(|(name, _)| name == "rules.toml").unwrap();
    *text = text.replace("version = 1", "version = 2");
    RuleSet::parse(&files).unwrap()
}

const ENTER: &str = "score >= 0.36 AND active_days_90d >= 3";

/// What came of a run that was given other rules halfway.
struct Adopted {
    told: Told,
    /// Events before and after the change of rules.
    events: [Vec<Value>; 2],
    decisions: Vec<Decision>,
    /// Where partitions stood when the rules changed.
    at: Vec<i64>,
    metrics: String,
    sim: Sim,
    deaths: usize,
}

/// Takes half of the input under the first rules, loses what snapshots cover, and goes on under the
/// other ones; the `crash`th commit of them is the last of its worker.
fn adopt(rules: RuleSet, crash: Option<usize>) -> Adopted {
    let store = tempfile::tempdir().unwrap();
    let made = records(9, 120, 8_000);
    let sim = Sim::new(Deployment::new(default_rules()), PARTITIONS, &made);
    sim.log.set_run_max(100);
    let mut first = sim.worker(store.path());
    sim.log.assign(&[&[0, 1]]);
    while sim.log.lag() > 4_000 {
        first.step().unwrap();
    }
    first.run(&AtomicBool::new(true)).unwrap();
    drop(first);
    let before = sim.log.read(Topic::Changes);
    let (mut asked, _) = sim.log.join();
    let at =
        (0..PARTITIONS).map(|id| asked.committed(PartitionId(id)).unwrap().unwrap().position.0);
    let at: Vec<i64> = at.collect();
    at.iter().zip(0..).for_each(|(at, id)| sim.truncate(id, *at));

    let deployment = Deployment::new(rules);
    let sim = Sim { shared: deployment.shared().unwrap(), deployment, ..sim };
    let mut commits = 0;
    sim.log.set_faults(move || {
        commits += 1;
        match crash {
            Some(crash) if commits == crash && crash % 2 == 0 => Fault::DieBefore,
            Some(crash) if commits == crash => Fault::DieAfter,
            _ => Fault::None,
        }
    });
    let (mut worker, mut registry) = member(&sim, store.path(), 2);
    let mut deaths = 0;
    loop {
        match worker.step() {
            Ok(true) => {}
            Ok(false) => break,
            Err(Error::Fenced { .. }) => {
                deaths += 1;
                (worker, registry) = member(&sim, store.path(), 2 + deaths);
            }
            Err(error) => panic!("crash at {crash:?}: {error}"),
        }
    }
    worker.settle().unwrap();
    let metrics = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let decisions = sim.log.read(Topic::Decisions);
    let parse = |value: &[u8]| cardlens_wire::parse_decision(value).unwrap();
    let decisions = decisions.iter().map(|it| parse(it.value.as_deref().unwrap())).collect();
    let all = sim.log.read(Topic::Changes);
    let after: Vec<_> = all.iter().filter(|change| !before.contains(change)).cloned().collect();
    let event = |it: &cardlens_engine::Message| {
        serde_json::from_slice(it.value.as_deref().unwrap()).unwrap()
    };
    let events = [before, after].map(|changes| changes.iter().map(event).collect());
    Adopted { told: told(&all), events, decisions, at, metrics, sim, deaths }
}

/// The log's next member, behind so many others, and its metrics.
fn member(sim: &Sim, store: &Path, others: usize) -> (Worker<LogSource, LogSink>, Registry) {
    let registry = Registry::new();
    let mut setup = sim.setup(store);
    setup.metrics = cardlens_engine::Metrics::register(&registry).unwrap();
    let (source, sink) = sim.log.join();
    let mut split: Vec<&[u32]> = vec![&[]; others];
    split.push(&[0, 1]);
    sim.log.assign(&split);
    (Worker::new(source, sink, setup), registry)
}

#[test]
fn another_rule_set_is_adopted_once() {
    let expected = adopt(other_rules(), None);
    let rules = other_rules();
    let adopted = |decision: &Decision| {
        let DecisionKind::RulesAdopted { version, digest } = &decision.what else { return None };
        Some((decision.partition.0, decision.position.0, *version, digest.clone()))
    };
    let decisions: Vec<_> = expected.decisions.iter().filter_map(adopted).collect();
    let at = |id: usize| expected.at[id];
    let due = [(0, at(0), 2, rules.digest.clone()), (1, at(1), 2, rules.digest.clone())];
    assert_eq!(decisions, due);

    let [before, after] = &expected.events;
    assert!(before.iter().all(|event| event["rules_version"] == 1));
    assert!(after.iter().all(|event| event["rules_version"] == 2));
    let by_rules: Vec<_> = after.iter().filter(|event| event["cause"] == "rule_change").collect();
    assert!(by_rules.len() > 5, "{} of {}", by_rules.len(), after.len());
    for event in &by_rules {
        assert!(event["segment"] == "eating_out" && event["change"] == "entered", "{event}");
        let evidence = event["evidence"].as_array().unwrap();
        let bound = evidence.iter().find(|it| it["feature"] == "active_days_90d").unwrap();
        assert_eq!(bound["bound"], 3, "the new rule's: {event}");
    }
    // Nobody was forgotten and nobody begins anew: what customers are told goes on counting.
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for event in before.iter().chain(after) {
        let last = last.entry(event["customer_id"].as_str().unwrap()).or_default();
        assert_eq!(event["sequence"], *last + 1, "{event}");
        *last += 1;
    }
    assert!(after.iter().any(|event| event["cause"] == "transaction"), "it goes on");
    expected.sim.check_published();

    let info = format!("cardlens_rules_info{{digest=\"{}\",version=\"2\"}} 1", rules.digest);
    assert!(expected.metrics.lines().any(|line| line == info), "{info}");
    let current = expected.sim.log.read(Topic::Current);
    let held = current.iter().filter(|current| {
        let (_, held) = cardlens_wire::parse_current(current.value.as_deref().unwrap()).unwrap();
        held.needs.iter().any(|need| need.need == "eating_out")
    });
    let held = held.count();
    let gauge =
        format!("cardlens_segment_customers{{axis=\"need\",segment=\"eating_out\"}} {held}");
    assert!(expected.metrics.lines().any(|line| line == gauge), "{gauge}");

    for crash in 1..8 {
        let disturbed = adopt(other_rules(), Some(crash));
        assert_eq!(disturbed.deaths, 1);
        assert_eq!(disturbed.told, expected.told, "crash at commit {crash}");
        let decisions: Vec<_> = disturbed.decisions.iter().filter_map(adopted).collect();
        assert_eq!(decisions, due, "crash at commit {crash}");
    }
}

/// Who holds which need after some events, since when.
fn holders(events: &[Value]) -> BTreeMap<&str, BTreeMap<&str, &Value>> {
    let mut holders: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["axis"] == "need") {
        let held = holders.entry(event["segment"].as_str().unwrap()).or_default();
        let customer = event["customer_id"].as_str().unwrap();
        match event["change"].as_str().unwrap() {
            "entered" => drop(held.insert(customer, &event["since"])),
            _ => drop(held.remove(customer)),
        }
    }
    holders
}

#[test]
fn a_need_that_the_rules_no_longer_have_is_left() {
    let same = adopt(default_rules(), None);
    let holders = holders(&same.events[0]);
    let (gone, held) = holders.iter().max_by_key(|(_, held)| held.len()).unwrap();
    assert!(held.len() > 3, "{holders:?}");

    let expected = adopt(fewer_rules(gone), None);
    let mut left = BTreeMap::new();
    for event in expected.events[1].iter().filter(|event| event["segment"] == *gone) {
        let told = json!([event["change"], event["cause"], event["from"], event["to"]]);
        assert_eq!(told, json!(["left", "rule_change", gone, null]), "{event}");
        assert!(!event["now"]["needs"].as_array().unwrap().contains(&json!(gone)), "{event}");
        left.insert(event["customer_id"].as_str().unwrap(), &event["previous_since"]);
    }
    assert_eq!(left, *held);
    // What is published knows it no more, and the count of changes goes on.
    expected.sim.check_published();
    for current in expected.sim.log.read(Topic::Current) {
        let (_, held) = cardlens_wire::parse_current(current.value.as_deref().unwrap()).unwrap();
        assert!(held.needs.iter().all(|need| need.need != *gone));
    }
    for crash in 1..4 {
        let disturbed = adopt(fewer_rules(gone), Some(crash));
        assert_eq!(disturbed.told, expected.told, "crash at commit {crash}");
    }
}
