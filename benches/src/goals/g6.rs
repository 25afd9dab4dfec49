//! G6: what snapshots cost, and how fast one is read back.
//!
//! That nothing is lost or doubled across a crash is not measured but tested: the suite kills and
//! restarts, and compares.

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Run};
use crate::measure::Live;
use crate::sides::{Durable, INTERVAL_S, Restored};

const CUSTOMERS: u32 = 1_000_000;
const HISTORY: u32 = 250;

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    std::fs::create_dir_all(&bench.directory)?;
    let folder = bench.directory.join("g6");
    let arguments = [CUSTOMERS.to_string(), HISTORY.to_string(), folder.display().to_string()];
    let mut table = Live::start("durable", &arguments.each_ref().map(String::as_str))?;
    ensure!(table.answer::<u32>()? == CUSTOMERS, "the table is not full");
    let mut rounds = Vec::new();
    let mut last = None;
    for _ in 0..bench.rounds {
        let without: Durable = table.ask("without")?;
        let with: Durable = table.ask("with")?;
        rounds.push([without, with].map(|run| Run::new(run.events, run.cost)));
        last = Some(with);
    }
    let restored: Restored = table.ask("restore")?;
    ensure!(restored.customers == u64::from(CUSTOMERS), "{restored:?} is not everybody");
    let what =
        format!("{CUSTOMERS} customers of {HISTORY} records, a snapshot every {INTERVAL_S:.0} s");
    let sides = ["without snapshots", "with snapshots"];
    let mut outcome = Outcome::new("G6", what, Some([0.88, 0.97]), sides, rounds);
    if let Some(Durable { cost, journals, whole, bytes, .. }) = last {
        outcome = outcome.remark(format!(
            "of {:.2} CPU seconds, writing journals took {:.2}, for {} MB; the whole snapshot of {} \
             MB took {:.2}, and counts by that share",
            cost.cpu_s,
            journals.cpu_s,
            bytes[0] / 1_000_000,
            bytes[1] / 1_000_000,
            whole.cpu_s,
        ));
    }
    Ok(vec![outcome.remark(format!(
        "read back in {:.2} s, {:.2} s of CPU: {} MB, with {} records of journals; the same table",
        restored.cost.wall_s,
        restored.cost.cpu_s,
        restored.bytes / 1_000_000,
        restored.journaled
    ))])
}
