//! Windows of a table against the sums of the records behind them.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use cardlens_features::Slot;

use crate::load::population::Population;
use crate::load::w1::{Drawn, MCC};
use crate::pipeline::Pipeline;

/// Customers whose windows are computed by hand.
const CHECKED: u32 = 1_000;
const WINDOWS: [u16; 4] = [7, 30, 90, 365];

/// Customers to look at, from all over the population.
pub(super) fn some(population: Population) -> impl Iterator<Item = u32> {
    let step = (population.customers / CHECKED).max(1);
    (0..population.customers).step_by(step as usize).take(CHECKED as usize)
}

/// Compares the windows of customers with the sums of all their records. Returns how many.
pub(super) fn check(pipeline: &Pipeline, records: &BTreeMap<u32, Vec<Drawn>>) -> Result<u32> {
    for (customer, own) in records {
        let Some(first) = own.first() else { bail!("customer {customer} has no record") };
        let id = first.customer_id();
        let Some(slot) = pipeline.table.slot_of(std::str::from_utf8(&id)?) else {
            bail!("customer {customer} is unknown");
        };
        let (table, hand) = (by_table(pipeline, slot), by_hand(pipeline, slot, own));
        ensure!(table == hand, "the windows of customer {customer}: {table:?}, not {hand:?}");
    }
    Ok(u32::try_from(records.len())?)
}

/// Count, gross and refunds by category and window.
type Windows = BTreeMap<(u8, u16), (u64, i64, i64)>;

fn by_table(pipeline: &Pipeline, slot: Slot) -> Windows {
    let rows = pipeline.table.windows(slot, pipeline.table.as_of(slot), &WINDOWS);
    let figures = rows
        .iter()
        .map(|row| ((row.category.0, row.window_days), (row.txn_count, row.gross, row.refund)));
    figures.collect()
}

fn by_hand(pipeline: &Pipeline, slot: Slot, own: &[Drawn]) -> Windows {
    let last = i64::from(pipeline.table.as_of(slot).0);
    let mut windows = Windows::new();
    for drawn in own {
        let day = drawn.time.0.div_euclid(cardlens_model::DAY_MS);
        let category = pipeline.shared.table.categories.of(MCC[usize::from(drawn.category)]).0;
        for window in WINDOWS.into_iter().filter(|days| day > last - i64::from(*days)) {
            let (count, gross, refund) = windows.entry((category, window)).or_default();
            if drawn.refund {
                *refund += drawn.amount_minor;
            } else {
                *count += 1;
                *gross += drawn.amount_minor;
            }
        }
    }
    windows
}
