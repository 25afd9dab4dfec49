//! Rivals that cargo does not build: sources in `benches/rivals`, what is made of them in a folder
//! of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The folder of a rival's sources.
pub(super) fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(name)
}

/// Fails, and says what to install, where a program does not run.
pub(super) fn require(program: &str, probe: &[&str], package: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(probe).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        bail!(
            "`{program} {}` does not run here, and a rival needs it: install what Debian calls \
             {package} (apt-get install {package}) and run again",
            probe.join(" ")
        );
    }
    Ok(())
}

/// Makes a rival in the folder `made`, unless its stamp says that it was made of the same sources.
pub(super) fn once(made: &Path, of: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = made.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == of) {
        return Ok(());
    }
    eprintln!("making `{}`", made.display());
    if made.exists() {
        fs::remove_dir_all(made).with_context(|| format!("empty `{}`", made.display()))?;
    }
    fs::create_dir_all(made).with_context(|| format!("make `{}`", made.display()))?;
    make()?;
    fs::write(&stamp, of).with_context(|| format!("write `{}`", stamp.display()))
}

/// Runs a step of the making; what it says goes to where progress goes.
pub(super) fn step(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("start `{program}`"))?;
    ensure!(status.success(), "`{program}` ended with {status}");
    Ok(())
}
