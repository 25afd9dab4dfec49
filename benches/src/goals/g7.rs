//! G7: how long after a record its change can be read, under exactly-once, against copying it.
//!
//! First as much is sent as can be: the rate at which the product commits, with everything around it
//! that is on the machine later too. Half of that goes into topics then, on the clock and whether or
//! not anybody keeps up; a consumer that reads what was committed notes when each output arrives, and
//! subtracts when the record behind it was due. The product makes changes while somebody scans all
//! customers over and over; the rival copies every record, with the same commit interval and without
//! any work. Both know a million records when the clock starts.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use cardlens_tests::broker::{Broker, Isolation, free_ports};
use cardlens_tests::clocked::quantile;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::g1::{PARTITIONS, check, load, pioneers};
use super::{Bench, Outcome, Round, Run};
use crate::load::w1::W1;
use crate::measure::{Cost, Live, median, now};
use crate::open_loop::{Lane, Pace, SOURCE, Seen, follow, place, send};

const WORKLOAD: W1 = W1::STANDARD;
/// Records before the clock starts, so that most customers are known.
const WARM: usize = 1_000_000;
/// Longest run of the clock.
const SECONDS: u64 = 25;
/// Rounds at most: each takes a minute and a half.
const ROUNDS: usize = 3;
/// From making the generator's client to the first record.
const LEAD: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_secs(60);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Product,
    Copy,
}

/// What all runs have in common.
struct Stage<'a> {
    broker: &'a Broker,
    directory: &'a Path,
    /// What is read before the clock starts.
    warm: [PathBuf; 2],
    /// What is sent by the clock, and how many a second.
    lines: Vec<String>,
    rate: u64,
}

/// A run.
struct Clocked {
    lanes: Vec<Lane>,
    seen: Vec<Seen>,
    cost: Cost,
    /// From the first record to the commit of the last.
    took: Duration,
    scans: u64,
}

/// What came of a run.
struct Measured {
    run: Run,
    /// Records behind the outputs, in the order of reading.
    sources: Vec<(u32, i64)>,
    /// 50, 99 and 100 of 100, since the record was due and since it was acknowledged.
    due: [Duration; 3],
    acknowledged: [Duration; 3],
    scans: u64,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let file = WORKLOAD.file(&bench.directory)?;
    let directory = bench.directory.join("g7");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let broker = Broker::start().context("start the broker")?;
    let mut stage = Stage::new(&broker, &directory, &file)?;
    stage.slow_down()?;
    let (records, rate) = (stage.lines.len(), stage.rate);
    let mut rounds: Vec<Round> = Vec::new();
    let mut all: [Vec<Measured>; 2] = Default::default();
    for round in 0..bench.rounds.min(ROUNDS) {
        let product = stage.measure(Way::Product, round)?;
        let copy = stage.measure(Way::Copy, round)?;
        if let Some(first) = all[0].first() {
            let sorted = |it: &Measured| {
                let mut sources = it.sources.clone();
                sources.sort_unstable();
                sources
            };
            ensure!(sorted(first) == sorted(&product), "two runs told different changes");
        }
        rounds.push([product.run, copy.run]);
        all[0].push(product);
        all[1].push(copy);
    }
    let what = format!(
        "from when a record is due to when its change can be read, 99 of 100: {records} records, \
         {rate} a second, which is half of the most; commits every 100 ms"
    );
    let sides = ["cardlens run, everybody scanned without pause", "copying"];
    let mut outcome = Outcome::new("G7", what, None, sides, rounds)
        .less_is_better()
        .counted_in("ns until 99 of 100 can be read");
    for (name, runs) in ["cardlens run", "copying"].iter().zip(&all) {
        outcome = outcome.remark(described(name, runs));
    }
    let scans: u64 = all[0].iter().map(|run| run.scans).sum();
    Ok(vec![
        outcome
            .remark(format!("{scans} scans of everybody beside the product"))
            .remark("no change is lost or doubled: they equal a replay of the records".to_owned())
            .remark("every record was copied once, in order and as it was".to_owned()),
    ])
}

fn described(name: &str, runs: &[Measured]) -> String {
    let all = |of: &dyn Fn(&Measured) -> Duration| {
        median(&runs.iter().map(|run| of(run).as_secs_f64() * 1e3).collect::<Vec<_>>())
    };
    let cpu = median(&runs.iter().map(|run| run.run.cost.cpu_s).collect::<Vec<_>>());
    format!(
        "{name}: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms since due; p50 {:.0} ms, p99 {:.0} ms \
         since acknowledged; {cpu:.1} s of CPU",
        all(&|run| run.due[0]),
        all(&|run| run.due[1]),
        all(&|run| run.due[2]),
        all(&|run| run.acknowledged[0]),
        all(&|run| run.acknowledged[1]),
    )
}

impl<'a> Stage<'a> {
    /// Everything is due at once.
    fn new(broker: &'a Broker, directory: &'a Path, file: &Path) -> Result<Self> {
        let warm = [pioneers(directory)?, directory.join("warm.jsonl")];
        let mut lines = BufReader::with_capacity(1 << 20, File::open(file)?).lines();
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&warm[1])?);
        for line in lines.by_ref().take(WARM) {
            writeln!(out, "{}", line?)?;
        }
        out.flush()?;
        let lines = lines.collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { broker, directory, warm, lines, rate: u64::MAX })
    }

    /// Measures the most that goes through, and keeps to half of it from now on.
    fn slow_down(&mut self) -> Result<()> {
        let peak = self.clocked(Way::Product, "g7-peak")?;
        let millis = u64::try_from(peak.took.as_millis())?.max(1);
        self.rate = self.lines.len() as u64 * 1_000 / millis / 2;
        ensure!(self.rate > 100, "{} records a second are no rate to measure at", self.rate);
        self.lines.truncate(usize::try_from(self.rate * SECONDS)?);
        eprintln!("{} records, {} a second", self.lines.len(), self.rate);
        Ok(())
    }

    fn measure(&self, way: Way, round: usize) -> Result<Measured> {
        let name = match way {
            Way::Product => format!("g7-run-{round}"),
            Way::Copy => format!("g7-copy-{round}"),
        };
        let clocked = self.clocked(way, &name)?;
        match way {
            Way::Product if round == 0 => self.check_changes(&name, &clocked)?,
            Way::Product => {}
            Way::Copy => check_copy(&clocked.lanes, &clocked.seen)?,
        }
        measured(&clocked)
    }

    fn clocked(&self, way: Way, name: &str) -> Result<Clocked> {
        load(self.broker, name, &self.warm)?;
        let warm = WARM as u64 + u64::from(PARTITIONS);
        let [port, _] = free_ports()?;
        let scan = format!("127.0.0.1:{port}");
        let mut side = self.start(way, name, (warm, &scan))?;
        let _: Cost = side.answer()?;
        let mut reader = None;
        if way == Way::Product {
            let mut scans = Live::start("scans", &[&scan])?;
            let _: usize = scans.answer()?;
            reader = Some(scans);
        }
        // Answered at once: what it spends counts from here.
        let _: Cost = side.ask(&warm.to_string())?;
        let mut clocked = self.run(name, &mut side, warm + self.lines.len() as u64)?;
        if let Some(mut reader) = reader {
            clocked.scans = reader.ask("how many")?;
        }
        Ok(clocked)
    }

    fn start(&self, way: Way, name: &str, (warm, scan): (u64, &str)) -> Result<Live> {
        let (bootstrap, warm) = (self.broker.bootstrap(), warm.to_string());
        let place = self.directory.to_string_lossy();
        if way == Way::Product {
            return Live::start("run-live", &[&bootstrap, name, name, &warm, &place, scan]);
        }
        let changes = format!("{name}.changes");
        self.broker.create_topic(
            &changes,
            i32::try_from(PARTITIONS)?,
            &[("retention.ms", "-1")],
        )?;
        Live::start("copy-live", &[&bootstrap, name, name, &warm])
    }

    /// Sends the records by the clock, and reads what comes of them.
    fn run(&self, name: &str, side: &mut Live, total: u64) -> Result<Clocked> {
        let consumer = self.consumer(&format!("{name}.changes"))?;
        let (started, done) = (now() + LEAD, AtomicBool::new(false));
        let pace = Pace { topic: name, partitions: PARTITIONS, rate: self.rate, started };
        std::thread::scope(|scope| {
            let following = scope.spawn(|| follow(&consumer, started, &done));
            let sent = send(self.broker.client(), &self.lines, pace).and_then(|lanes| {
                let cost: Cost = side.ask(&total.to_string())?;
                Ok((lanes, cost, started.elapsed()))
            });
            done.store(true, Ordering::Relaxed);
            let seen = following.join().map_err(|_| anyhow!("the reader panicked"))?;
            let (lanes, cost, took) = sent?;
            Ok(Clocked { lanes, seen: seen?, cost, took, scans: 0 })
        })
    }

    /// A consumer that begins where outputs end now.
    fn consumer(&self, topic: &str) -> Result<BaseConsumer> {
        let mut config = self.broker.client();
        config.set("group.id", "g7-reader").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
        config.set("fetch.wait.max.ms", "50").set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(PARTITIONS)? {
            let (_, end) = consumer.fetch_watermarks(topic, partition, WAIT)?;
            list.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }

    /// Compares what was committed with a replay, and what was seen with what was committed.
    fn check_changes(&self, name: &str, Clocked { lanes, seen, .. }: &Clocked) -> Result<()> {
        let read = self.broker.read_all(&format!("{name}.changes"), Isolation::Committed)?;
        let mut committed = Vec::new();
        for read in &read {
            let source = read.headers.iter().find(|(name, _)| name == SOURCE);
            let source = source.and_then(|(_, value)| place(value));
            let (partition, offset) = source.context("a change without its source")?;
            if offset >= lanes[partition as usize].first {
                committed.push((partition, offset));
            }
        }
        let mut sources: Vec<_> = seen.iter().map(|seen| seen.source).collect();
        committed.sort_unstable();
        sources.sort_unstable();
        let (few, many) = (sources.len(), committed.len());
        ensure!(sources == committed, "{few} changes were seen of {many}, or others");
        let measured = self.directory.join("measured.jsonl");
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&measured)?);
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.flush()?;
        let [pioneers, warm] = self.warm.clone();
        check(read, &[pioneers, warm, measured], self.directory)
    }
}

/// Every record came once, in order and as it was.
fn check_copy(lanes: &[Lane], seen: &[Seen]) -> Result<()> {
    let mut next = vec![0; lanes.len()];
    for copy in seen {
        let (partition, offset) = copy.source;
        let (lane, next) = (&lanes[partition as usize], &mut next[partition as usize]);
        let expected = lane.first + i64::try_from(*next)?;
        ensure!(offset == expected, "record {offset} of partition {partition}, not {expected}");
        ensure!(lane.sums[*next] == copy.sum, "record {offset} of partition {partition} differs");
        *next += 1;
    }
    for (lane, next) in lanes.iter().zip(next) {
        ensure!(next == lane.due.len(), "{next} of {} records were copied", lane.due.len());
    }
    Ok(())
}

fn measured(clocked: &Clocked) -> Result<Measured> {
    let Clocked { lanes, seen, cost, scans, .. } = clocked;
    let (cost, scans) = (*cost, *scans);
    let mut times = [Vec::with_capacity(seen.len()), Vec::with_capacity(seen.len())];
    for seen in seen {
        let (partition, offset) = seen.source;
        let lane = &lanes[partition as usize];
        let at = usize::try_from(offset - lane.first).ok().filter(|at| *at < lane.due.len());
        let at = at.context("an output of a record that was not sent by the clock")?;
        times[0].push(seen.at.saturating_sub(lane.due[at]));
        times[1].push(seen.at.saturating_sub(lane.acknowledged[at]));
    }
    let [due, acknowledged] = times.map(|mut times| {
        times.sort_unstable();
        [500, 990, 1_000].map(|thousandths| quantile(&times, thousandths))
    });
    let events = lanes.iter().map(|lane| lane.due.len() as u64).sum();
    let run = Run { events, cost, ns: due[1].as_secs_f64() * 1e9 };
    let sources = seen.iter().map(|seen| seen.source).collect();
    Ok(Measured { run, sources, due, acknowledged, scans })
}
