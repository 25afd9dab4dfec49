//! Rules of the house that no compiler knows, checked over the whole tree.
//!
//! Every check is a function of the [`Tree`] (or of `cargo metadata`) to findings, so that its
//! tests need no disk. A finding says where it is and what to do about it.

mod edges;
mod layout;
mod size;
mod tree;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::{Result, bail};

use crate::tidy::tree::Tree;
use crate::workspace::Workspace;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    advice: String,
}

impl Finding {
    fn new(path: &str, line: usize, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

/// Checks everything and prints what is broken.
pub fn tidy(workspace: &Workspace) -> Result<()> {
    let tree = Tree::read(&workspace.root)?;
    let mut findings = edges::members(&workspace.metadata);
    findings.extend(edges::lock(&tree));
    findings.extend(words::words(&tree));
    findings.extend(size::sizes(&tree));
    findings.extend(layout::layout(&tree));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} lines above break a rule of the house", findings.len());
    }
    println!("tidy: {} files keep the rules", tree.file_count());
    Ok(())
}
