//! Reference pages that cardlens writes about itself, in `docs/reference`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{setup, sh};

/// The pages: `cardlens reference <name>` writes `docs/reference/<name>.md`.
pub const REFERENCES: [&str; 3] = ["config", "metrics", "features"];
/// Where they are.
pub const FOLDER: &str = "docs/reference";

/// Writes all pages, or with `check` compares them with the tree.
pub fn docs(workspace: &Workspace, check: bool) -> Result<()> {
    setup::for_build()?;
    workspace.build("cardlens", false)?;
    pages(workspace, &REFERENCES, check)
}

/// Compares the pages that are in the tree, by the cardlens that was built before.
pub fn check_present(workspace: &Workspace) -> Result<()> {
    let there = |name: &&str| workspace.root.join(FOLDER).join(name).with_extension("md").exists();
    let present: Vec<_> = REFERENCES.into_iter().filter(there).collect();
    if present.is_empty() { Ok(()) } else { pages(workspace, &present, true) }
}

fn pages(workspace: &Workspace, names: &[&str], check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for name in names {
        let mut cardlens = workspace.program("cardlens", "debug");
        let text = sh::output(cardlens.args(["reference", name]))?;
        let path = format!("{FOLDER}/{name}.md");
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path);
            continue;
        }
        fs::create_dir_all(FOLDER).with_context(|| format!("create `{FOLDER}`"))?;
        fs::write(&path, text).with_context(|| format!("write `{path}`"))?;
        println!("wrote {path}");
    }
    if !stale.is_empty() {
        bail!("{} out of date: run `cargo xtask docs` and commit", stale.join(", "));
    }
    Ok(())
}
