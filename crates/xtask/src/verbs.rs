//! The tasks that build cardlens and let it speak: `demo`, `bench`, `prove`.

use std::time::Duration;

use anyhow::Result;

use crate::tests_report::Report;
use crate::workspace::Workspace;
use crate::{fuzz, setup, sh};

/// How hard `prove` tries.
#[derive(Debug, clap::Args)]
pub struct Effort {
    /// Workers and brokers killed in each crash proof.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Seeds tried in each randomised proof.
    #[arg(long, default_value_t = 1_000)]
    seeds: u32,
    /// Seconds of fuzzing for each target.
    #[arg(long, default_value_t = 600)]
    fuzz_seconds: u64,
    /// Proves only tests whose name contains this, and fuzzes nothing.
    filter: Option<String>,
}

/// Builds for development and runs `cardlens demo`.
pub fn demo(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::for_build()?;
    sh::run(workspace.build("cardlens", false)?.arg("demo").args(args))
}

/// Builds for release and runs the bench binary; it may start a broker.
pub fn bench(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::for_bench(workspace)?;
    sh::run(workspace.build("bench", true)?.args(args))
}

/// Runs the tests of `ci` with the effort of a proof.
///
/// Tests read the effort from the environment, and print lines that begin with `proved:`, which
/// are collected here.
pub fn prove(workspace: &Workspace, effort: &Effort) -> Result<()> {
    let tools = setup::everything(workspace)?;
    Workspace::build_tests()?;
    Report::forget(workspace, "prove")?;
    let mut run = tools.nextest(["run", "--workspace", "--locked", "--profile=prove"]);
    run.env("CARDLENS_PROVE_KILLS", effort.kills.to_string());
    run.env("CARDLENS_PROVE_SEEDS", effort.seeds.to_string());
    let outcome = sh::run(run.args(&effort.filter));
    if let Ok(report) = Report::read(workspace, "prove") {
        report.print_proved();
        println!("{} kills and {} seeds a proof; {report}", effort.kills, effort.seeds);
    }
    outcome?;
    if effort.filter.is_none() {
        let each = Duration::from_secs(effort.fuzz_seconds);
        fuzz::fuzz(workspace, &tools, each)?;
        println!("proved: {} s of fuzzing for each target found nothing", each.as_secs());
    }
    Ok(())
}
