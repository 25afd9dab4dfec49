//! `cargo xtask bench`: measures the goals, prints a line for each and writes `bench.json`.
#![allow(clippy::print_stdout, reason = "the figures are the result")]
#![allow(clippy::print_stderr, reason = "progress goes to the terminal")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use cardlens_benches::goals::{ALL, Bench, Outcome};
use cardlens_benches::{measure, sides};
use clap::{Parser, Subcommand};
use serde_json::json;

/// Measures the goals of docs/performance.md.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Goals to measure, such as `G2,G4`; all of them when absent.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each comparison; sides alternate.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Customers of G8 (100,000 when absent), whose time grows with them, and of SQL (1,000,000).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..))]
    customers: Option<u32>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Does the work of one side: how the measurement starts its processes.
    #[command(hide = true)]
    Side {
        name: String,
        #[arg(trailing_var_arg = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.task {
        Some(Task::Side { name, arguments }) => sides::run(name, arguments),
        None => bench(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    let target = measure::target()?;
    let (directory, customers) = (target.join("bench"), arguments.customers);
    let bench = Bench { directory, rounds: arguments.rounds.into(), customers };
    let wanted: Vec<_> = match arguments.only.as_slice() {
        [] => ALL.iter().map(|goal| (*goal).to_owned()).collect(),
        only => only.iter().map(|goal| goal.trim().to_ascii_uppercase()).collect(),
    };
    let mut outcomes = Vec::new();
    for goal in &wanted {
        eprintln!("measuring {goal}");
        let measured = bench.run(goal).with_context(|| format!("measure {goal}"))?;
        measured.iter().for_each(Outcome::print);
        outcomes.extend(measured);
        // After each goal: a later one may fail, or be stopped.
        let results = json!({ "environment": measure::environment(), "goals": &outcomes });
        let path = target.join("bench.json");
        let text = serde_json::to_string_pretty(&results)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}
