//! A table of many customers with a year behind them, kept alive between bursts of records.

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::{Result, bail};
use cardlens_model::{Batch, Day};
use serde::{Deserialize, Serialize};

use crate::load::population::Population;
use crate::load::rules::w1_deployment;
use crate::load::w1::{DAYS, Drawn, FIRST_DAY};
use crate::measure::{Cost, Stopwatch, resident};
use crate::pipeline::Pipeline;
use crate::sides::{say, windows};

/// Records of each customer before the first burst: 110 a year for 400 days.
pub const HISTORY: u32 = 120;
/// Records of a burst.
pub const BURST: u32 = 2_000_000;
/// Records applied at a time.
const RUN: usize = 4_096;

/// What a table of customers takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// Customers.
    pub customers: u64,
    /// Bytes resident more than before the first of them.
    pub resident: u64,
    /// Bytes by part, by the table's own account.
    pub parts: Vec<(String, u64)>,
}

/// What a burst took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Burst {
    /// Records.
    pub events: u64,
    /// Rows with moves among them.
    pub moved: u64,
    /// Of applying and judging alone.
    pub cost: Cost,
}

/// Fills a table, then answers the questions that come in, a line each: `burst`, `check`.
///
/// # Errors
/// A record is not applied, or a window is not the sum of its records.
pub fn live(customers: u32) -> Result<()> {
    let population = Population { customers, records: HISTORY };
    let before = resident()?;
    let mut pipeline = Pipeline::new(&w1_deployment()?)?;
    pipeline.table.close_day(Day(i32::try_from(FIRST_DAY - DAYS)?));
    pipeline.fill_with(population)?;
    say(&memory(&pipeline, before)?)?;
    let mut bursts = 0;
    for question in std::io::stdin().lock().lines() {
        match question?.as_str() {
            "burst" => {
                say(&burst(&mut pipeline, population, bursts)?)?;
                bursts += 1;
            }
            "check" => say(&check(&pipeline, population, bursts)?)?,
            other => bail!("no such question: `{other}`"),
        }
    }
    Ok(())
}

fn memory(pipeline: &Pipeline, before: u64) -> Result<Memory> {
    let parts = pipeline.memory().into_iter();
    Ok(Memory {
        customers: pipeline.table.customers() as u64,
        resident: resident()?.saturating_sub(before),
        parts: parts.map(|(part, bytes)| (part.to_owned(), bytes as u64)).collect(),
    })
}

fn burst(pipeline: &mut Pipeline, population: Population, after: u32) -> Result<Burst> {
    let drawn: Vec<_> = population.later(after, BURST).collect();
    let batches: Vec<_> = drawn
        .chunks(RUN)
        .map(|run| {
            let mut batch = Batch::default();
            run.iter().for_each(|it| it.push(&pipeline.shared.table.categories, &mut batch));
            batch
        })
        .collect();
    let mut moved = 0;
    let watch = Stopwatch::own()?;
    for batch in &batches {
        pipeline.take(batch, &mut |_, _, _| {
            moved += 1;
            Ok(())
        })?;
    }
    Ok(Burst { events: u64::from(BURST), moved, cost: watch.read()? })
}

/// Compares the windows of some customers with the sums of their records.
fn check(pipeline: &Pipeline, population: Population, bursts: u32) -> Result<u32> {
    let mut records: BTreeMap<u32, Vec<Drawn>> = BTreeMap::new();
    for customer in windows::some(population) {
        let own = (0..HISTORY).map(|at| population.record(customer, at)).collect();
        records.insert(customer, own);
    }
    for drawn in (0..bursts).flat_map(|after| population.later(after, BURST)) {
        if let Some(own) = records.get_mut(&drawn.customer) {
            own.push(drawn);
        }
    }
    windows::check(pipeline, &records)
}

/// Bytes a customer takes after a year with its midnights, under the settings of `default.toml`.
///
/// # Errors
/// A record is not applied.
pub fn year(customers: u32) -> Result<Memory> {
    let population = Population { customers, records: HISTORY };
    let before = resident()?;
    let deployment = cardlens_engine::Deployment {
        withheld: Vec::new(),
        ..cardlens_engine::Deployment::new(crate::load::rules::w1()?)
    };
    let mut pipeline = Pipeline::new(&deployment)?;
    let mut batch = Batch::default();
    for interval in population.in_order() {
        for run in interval.chunks(RUN) {
            batch.clear();
            run.iter().for_each(|it| it.push(&pipeline.shared.table.categories, &mut batch));
            pipeline.take(&batch, &mut |_, _, _| Ok(()))?;
        }
    }
    memory(&pipeline, before)
}
