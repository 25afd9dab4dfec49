//! W1 in Flink: the job of `benches/rivals/flink`, built by Maven, run in a JVM of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::foreign::{once, require, sources, step};
use crate::measure::{Cost, process};

/// Of the collectors this one cost the least in trial runs; G1, the usual one, a tenth more.
const JVM: [&str; 2] = ["-XX:+UseParallelGC", "-Xmx4g"];
const JOB: &str = "cardlens.rivals.W1Job";
/// A JDK has the compiler that Maven calls; a runtime alone has not.
const JDK: &str = "default-jdk-headless";

/// Where the job keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Objects on the heap, no checkpoints.
    Heap,
    /// `RocksDB`, with a checkpoint every ten seconds.
    Rocksdb,
}

/// The job, built.
#[derive(Debug)]
pub struct Flink {
    /// For what runs write.
    directory: PathBuf,
    classpath: String,
}

impl Flink {
    /// Builds the job below a directory, unless that was done: the first time over the network.
    ///
    /// # Errors
    /// There is no Java or Maven, or it does not build.
    pub fn build(directory: &Path) -> Result<Self> {
        require("java", &["-version"], JDK)?;
        require("javac", &["-version"], JDK)?;
        require("mvn", &["-version"], "maven")?;
        let pom = sources("flink").join("pom.xml");
        let directory = directory.join("flink");
        let made = directory.join("built");
        once(&made, &texts(&pom)?, || {
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", "-Dstyle.color=never", "-f"]).arg(&pom);
            step(maven.arg(format!("-Dbuilt={}", made.display())).arg("compile"))
        })?;
        let classpath = format!("{0}/classes:{0}/lib/*", made.display());
        Ok(Self { directory, classpath })
    }

    /// Runs the task over a file of transactions; returns the changes and what it cost.
    ///
    /// # Errors
    /// The job fails.
    pub fn run(&self, input: &Path, state: State) -> Result<(Vec<u8>, Cost)> {
        let run = self.directory.join("run");
        if run.exists() {
            fs::remove_dir_all(&run).with_context(|| format!("empty `{}`", run.display()))?;
        }
        let (output, scratch) = (run.join("output"), run.join("scratch"));
        fs::create_dir_all(&scratch).with_context(|| format!("make `{}`", scratch.display()))?;
        let mut java = Command::new("java");
        java.args(JVM).arg(format!("-Djava.io.tmpdir={}", scratch.display()));
        java.args(["-cp", &self.classpath, JOB]).args([input, &output]);
        match state {
            State::Heap => java.arg("heap"),
            State::Rocksdb => java.arg("rocksdb").arg(run.join("checkpoints")),
        };
        let cost = process(&mut java)?;
        Ok((gather(&output)?, cost))
    }
}

/// What the job is made of.
fn texts(pom: &Path) -> Result<String> {
    let mut files = vec![pom.to_owned()];
    let folder = sources("flink").join("src/main/java/cardlens/rivals");
    for entry in fs::read_dir(&folder).with_context(|| format!("list `{}`", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).with_context(|| format!("read `{}`", file.display())));
    Ok(texts.collect::<Result<Vec<_>>>()?.concat())
}

/// Puts the files of a sink together: `part-`, a name of the run, `-` and a number.
fn gather(folder: &Path) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A part that was not finished has a dot in front, and behind its number.
        let number = name.rsplit_once('-').and_then(|(_, number)| number.parse::<u64>().ok());
        parts.push((number.with_context(|| format!("`{name}` is no finished part"))?, path));
    }
    parts.sort();
    ensure!(!parts.is_empty(), "there is no part in `{}`", folder.display());
    let mut whole = Vec::new();
    for (_, path) in parts {
        whole.extend(fs::read(&path).with_context(|| format!("read `{}`", path.display()))?);
    }
    Ok(whole)
}
