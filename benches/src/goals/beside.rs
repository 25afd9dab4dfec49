//! What readers take from ingest: one that scans everybody without pause, and one that means harm.
//!
//! Records come by the clock at half of what the worker takes at most, with a reader and without one
//! in turn.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use super::sql::enough;
use super::{Bench, Outcome, Round, Run};
use crate::measure::{Cost, Live, median, now};
use crate::sides::{Attacked, Ingested, RECORDS, Stocked};

/// Records that the peak is measured with.
const PEAK_RECORDS: u64 = 1_000_000;
/// Most records of a run on the clock: they lie in memory before it.
const RECORDS_MAX: u64 = 3_000_000;
/// Length of a run on the clock beside scans: the views are brought forward several times.
const SCANNED_S: u64 = 40;
/// Length of one beside hostile statements.
const SECONDS: u64 = 8;
/// Rounds at most of scans: each takes two minutes.
const ROUNDS: usize = 3;
/// Readers count as present for 10 s after their last question, and the view is kept up to date.
const LEAVE: Duration = Duration::from_secs(15);

/// The engine, and what it is given by the clock.
struct Feed<'a> {
    engine: &'a mut Live,
    day: u32,
    records: u64,
    rate: u64,
}

impl<'a> Feed<'a> {
    /// Measures what the worker takes at most; half of that is the rate.
    fn new(engine: &'a mut Live) -> Result<Self> {
        let mut feed = Self { engine, day: 0, records: PEAK_RECORDS, rate: u64::MAX };
        let peak = feed.run()?;
        feed.rate = whole(per_second(&peak) / 2.0);
        ensure!(feed.rate > 100, "{} records a second are no rate to measure at", feed.rate);
        Ok(feed)
    }

    /// Runs take so long from here on.
    fn last(&mut self, seconds: u64) {
        self.records = (self.rate * seconds).min(RECORDS_MAX);
    }

    fn run(&mut self) -> Result<Ingested> {
        self.day += 1;
        self.engine.ask(&format!("ingest {} {} {}", self.day - 1, self.records, self.rate))
    }

    fn alone(&mut self) -> Result<Ingested> {
        leave();
        self.run()
    }

    fn described(&self, customers: u64) -> String {
        let Self { records, rate, .. } = self;
        format!(
            "{records} records, {rate} a second, which is half of the most, of {customers} customers"
        )
    }
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let customers = enough(bench)?;
    let directory = bench.directory.join("ingest");
    std::fs::create_dir_all(&directory)?;
    let place = directory.to_string_lossy();
    let mut engine = Live::start("customers", &[&customers.to_string(), &place])?;
    let stock: Stocked = engine.answer()?;
    leave();
    let mut feed = Feed::new(&mut engine)?;
    feed.last(SCANNED_S);
    let mut outcomes = scanned(bench, &stock, &mut feed)?;
    feed.last(SECONDS);
    outcomes.push(attacked(&stock, &mut feed)?);
    std::fs::remove_dir_all(&directory)?;
    Ok(outcomes)
}

/// Waits until nobody counts as a reader any more.
fn leave() {
    let started = now();
    while let Some(left) = LEAVE.checked_sub(started.elapsed()) {
        std::thread::park_timeout(left);
    }
}

/// With somebody who scans everybody without pause, and with nobody.
fn scanned(bench: &Bench, stock: &Stocked, feed: &mut Feed<'_>) -> Result<Vec<Outcome>> {
    let (mut all, mut scans) = (Vec::new(), 0);
    for _ in 0..bench.rounds.min(ROUNDS) {
        let alone = feed.alone()?;
        let mut reader = Live::start("scans", &[&stock.scan])?;
        let _: usize = reader.answer()?;
        let beside = feed.run()?;
        scans += reader.ask::<u64>("how many")?;
        all.push([beside, alone]);
    }
    let what = feed.described(stock.customers);
    let sides = ["everybody scanned without pause", "nobody reads"];
    let rounds = |ns| rounds(&all, ns);
    let anew = |side: usize| all.iter().map(|round| round[side].rows_anew).sum::<u64>();
    let work = Outcome::new(
        "INGEST",
        &*what,
        None,
        sides,
        rounds(|it| it.cpu_s * 1e9 / events(it)),
    )
    .at_most(1.1)
    .counted_in("ns of the worker's thread a record")
    .remark(format!(
        "{scans} scans, {} rows made anew for them, {} with nobody reading; each customer had \
                 {RECORDS} records",
        anew(0),
        anew(1)
    ));
    let time =
        Outcome::new("INGEST time", what, None, sides, rounds(|it| it.took_s * 1e9 / events(it)))
            .at_most(1.1)
            .counted_in("ns until committed, a record")
            .remark(latencies(&all));
    Ok(vec![work, time])
}

/// With hostile statements one after the other at a gateway, until all have ended, and with none.
fn attacked(stock: &Stocked, feed: &mut Feed<'_>) -> Result<Outcome> {
    let mut gateway = Live::start("gateway", &[&stock.scan])?;
    let port: u16 = gateway.answer()?;
    let mut enemy = Live::start("hostile", &[&port.to_string()])?;
    let mut left: usize = enemy.answer()?;
    let statements = left;
    let (mut all, mut refused) = (Vec::new(), 0);
    while left > 0 {
        let alone = feed.alone()?;
        let beside = std::thread::scope(|scope| -> Result<Ingested> {
            let asking = scope.spawn(|| enemy.ask::<Attacked>(&SECONDS.to_string()));
            let beside = feed.run()?;
            let attacked =
                asking.join().map_err(|_| anyhow!("the thread that asks panicked"))??;
            (left, refused) = (attacked.left, refused + attacked.refused);
            Ok(beside)
        })?;
        all.push([beside, alone]);
    }
    let sides = ["hostile statements without pause", "nobody asks"];
    let outcome = Outcome::new(
        "INGEST hostile",
        feed.described(stock.customers),
        None,
        sides,
        rounds(&all, |it| it.latency_s[1] * 1e9),
    );
    Ok(outcome
        .less_is_better()
        .counted_in("ns until 99 of 100 are committed, since due")
        .remark(latencies(&all))
        .remark(format!("{statements} statements ended at the gateway, {refused} in an error")))
}

fn rounds(all: &[[Ingested; 2]], ns: fn(&Ingested) -> f64) -> Vec<Round> {
    let run = |it: &Ingested| Run {
        events: it.events,
        cost: Cost { cpu_s: it.cpu_s, wall_s: it.took_s },
        ns: ns(it),
    };
    all.iter().map(|round| round.each_ref().map(run)).collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn events(ingested: &Ingested) -> f64 {
    ingested.events as f64
}

fn per_second(ingested: &Ingested) -> f64 {
    events(ingested) / ingested.took_s
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate, never negative and far below 2^53"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

fn latencies(all: &[[Ingested; 2]]) -> String {
    let ms = |side: usize, at: usize| {
        median(&all.iter().map(|round| round[side].latency_s[at] * 1e3).collect::<Vec<_>>())
    };
    let side = |side| {
        format!("p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms", ms(side, 0), ms(side, 1), ms(side, 2))
    };
    format!("from due to committed: {}; without: {} (medians of the rounds)", side(0), side(1))
}
