//! What `cargo metadata` says about this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::sh;

/// The workspace a task works on. Opening it makes its root the current directory.
#[derive(Debug)]
pub struct Workspace {
    /// Folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Where cargo puts what it builds; tools and broker jars go there too.
    pub target: PathBuf,
    /// The members with their declared dependencies.
    pub metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    pub fn open() -> Result<Self> {
        let text = sh::output(&mut sh::cargo(["metadata", "--format-version=1", "--no-deps"]))?;
        let metadata: Value = serde_json::from_str(&text).context("read cargo metadata")?;
        let path = |key: &str| {
            metadata[key].as_str().map(PathBuf::from).with_context(|| format!("metadata: {key}"))
        };
        let (root, target) = (path("workspace_root")?, path("target_directory")?);
        std::env::set_current_dir(&root).with_context(|| format!("enter `{}`", root.display()))?;
        Ok(Self { root, target, metadata })
    }

    /// Builds every binary for release or development and returns a call of `name`.
    ///
    /// The whole workspace at once: building one package alone would pick fewer features of
    /// shared dependencies and compile them a second time.
    pub fn build(&self, name: &str, release: bool) -> Result<Command> {
        let mut build = sh::cargo(["build", "--workspace", "--bins", "--locked"]);
        if release {
            build.arg("--release");
        }
        sh::run(&mut build)?;
        Ok(self.program(name, if release { "release" } else { "debug" }))
    }

    /// Builds the tests and the programs they start; together, so that dependencies get the same
    /// features in both and are compiled once.
    pub fn build_tests() -> Result<()> {
        sh::run(&mut sh::cargo(["build", "--workspace", "--bins", "--tests", "--locked"]))
    }

    /// Returns a call of a binary that was built before.
    pub fn program(&self, name: &str, profile: &str) -> Command {
        Command::new(self.target.join(profile).join(name))
    }

    /// Returns `path` as a reader of this terminal would write it.
    pub fn relative<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
