//! `DuckDB`: W1 in SQL, on one thread, and statements over customers that were exported. The programs
//! lie in `benches/rivals/duckdb`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::foreign::{once, require, sources, step};
use crate::measure::{Cost, Live, process};

/// The database, in a virtual environment of Python.
#[derive(Debug)]
pub struct Duckdb {
    directory: PathBuf,
    python: PathBuf,
}

impl Duckdb {
    /// Installs the database below a directory, unless that was done.
    ///
    /// # Errors
    /// There is no Python, or the package cannot be had.
    pub fn install(directory: &Path) -> Result<Self> {
        require("python3", &["-c", "import ensurepip, venv"], "python3-venv")?;
        let pins = sources("duckdb").join("requirements.txt");
        let text =
            fs::read_to_string(&pins).with_context(|| format!("read `{}`", pins.display()))?;
        let directory = directory.join("duckdb");
        let venv = directory.join("venv");
        let python = venv.join("bin/python");
        once(&venv, &text, || {
            step(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            step(Command::new(&python).args(pip).args(["--no-deps", "-r"]).arg(&pins))
        })?;
        Ok(Self { directory, python })
    }

    /// Runs the task over a file of transactions; returns the changes and what it cost.
    ///
    /// # Errors
    /// The statement fails.
    pub fn run(&self, input: &Path) -> Result<(Vec<u8>, Cost)> {
        let output = self.directory.join("changes.jsonl");
        let mut python = Command::new(&self.python);
        python.arg(sources("duckdb").join("w1.py")).args([input, &output]);
        // DuckDB spills, if ever, into a folder of where it is started.
        let cost = process(python.current_dir(&self.directory))?;
        let told = fs::read(&output).with_context(|| format!("read `{}`", output.display()))?;
        Ok((told, cost))
    }

    /// Starts a process that answers statements over the exports in a directory. Says how many
    /// customers there are, once all of them are in memory.
    ///
    /// # Errors
    /// It does not start.
    pub fn over(&self, exports: &Path) -> Result<Live> {
        let mut python = Command::new(&self.python);
        python.arg(sources("duckdb").join("customers.py")).arg(exports);
        python.current_dir(&self.directory);
        Live::of("DuckDB", python)
    }
}
