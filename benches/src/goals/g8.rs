//! G8: a year with its midnights, against the same year in which no day closes.
//!
//! Smaller than a million customers, which would take the better part of an hour; both sides fit
//! no cache all the same. Records come decoded, and moves are counted, not published.

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Run};
use crate::measure::side;
use crate::sides::Days;

const CUSTOMERS: u32 = 100_000;
/// Over 400 days: 110 a year.
const HISTORY: u32 = 120;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let mut moved = [0; 2];
    let mut replay = |close: bool| -> Result<Run> {
        let arguments = [CUSTOMERS.to_string(), HISTORY.to_string(), close.to_string()];
        let (days, _): (Days, _) = side("midnights", &arguments.each_ref().map(String::as_str))?;
        ensure!(days.checked == 1_000, "{days:?}");
        moved[usize::from(close)] = days.moved;
        Ok(Run::new(days.events, days.cost))
    };
    // Half a minute a round, and only printed.
    let rounds = bench.rounds.min(2);
    let mut both = Vec::new();
    for _ in 0..rounds {
        both.push([replay(true)?, replay(false)?]);
    }
    let what = format!("{CUSTOMERS} customers, {HISTORY} records each over 400 days");
    let sides = ["every day closed", "no day closed"];
    Ok(vec![
        Outcome::new("G8", what, None, sides, both)
            .remark("the windows of 1,000 customers equal the sums of their records".to_owned())
            .remark(format!("customers moved on {} rows, and on {}", moved[1], moved[0])),
    ])
}
