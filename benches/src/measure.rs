//! What a side costs: CPU seconds, user and system, of a whole process tree.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// CPU and wall time of something.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// CPU seconds.
    pub cpu_s: f64,
    /// Seconds that passed.
    pub wall_s: f64,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { cpu_s: self.cpu_s + other.cpu_s, wall_s: self.wall_s + other.wall_s }
    }

    /// What is left of it without a part.
    #[must_use]
    pub fn minus(self, part: Self) -> Self {
        Self { cpu_s: self.cpu_s - part.cpu_s, wall_s: self.wall_s - part.wall_s }
    }
}

/// Measures a part of this process, all of its threads together.
#[derive(Debug)]
pub struct Stopwatch {
    who: UsageWho,
    cpu_s: f64,
    started: Instant,
}

impl Stopwatch {
    /// Measures this process from now.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn own() -> Result<Self> {
        Self::of(UsageWho::RUSAGE_SELF)
    }

    /// Measures the children that end from now on, and theirs.
    fn children() -> Result<Self> {
        Self::of(UsageWho::RUSAGE_CHILDREN)
    }

    #[allow(clippy::disallowed_methods, reason = "a measurement is the reading of a clock")]
    fn of(who: UsageWho) -> Result<Self> {
        Ok(Self { who, cpu_s: cpu_s(&getrusage(who)?), started: Instant::now() })
    }

    /// What it took until now.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn read(&self) -> Result<Cost> {
        let wall_s = self.started.elapsed().as_secs_f64();
        Ok(Cost { cpu_s: cpu_s(&getrusage(self.who)?) - self.cpu_s, wall_s })
    }
}

#[allow(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^53")]
fn cpu_s(usage: &Usage) -> f64 {
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// CPU seconds of this process so far, all of its threads together.
///
/// # Errors
/// The system does not tell.
pub fn spent() -> Result<f64> {
    Ok(cpu_s(&getrusage(UsageWho::RUSAGE_SELF)?))
}

/// The reading of a clock, for benches that time parts themselves.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a measurement is the reading of a clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The CPU time of one thread of this process, read by any other.
#[derive(Debug)]
pub struct ThreadClock(PathBuf);

impl ThreadClock {
    /// That of the thread that asks.
    ///
    /// # Errors
    /// `/proc` does not tell.
    pub fn own() -> Result<Self> {
        let thread = std::fs::read_link("/proc/thread-self").context("find the own thread")?;
        Ok(Self(Path::new("/proc").join(thread).join("schedstat")))
    }

    /// CPU seconds until now.
    ///
    /// # Errors
    /// The thread has ended, or this system does not count what its threads spend.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run are far below 2^53")]
    pub fn read(&self) -> Result<f64> {
        let path = self.0.display();
        let text = std::fs::read_to_string(&self.0).with_context(|| format!("read `{path}`"))?;
        let ns = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
        Ok(ns.with_context(|| format!("`{path}` says `{}`", text.trim()))? as f64 / 1e9)
    }
}

/// Bytes of memory that this process holds now.
///
/// # Errors
/// `/proc` does not tell.
pub fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read the memory in use")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    Ok(kib.trim().parse::<u64>()? * 1_024)
}

/// The most bytes of memory that this process has held.
///
/// # Errors
/// The system does not tell.
pub fn resident_max() -> Result<u64> {
    let kib = getrusage(UsageWho::RUSAGE_SELF)?.max_rss();
    Ok(u64::try_from(kib).unwrap_or(0) * 1_024)
}

/// Runs a side in a process of its own; returns what it said last, as JSON, and what it cost.
///
/// # Errors
/// The side fails or says something else.
pub fn side<T: DeserializeOwned>(name: &str, arguments: &[&str]) -> Result<(T, Cost)> {
    let watch = Stopwatch::children()?;
    let output = Command::new(std::env::current_exe()?)
        .arg("side")
        .arg(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run side `{name}`"))?;
    let cost = watch.read()?;
    if !output.status.success() {
        bail!("side `{name}` failed: {}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().with_context(|| format!("side `{name}` said nothing"))?;
    let answer = serde_json::from_str(last).with_context(|| format!("`{name}` said `{last}`"))?;
    Ok((answer, cost))
}

/// Runs another program as a side; what it says goes to where progress goes.
///
/// # Errors
/// It does not start, or fails.
pub fn process(command: &mut Command) -> Result<Cost> {
    let program = command.get_program().to_string_lossy().into_owned();
    let watch = Stopwatch::children()?;
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("start `{program}`"))?;
    let cost = watch.read()?;
    if !status.success() {
        bail!("`{program}` ended with {status}");
    }
    Ok(cost)
}

/// A side that stays alive between questions, so that what it built up is built once.
#[derive(Debug)]
pub struct Live {
    name: String,
    child: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Live {
    /// Starts a side; its first answer comes unasked, once it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("side").arg(name).args(arguments);
        Self::of(name, command)
    }

    /// Starts another program that answers as a side does.
    ///
    /// # Errors
    /// It does not start.
    pub fn of(name: &str, mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start side `{name}`"))?;
        let answers = child.stdout.take().context("a side without output")?;
        Ok(Self {
            name: name.to_owned(),
            questions: child.stdin.take(),
            answers: BufReader::new(answers).lines(),
            child,
        })
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// The side ended, or said something else.
    pub fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.answers.next().with_context(|| format!("side `{}` ended", self.name))??;
        serde_json::from_str(&line).with_context(|| format!("`{}` said `{line}`", self.name))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// As [`Live::answer`].
    pub fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Result<T> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions, "{question}")?;
            questions.flush()?;
        }
        self.answer()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Without further questions it ends by itself.
        self.questions = None;
        if let Err(error) = self.child.wait() {
            eprintln!("side `{}`: {error}", self.name);
        }
    }
}

/// The build's target directory: workloads, outputs and results lie below it.
///
/// # Errors
/// This program does not lie in one.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let mut above = program.ancestors();
    // Cargo puts this into every folder it builds in, a tag only into those it made itself.
    let target = above.find(|path| path.join(".rustc_info.json").exists());
    target.map(Path::to_owned).context("find the target directory of the build")
}

/// The median of some figures, and 0 of none.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Where and when figures were measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Operating system, architecture and processors.
    pub machine: String,
    /// The processor's name.
    pub cpu: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The time, in UTC.
    pub date: String,
    /// The commit that was built, with `-dirty` when the tree differs from it.
    pub commit: String,
}

/// Describes this machine and this moment.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "results carry the time at which they were measured")]
pub fn environment() -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let kib = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib = kib.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let now_ms = i64::try_from(seconds * 1_000).unwrap_or_default();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).stderr(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut commit = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|it| !it.is_empty()) {
        commit.push_str("-dirty");
    }
    Environment {
        machine: format!(
            "{} {}, {processors} processors",
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        memory: kib * 1_024,
        date: cardlens_model::EventTime(now_ms).to_string(),
        commit,
    }
}

/// Bytes of memory that a new process may take.
///
/// # Errors
/// `/proc` does not tell.
pub fn available() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read the memory there is")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no MemAvailable")?;
    Ok(kib.trim().parse::<u64>()? * 1_024)
}
