//! `cargo xtask`: every task of the repository, on a laptop and in CI alike.
//!
//! Owns the order of the checks, the tools and packages they need and the rules no compiler
//! knows ([`tidy`]). It depends on no other crate of the workspace and on no C code, so it builds
//! first, in seconds, on a machine that has only cargo and a linker.
#![allow(clippy::print_stdout, reason = "the output of a task is its result")]
#![allow(clippy::print_stderr, reason = "errors of a task go to its caller's terminal")]

mod ci;
mod docs;
mod fuzz;
mod kafka;
mod python;
mod setup;
mod sh;
mod tests_report;
mod tidy;
mod tools;
mod verbs;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Tasks of the cardlens repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs every check: formatting, lints, all tests, fuzzing, docs, licences, tidy.
    Ci,
    /// Builds cardlens and runs its demonstration; further arguments go to `cardlens demo`.
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs the slow proofs: many kills, many seeds; prints what was proved.
    Prove(verbs::Effort),
    /// Builds for release and measures; further arguments go to the bench binary.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Writes the generated reference pages of docs/reference.
    Docs {
        /// Writes nothing and fails if a page in the tree differs.
        #[arg(long)]
        check: bool,
    },
    /// Checks the rules of the house that no compiler knows.
    Tidy,
    /// Installs what the other tasks need and is not there yet.
    Setup,
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::open()?;
    match task {
        Task::Ci => return ci::ci(&workspace),
        Task::Demo { args } => verbs::demo(&workspace, &args)?,
        Task::Prove(effort) => verbs::prove(&workspace, &effort)?,
        Task::Bench { args } => verbs::bench(&workspace, &args)?,
        Task::Docs { check } => docs::docs(&workspace, check)?,
        Task::Tidy => tidy::tidy(&workspace)?,
        Task::Setup => drop(setup::everything(&workspace)?),
    }
    Ok(ExitCode::SUCCESS)
}
