//! A partition that must not go on stops and says so; others do; and after the cause is mended it
//! goes on as if nothing had been.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use cardlens_engine::files::partition_of;
use cardlens_engine::{
    Deployment, Health, LogSink, LogSource, Metrics, News, Source as _, Topic, Worker,
};
use cardlens_model::PartitionId;
use cardlens_tests::backtest::default_rules;
use cardlens_tests::sim::{Sim, records, told};

const BAD: PartitionId = PartitionId(0);
const GOOD: PartitionId = PartitionId(1);
/// Records that are rejected, and the first one's position.
const REJECTED: usize = 30;
const FROM: i64 = 700;

struct Stopped {
    said: Vec<News>,
    broken: u64,
    positions: [i64; 2],
}

/// A worker on the simulation's log, with what it says.
fn worker(sim: &Sim, store: &Path) -> (Worker<LogSource, LogSink>, Arc<Mutex<Vec<News>>>, Metrics) {
    let mut setup = sim.setup(store);
    let said = Arc::<Mutex<Vec<News>>>::default();
    let heard = Arc::clone(&said);
    setup.health = Box::new(move |news| heard.lock().unwrap().push(news));
    let metrics = setup.metrics.clone();
    let (source, sink) = sim.log.join();
    (Worker::new(source, sink, setup), said, metrics)
}

/// Two partitions, one of which holds records that are no JSON.
fn stage(deployment: &Deployment) -> Sim {
    let sim = Sim::new(deployment.clone(), 2, &[]);
    let mut bad = 0;
    for (customer, json) in records(5, 40, 3_000) {
        let partition = PartitionId(partition_of(customer.as_bytes(), 2));
        sim.log.append(partition, customer.as_bytes(), json.as_bytes(), 0);
        bad += usize::from(partition == BAD);
        if bad == usize::try_from(FROM).unwrap() && partition == BAD {
            (0..REJECTED).for_each(|_| sim.log.append(BAD, b"C1", b"{\"id\":", 0));
        }
    }
    sim.log.set_run_max(4);
    sim.log.close();
    sim
}

/// Works until it stops, on a log that goes on.
fn until_stopped(sim: &Sim, store: &Path) -> Stopped {
    let (mut worker, said, metrics) = worker(sim, store);
    sim.log.assign(&[&[0, 1]]);
    for _ in 0..1_200 {
        worker.step().unwrap();
    }
    worker.run(&AtomicBool::new(true)).unwrap();
    let broken = metrics.guarantee_broken.with_label_values(&["reject_limit"]).get();
    drop(worker);
    let (mut asked, _) = sim.log.join();
    let at = [BAD, GOOD].map(|id| asked.committed(id).unwrap().unwrap().position.0);
    let said = said.lock().unwrap().clone();
    Stopped { said, broken, positions: at }
}

/// What dead letters say of where they came from.
fn dead(sim: &Sim) -> Vec<(String, String)> {
    let letters = sim.log.read(Topic::DeadLetters);
    let header = |headers: &[(String, Vec<u8>)], name: &str| {
        let (_, value) = headers.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(value.clone()).unwrap()
    };
    let place =
        |name: &'static str| move |letter: &cardlens_engine::Message| header(&letter.headers, name);
    let offset = place("__connect.errors.offset");
    let reason = place("cardlens_reason");
    letters.iter().map(|letter| (offset(letter), reason(letter))).collect()
}

#[track_caller]
fn check(strict: &Deployment, stops: RangeInclusive<i64>, says: &str) {
    let tolerant = &Deployment::new(default_rules());
    let expected = stage(tolerant);
    let folder = tempfile::tempdir().unwrap();
    let (mut undisturbed, ..) = worker(&expected, folder.path());
    expected.log.assign(&[&[0, 1]]);
    while undisturbed.step().unwrap() {}
    undisturbed.settle().unwrap();
    let all = dead(&expected);
    assert_eq!(all.len(), REJECTED);

    let sim = stage(strict);
    let store = tempfile::tempdir().unwrap();
    let Stopped { said, broken, positions } = until_stopped(&sim, store.path());
    let stopped = said.iter().filter_map(|news| match news {
        News::Partition(id, Some(Health::Stopped(why))) => Some((*id, why.as_str())),
        _ => None,
    });
    let stopped: Vec<_> = stopped.collect();
    let [(BAD, why)] = stopped[..] else { panic!("{stopped:?}") };
    assert!(why.contains(says) && why.contains("bad_type"), "{why}");
    assert_eq!(broken, 1);
    assert!(stops.contains(&positions[0]), "{positions:?}");
    assert_eq!(positions[1], expected.log.join().0.committed(GOOD).unwrap().unwrap().position.0);
    let letters = dead(&sim);
    assert_eq!(letters[..], all[..letters.len()]);
    assert_eq!(i64::try_from(letters.len()).unwrap(), positions[0] - FROM, "those before it");

    // The cause is mended: here, tolerated.
    let sim = Sim { shared: tolerant.shared().unwrap(), deployment: tolerant.clone(), ..sim };
    let (mut again, ..) = worker(&sim, store.path());
    // Behind the one that stopped and the one that asked where it stands.
    sim.log.assign(&[&[], &[], &[0, 1]]);
    while again.step().unwrap() {}
    again.settle().unwrap();
    assert_eq!(dead(&sim), all, "each once");
    let (ours, theirs) = (sim.log.read(Topic::Changes), expected.log.read(Topic::Changes));
    assert!(theirs.len() > 100);
    assert_eq!(told(&ours), told(&theirs));
    assert_eq!(sim.log.lag(), 0);
}

#[test]
fn too_many_rejected_records_stop_their_partition() {
    let mut strict = Deployment::new(default_rules());
    strict.rejected_max = Some(20);
    // The run of four with the 21st is not taken.
    check(&strict, FROM + 17..=FROM + 20, "reject_limit");
}

#[test]
fn the_first_rejected_record_stops_its_partition_where_it_is_told_to() {
    let mut strict = Deployment::new(default_rules());
    strict.stop_on_reject = true;
    check(&strict, FROM - 3..=FROM, "on_error");
}
