//! Records applied with and without snapshots of the whole table, in one process that holds it.
//!
//! What a snapshot costs here is the table's bytes made and written; where customers stand is one
//! per cent of it and left out. Time passes while records are applied and not while they are made.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cardlens_features::snapshot;
use cardlens_model::{Batch, Day};
use serde::{Deserialize, Serialize};

use crate::load::population::Population;
use crate::load::rules::w1_deployment;
use crate::load::w1::{DAYS, FIRST_DAY};
use crate::measure::{Cost, Stopwatch};
use crate::pipeline::Pipeline;
use crate::sides::say;

/// Seconds between two snapshots.
pub const INTERVAL_S: f64 = 10.0;
/// Snapshots in a run, which takes as many intervals.
const SNAPSHOTS: u32 = 2;
/// Records made at a time.
const CHUNK: u32 = 200_000;
const RUN: usize = 4_096;

/// What a run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Durable {
    /// Records applied.
    pub events: u64,
    /// What it took, snapshots included.
    pub cost: Cost,
    /// What the snapshots took of it.
    pub snapshots: Cost,
    /// Bytes of the last one.
    pub bytes: u64,
}

/// What reading a snapshot took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Restored {
    /// Bytes read.
    pub bytes: u64,
    /// Customers found.
    pub customers: u64,
    /// What it took.
    pub cost: Cost,
}

/// Fills a table, then answers: `with` or `without` snapshots, `restore`.
///
/// # Errors
/// A record is not applied, or a snapshot is not written or read.
pub fn live(customers: u32, history: u32, file: &Path) -> Result<()> {
    let population = Population { customers, records: history };
    let mut pipeline = Pipeline::new(&w1_deployment()?)?;
    pipeline.table.close_day(Day(i32::try_from(FIRST_DAY - DAYS)?));
    pipeline.fill_with(population)?;
    say(&customers)?;
    let mut chunks = 0;
    for question in std::io::stdin().lock().lines() {
        match question?.as_str() {
            "with" => say(&run(&mut pipeline, population, &mut chunks, Some(file))?)?,
            "without" => say(&run(&mut pipeline, population, &mut chunks, None)?)?,
            "restore" => say(&restore(&pipeline, file)?)?,
            other => bail!("no such question: `{other}`"),
        }
    }
    std::fs::remove_file(file).with_context(|| format!("remove `{}`", file.display()))
}

fn run(
    pipeline: &mut Pipeline,
    population: Population,
    chunks: &mut u32,
    file: Option<&Path>,
) -> Result<Durable> {
    let nothing = Cost::default();
    let mut run = Durable { events: 0, cost: nothing, snapshots: nothing, bytes: 0 };
    let mut taken = 0;
    while taken < SNAPSHOTS {
        let batches = batches(pipeline, population, *chunks);
        *chunks += 1;
        let watch = Stopwatch::own()?;
        for batch in &batches {
            pipeline.take(batch, &mut |_, _, _| Ok(()))?;
        }
        run.cost = run.cost.plus(watch.read()?);
        run.events += u64::from(CHUNK);
        if run.cost.wall_s < INTERVAL_S * f64::from(taken + 1) {
            continue;
        }
        taken += 1;
        if let Some(file) = file {
            let watch = Stopwatch::own()?;
            let mut bytes = Vec::new();
            snapshot::encode(&pipeline.table, &mut bytes);
            std::fs::write(file, &bytes).with_context(|| format!("write `{}`", file.display()))?;
            let cost = watch.read()?;
            run.bytes = bytes.len() as u64;
            run.snapshots = run.snapshots.plus(cost);
            run.cost = run.cost.plus(cost);
        }
    }
    Ok(run)
}

fn batches(pipeline: &Pipeline, population: Population, chunk: u32) -> Vec<Batch> {
    let drawn: Vec<_> = population.later(chunk, CHUNK).collect();
    let categories = &pipeline.shared.table.categories;
    let batch = |run: &[crate::load::w1::Drawn]| {
        let mut batch = Batch::default();
        run.iter().for_each(|it| it.push(categories, &mut batch));
        batch
    };
    drawn.chunks(RUN).map(batch).collect()
}

fn restore(pipeline: &Pipeline, file: &Path) -> Result<Restored> {
    let watch = Stopwatch::own()?;
    let bytes = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    let table = snapshot::decode(&bytes, pipeline.shared.table.clone())?;
    let cost = watch.read()?;
    Ok(Restored { bytes: bytes.len() as u64, customers: table.customers() as u64, cost })
}
