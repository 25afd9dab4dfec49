//! G5: as fast with 5 million customers as with 100,000, and how much memory each takes.
//!
//! Speed is that of records applied and judged, already decoded, of customers drawn evenly; both
//! tables hold 400 days of 110 records a year and customer and stay alive from burst to burst.
//! With `settle` beyond the end of the input no day closes, so these tables remember every id of
//! 400 days, which is more than `default.toml` asks for; what a customer takes under its settings
//! is measured by itself, after a year with its midnights.

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Run};
use crate::measure::{Live, available, side};
use crate::sides::{Burst, HISTORY, Memory};

const FEW: u32 = 100_000;
const MANY: u32 = 5_000_000;
/// Customers of the year with its midnights.
const YEAR: u32 = 300_000;
/// Bytes that a customer takes at most in these tables, with a burst under way.
const CUSTOMER_BYTES: u64 = 3_500;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let (year, _): (Memory, _) = side("year", &[&YEAR.to_string()])?;
    let room = available()?.saturating_sub(1 << 30) / CUSTOMER_BYTES;
    let many = MANY.min(u32::try_from(room)? / FEW * FEW);
    ensure!(many > FEW, "there is memory for {room} customers only");
    let mut few = Live::start("scale", &[&FEW.to_string()])?;
    let mut lots = Live::start("scale", &[&many.to_string()])?;
    let memory: [Memory; 2] = [few.answer()?, lots.answer()?];
    let burst = |table: &mut Live| -> Result<Run> {
        let burst: Burst = table.ask("burst")?;
        Ok(Run::new(burst.events, burst.cost))
    };
    // The first burst finds everything as it was filled; it is not counted.
    burst(&mut few)?;
    burst(&mut lots)?;
    let rounds = bench.alternate(|| burst(&mut few), || burst(&mut lots))?;
    let checked: [u32; 2] = [few.ask("check")?, lots.ask("check")?];
    ensure!(checked == [1_000; 2], "{checked:?} customers were checked");
    let what = format!("{many} customers against {FEW}, {HISTORY} records each, uniform keys");
    let mut outcome =
        Outcome::new("G5", what, Some([0.6, 0.75]), ["few customers", "many customers"], rounds)
            .remark("the windows of 1,000 customers equal the sums of their records".to_owned())
            .remark(format!("{}: first release <= 3000, goal <= 2000", described("memory", &year)));
    for memory in &memory {
        outcome = outcome.remark(described("with ids of 400 days", memory));
    }
    if many < MANY {
        outcome = outcome.remark(format!("{many} customers are what fits into memory here"));
    }
    Ok(vec![outcome])
}

fn described(what: &str, memory: &Memory) -> String {
    let each = |bytes: u64| bytes / memory.customers;
    let parts: Vec<_> =
        memory.parts.iter().map(|(part, bytes)| format!("{part} {}", each(*bytes))).collect();
    format!(
        "{what}, {} customers: {} bytes each ({})",
        memory.customers,
        each(memory.resident),
        parts.join(", ")
    )
}
