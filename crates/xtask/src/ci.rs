//! `cargo xtask ci`: every check, in the order that fails soonest, each with its duration.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::tests_report::Report;
use crate::tools::Tools;
use crate::workspace::Workspace;
use crate::{docs, fuzz, setup, sh, tidy};

/// How many of the slowest tests are named.
const SLOWEST_COUNT: usize = 5;

/// Runs every check and stops at the first that fails; the last line counts the tests.
pub fn ci(workspace: &Workspace) -> Result<ExitCode> {
    let mut steps = Steps::default();
    Report::forget(workspace, "ci")?;
    let outcome = checks(workspace, &mut steps);
    steps.print();
    let report = Report::read(workspace, "ci");
    if let Ok(report) = &report {
        report.print_slowest(SLOWEST_COUNT);
    }
    match &outcome {
        Ok(()) => println!("\nci: all {} steps passed", steps.done.len()),
        Err(e) => println!("\nci: failed at step {e:#}"),
    }
    if let Ok(report) = report {
        println!("{report}");
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn checks(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let tools = steps.run("setup", || setup::everything(workspace))?;
    steps.run("fmt", fmt)?;
    steps.run("clippy", clippy)?;
    steps.run("build", Workspace::build_tests)?;
    steps.run("test", || test(&tools))?;
    steps.run("doctest", doctest)?;
    steps.run("doc", doc)?;
    steps.run("fuzz", || fuzz::fuzz(workspace, &tools, fuzz::CI))?;
    steps.run("deny", || deny(&tools))?;
    steps.run("references", || docs::check_present(workspace))?;
    steps.run("tidy", || tidy::tidy(workspace))
}

fn fmt() -> Result<()> {
    for manifest in ["Cargo.toml", fuzz::MANIFEST] {
        let mut fmt = sh::cargo(["fmt", "--all", "--check", "--manifest-path"]);
        sh::run(fmt.arg(manifest))?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut clippy = sh::cargo(["clippy", "--workspace", "--all-targets", "--locked"]);
    sh::run(clippy.args(["--", "-D", "warnings"]))
}

fn test(tools: &Tools) -> Result<()> {
    // `all`: a test that somebody marks as ignored runs here nevertheless.
    let args = ["run", "--workspace", "--locked", "--profile=ci", "--run-ignored=all"];
    sh::run(&mut tools.nextest(args))
}

fn doctest() -> Result<()> {
    sh::run(&mut sh::cargo(["test", "--doc", "-p", "cardlens-model", "--locked"]))
}

fn doc() -> Result<()> {
    let mut doc = sh::cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    sh::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(tools: &Tools) -> Result<()> {
    sh::run(&mut tools.deny(["--locked", "check", "licenses", "bans", "sources"]))
}

/// The steps so far and how long each took.
#[derive(Debug, Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n=== {name}");
        let start = now();
        let outcome = step();
        let took = start.elapsed();
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("=== {name}: {verdict} after {:.1} s", took.as_secs_f64());
        self.done.push((name, took));
        outcome.with_context(|| format!("`{name}`"))
    }

    fn print(&self) {
        println!("\nsteps:");
        for (name, took) in &self.done {
            println!("  {:>7.1} s  {name}", took.as_secs_f64());
        }
    }
}

/// The time, for durations that only people read.
#[expect(clippy::disallowed_methods, reason = "a task has no engine, and so no Clock")]
fn now() -> Instant {
    Instant::now()
}
