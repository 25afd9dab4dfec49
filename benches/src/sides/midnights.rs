//! 400 days of a population in the order of time, with every day closed or with none.

use std::collections::BTreeMap;

use anyhow::Result;
use cardlens_engine::Deployment;
use cardlens_lens::RuleSet;
use cardlens_model::{Batch, Day};
use serde::{Deserialize, Serialize};

use super::windows;
use crate::load::population::Population;
use crate::load::rules::{faults, without_midnights};
use crate::load::w1::{DAYS, FIRST_DAY};
use crate::measure::{Cost, Stopwatch};
use crate::pipeline::Pipeline;

const RUN: usize = 4_096;

/// What the days took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Days {
    /// Records.
    pub events: u64,
    /// Rows after which a customer stood elsewhere.
    pub moved: u64,
    /// Customers whose windows were compared with the sums of their records.
    pub checked: u32,
    /// Of applying and judging, and of bringing everybody forward.
    pub cost: Cost,
}

/// Replays the days under the rule set that comes with cardlens.
///
/// # Errors
/// A record is not applied, or a window is not the sum of its records.
pub fn run(population: Population, close: bool) -> Result<Days> {
    let rules = RuleSet::parse(&RuleSet::default_files()).map_err(faults)?;
    let mut deployment = Deployment::new(rules);
    if !close {
        deployment = without_midnights(deployment);
    }
    let mut pipeline = Pipeline::new(&deployment)?;
    if !close {
        pipeline.table.close_day(Day(i32::try_from(FIRST_DAY - DAYS)?));
    }
    let (mut moved, mut events, mut cost) = (0, 0, Cost::default());
    let mut batch = Batch::default();
    for interval in population.in_order() {
        for run in interval.chunks(RUN) {
            batch.clear();
            run.iter().for_each(|it| it.push(&pipeline.shared.table.categories, &mut batch));
            events += run.len() as u64;
            let watch = Stopwatch::own()?;
            pipeline.take(&batch, &mut |_, _, _| {
                moved += 1;
                Ok(())
            })?;
            cost = cost.plus(watch.read()?);
        }
    }
    let mut records = BTreeMap::new();
    for customer in windows::some(population) {
        let own = (0..population.records).map(|at| population.record(customer, at));
        records.insert(customer, own.collect());
    }
    Ok(Days { events, moved, checked: windows::check(&pipeline, &records)?, cost })
}
