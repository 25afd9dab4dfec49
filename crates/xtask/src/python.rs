//! What tests need of Python, each set in a virtual environment of its own below `target/tools`.
//!
//! A requirements file pins it and all it needs. A copy of that file beside it says what is there;
//! while it is the same, nothing is resolved.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{sh, tools};

/// One virtual environment.
struct Environment {
    /// Its folder in `target/tools`.
    name: &'static str,
    /// What is in it, as people call it.
    content: &'static str,
    /// The requirements file.
    pins: &'static str,
}

const ALL: [Environment; 2] = [
    // moto, which speaks S3.
    Environment {
        name: "s3",
        content: "the object store of the tests",
        pins: "tests/s3/requirements.txt",
    },
    Environment {
        name: "clients",
        content: "the gateway's clients of the tests",
        pins: "crates/query/tests/clients/requirements.txt",
    },
];

/// Makes all of it present.
pub fn resolve(workspace: &Workspace) -> Result<()> {
    ALL.iter().try_for_each(|environment| environment.resolve(workspace))
}

impl Environment {
    fn resolve(&self, workspace: &Workspace) -> Result<()> {
        let venv = workspace.target.join("tools").join(self.name);
        let stamp = venv.join("pins");
        let pins =
            fs::read_to_string(self.pins).with_context(|| format!("read `{}`", self.pins))?;
        if fs::read_to_string(&stamp).is_ok_and(|there| there == pins) {
            return Ok(());
        }
        println!("installing {} into {}", self.content, workspace.relative(&venv));
        let python = tools::environment(&venv)?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        sh::run(Command::new(python).args(pip).args(["-r", self.pins]))?;
        fs::write(&stamp, pins).with_context(|| format!("write `{}`", stamp.display()))
    }
}
