//! The object store that tests run: moto, which speaks S3, in `target/tools/s3`.
//!
//! `tests/s3/requirements.txt` pins it and all it needs. A copy of that file beside it says what is
//! there; while it is the same, nothing is resolved.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{sh, tools};

const PINS: &str = "tests/s3/requirements.txt";

/// Makes the pinned server present.
pub fn resolve(workspace: &Workspace) -> Result<()> {
    let venv = workspace.target.join("tools/s3");
    let stamp = venv.join("pins");
    let pins = fs::read_to_string(PINS).with_context(|| format!("read `{PINS}`"))?;
    if fs::read_to_string(&stamp).is_ok_and(|there| there == pins) {
        return Ok(());
    }
    println!("installing the object store of the tests into {}", workspace.relative(&venv));
    let python = tools::environment(&venv)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    sh::run(Command::new(python).args(pip).arg(PINS))?;
    fs::write(&stamp, pins).with_context(|| format!("write `{}`", stamp.display()))
}
