//! Snapshots in an object store: a real server that speaks S3, and what a worker leaves there for
//! the next one.

use cardlens::generator::Generator;
use cardlens_engine::{Deployment, SnapshotStore, Topic, Worker};
use cardlens_model::Day;
use cardlens_tests::backtest::default_rules;
use cardlens_tests::objects::Objects;
use cardlens_tests::sim::{Sim, told};

fn records() -> Vec<(String, String)> {
    Generator::new(5, 40, Day(20_000))
        .take(3_000)
        .map(|record| {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (text(record.key), text(record.json))
        })
        .collect()
}

/// The input before the last committed position is gone, so that the second worker can have its
/// state from the object store alone.
#[test]
fn a_partition_is_restored_from_an_object_store() {
    let objects = Objects::start().unwrap();
    let (deployment, records) = (Deployment::new(default_rules()), records());
    let expected = Sim::undisturbed(&deployment, 1, &records);
    let sim = Sim::new(deployment, 1, &records);
    sim.log.set_run_max(50);
    let folder = tempfile::tempdir().unwrap();
    let worker = || {
        let (source, sink) = sim.log.join();
        let mut setup = sim.setup(folder.path());
        setup.store = Some(SnapshotStore::remote(&objects.remote("of/tests"), 3).unwrap());
        Worker::new(source, sink, setup)
    };
    let mut first = worker();
    sim.log.assign(&[&[0]]);
    while sim.log.lag() > 1_500 {
        assert!(first.step().unwrap());
    }
    first.settle().unwrap();
    let committed = 3_000 - sim.log.lag();
    sim.truncate(0, committed);
    let mut second = worker();
    sim.log.assign(&[&[], &[0]]);
    first.step().unwrap();
    while second.step().unwrap() {}
    second.settle().unwrap();
    assert_eq!(told(&sim.log.read(Topic::Changes)), expected);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is here");
}
