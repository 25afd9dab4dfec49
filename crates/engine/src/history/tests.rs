//! Names of files, what a snapshot keeps of rows that are not written, and files that come and go.

use std::sync::Arc;
use std::time::Duration;

use cardlens_lens::RuleSet;
use cardlens_model::{Axis, Cause, Change, ChangeKind, Day, EventTime, Now, PartitionId};
use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{File, History, Kind, NamedChange, Past, Place, Profiles, Writer, day_of, folder_of};
use crate::Deployment;
use crate::objects::Objects;
use crate::view::{ChangeRow, Layout};

fn past() -> Past {
    let deployment = Deployment::new(RuleSet::parse(&RuleSet::default_files()).unwrap());
    let layout = Layout::new(&deployment.shared().unwrap(), &[30]).unwrap();
    let history = History {
        profiles: Some(Profiles::Weekly),
        retention_days: Some(3),
        currency_exponent: 2,
        layout: Arc::new(layout),
    };
    Past::new(&Arc::new(history), PartitionId(7)).unwrap()
}

fn add(past: &mut Past, day: Day, sequence: u64) {
    let row = ChangeRow {
        day,
        slot: 0,
        axis: Axis::Need,
        kind: ChangeKind::Entered,
        cause: Cause::Transaction,
        from: None,
        to: Some(1),
        sequence,
        since: day.0,
        previous_since: None,
        effective_at: 5,
        changed_at: 6,
        position: 8,
        rules_version: 1,
        evidence: "[]".into(),
    };
    let change = Change {
        customer: "C1",
        axis: Axis::Need,
        kind: ChangeKind::Entered,
        from: None,
        to: Some("a need of today"),
        cause: Cause::Transaction,
        causation_id: None,
        rule: "a need of today",
        rules_version: 1,
        lens: "L1",
        score: None,
        sequence,
        since: day,
        previous_since: None,
        effective_at: EventTime(5),
        evidence: Vec::new(),
        nearest_miss: None,
        margin_365d: 0,
        team: None,
        action_key: None,
        purpose: None,
        now: Now::default(),
    };
    past.changes(vec![NamedChange::new(row, &change)]);
}

#[test]
fn names_of_files() {
    let place = Place { day: Day(20_000), part: 12 };
    for (last, name) in
        [(false, "part-00007-00012.parquet"), (true, "part-00007-00012-last.parquet")]
    {
        let file = File { partition: PartitionId(7), place, last };
        assert_eq!(file.path(), format!("day=2024-10-04/{name}"));
        assert_eq!(File::parse("day=2024-10-04", name), Some(file));
        assert_eq!(File::parse("day=2024-10-99", name), None);
        assert_eq!(File::parse("day=2024-10-04", &name.replace("parquet", "tmp")), None);
    }
    assert_eq!(day_of(&folder_of(Day(-3))), Some(Day(-3)));
    assert!(Profiles::Weekly.of(Day(3)) && !Profiles::Weekly.of(Day(4)));
    assert!(Profiles::Daily.of(Day(4)));
}

#[test]
fn a_snapshot_keeps_what_is_not_written() {
    let mut past = past();
    add(&mut past, Day(9), 1);
    add(&mut past, Day(9), 2);
    past.commit(Some(Day(9)), false).unwrap();
    assert!(past.jobs().is_empty(), "the day is open");
    add(&mut past, Day(10), 3);
    past.commit(Some(Day(10)), true).unwrap();
    // Day 10 is a Sunday, of which there is a profile once everybody was brought there.
    past.commit(Some(Day(11)), true).unwrap();
    let kinds = |past: &mut Past| -> Vec<(Kind, i32)> {
        past.jobs().iter().map(|job| (job.kind, job.file.place.day.0)).collect()
    };
    assert_eq!(kinds(&mut past), [(Kind::Changes, 9), (Kind::Changes, 10)]);
    assert_eq!(kinds(&mut past), [], "each is handed out once");
    past.commit(Some(Day(11)), false).unwrap();
    let bytes = past.to_bytes().unwrap();

    let mut again = self::past();
    again.load(&bytes, Some(Day(11))).unwrap();
    assert_eq!(again.shown().unwritten, past.shown().unwritten);
    assert_eq!(again.shown().cut, past.shown().cut);
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(kinds(&mut again)[..2], [(Kind::Changes, 9), (Kind::Changes, 10)]);
    for len in (0..bytes.len()).step_by(211) {
        let cut = self::past().load(&bytes[..len], None);
        assert!(cut.is_err() || len == 0, "cut to {len}");
    }
    // Without a history until now, it begins with the open day.
    again.load(&[], Some(Day(11))).unwrap();
    assert_eq!(again.shown().cut, Place { day: Day(11), part: 0 });
    assert!(!again.takes(Day(10)) && again.takes(Day(17)));
}

#[test]
fn what_a_store_never_takes_is_given_up_in_order() {
    let mut past = past();
    for day in 9..20 {
        add(&mut past, Day(day), 1);
        past.commit(Some(Day(day + 1)), true).unwrap();
    }
    assert_eq!(past.waiting(), 11);
    let jobs = past.jobs();
    let lost = past.give_up(4);
    assert_eq!(lost.len(), 7);
    assert_eq!(past.shown().cut, Place { day: Day(16), part: 0 });
    assert!(jobs[6].batches.upgrade().is_none() && jobs[7].batches.upgrade().is_some());
    past.written(&jobs[7]);
    past.written(&jobs[0]);
    assert_eq!(past.shown().cut, Place { day: Day(17), part: 0 });
}

/// Writes what a history has to write, and says what is in the store then.
fn stored(past: &mut Past, store: &Arc<InMemory>) -> Vec<String> {
    let objects = Objects { store: Arc::clone(store) as _, directory: None };
    let metrics = crate::Metrics::register(&prometheus::Registry::new()).unwrap();
    let writer = Writer::start(objects, metrics.clone()).unwrap();
    let jobs = past.jobs();
    let many = jobs.len();
    jobs.into_iter().for_each(|job| writer.take(job));
    for _ in 0..many {
        let done = writer.wait(Duration::from_secs(20)).expect("a file is written");
        past.written(&done);
    }
    assert_eq!(metrics.history_files.with_label_values(&["changes"]).get(), many as u64);
    drop(writer);
    let listed = futures::executor::block_on(store.list(None).collect::<Vec<_>>());
    listed.into_iter().map(|file| file.unwrap().location.to_string()).collect()
}

#[test]
fn files_are_written_and_removed_when_they_are_old() {
    let (mut past, store) = (past(), Arc::new(InMemory::new()));
    let file =
        |day: i32| format!("history/changes/{}/part-00007-00000.parquet", folder_of(Day(day)));
    let other = file(5).replace("part-00007", "part-00008");
    futures::executor::block_on(store.put(&other.as_str().into(), "another's".into())).unwrap();
    for day in [5, 6] {
        add(&mut past, Day(day), 1);
    }
    past.commit(Some(Day(7)), true).unwrap();
    assert_eq!(stored(&mut past, &store), [file(5), other.clone(), file(6)]);
    assert!(past.shown().unwritten.is_empty());
    // Three days are kept beside the one that ended.
    add(&mut past, Day(9), 2);
    past.commit(Some(Day(10)), true).unwrap();
    assert_eq!(stored(&mut past, &store), [other, file(6), file(9)]);
}
