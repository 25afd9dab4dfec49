//! G8: 400 days with every midnight, against the same days in which none closes.
//!
//! The goal speaks of a million customers. Each midnight brings everybody forward, so the time
//! grows with customers and days alike; by default there are fewer, who fit no cache all the same,
//! and `--customers` says how many. Records come decoded, and moves are counted, not published.

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Run};
use crate::load::w1::DAYS;
use crate::measure::{available, median, now, side};
use crate::sides::Days;

/// Customers that the goal speaks of.
const GOAL: u32 = 1_000_000;
/// Customers unless told otherwise.
const FEWER: u32 = 100_000;
/// Over those days: 110 a year.
const HISTORY: u32 = 120;
/// Bytes that a customer takes at most.
const CUSTOMER_BYTES: u64 = 3_500;
/// Rounds at most: it is long, and only printed.
const ROUNDS: usize = 2;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let customers = bench.customers.unwrap_or(FEWER);
    let room = available()? / CUSTOMER_BYTES;
    ensure!(u64::from(customers) <= room, "there is memory for {room} customers only: --customers");
    let started = now();
    let mut moved = [0; 2];
    let mut replay = |close: bool| -> Result<Run> {
        let arguments = [customers.to_string(), HISTORY.to_string(), close.to_string()];
        let (days, _): (Days, _) = side("midnights", &arguments.each_ref().map(String::as_str))?;
        ensure!(days.checked == 1_000 && days.events > 0, "{days:?}");
        moved[usize::from(close)] = days.moved;
        Ok(Run::new(days.events, days.cost))
    };
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds.min(ROUNDS) {
        rounds.push([replay(true)?, replay(false)?]);
    }
    let midnights = f64::from(customers) * f64::from(i32::try_from(DAYS)?);
    let extra: Vec<_> = rounds
        .iter()
        .map(|[closed, open]| (closed.cost.cpu_s - open.cost.cpu_s) * 1e9 / midnights)
        .collect();
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let whole = minutes * f64::from(GOAL) / f64::from(customers);
    let what = format!("{customers} customers, {HISTORY} records each over {DAYS} days");
    let sides = ["every day closed", "no day closed"];
    let outcome = Outcome::new("G8", what, None, sides, rounds)
        .less_is_better()
        .remark(format!("{:.0} ns of CPU for a customer's midnight", median(&extra)))
        .remark(format!("customers moved on {} rows, and on {}", moved[1], moved[0]))
        .remark("the windows of 1,000 customers equal the sums of their records".to_owned());
    if customers == GOAL {
        return Ok(vec![outcome]);
    }
    Ok(vec![outcome.remark(format!(
        "it took {minutes:.1} minutes; the goal's million customers (--customers {GOAL}) would take \
         about {whole:.0}"
    ))])
}
