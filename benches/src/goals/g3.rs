//! G3: replaying W1 from its file, against engines that others made.
//!
//! Each rival does the whole task, from the same lines to the same lines, with nothing but the task
//! in it: no duplicates, no late records, rules compiled by hand. A rival pays for its start, and a
//! JVM for compiling what it runs; in a long run that would be little, so what lies beyond the
//! first tenth of the input is told apart. The product takes no snapshots here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Bench, Outcome, Run};
use crate::load::w1::{Answer, W1};
use crate::measure::{Cost, median, side};
use crate::rivals::duckdb::Duckdb;
use crate::rivals::flink::{Flink, State};

/// The file, or the beginning of it, and the changes that it must give.
struct Input {
    file: PathBuf,
    transactions: u64,
    changes: Vec<u8>,
}

/// Runs the task: from a file to the changes, and what that cost.
type Task<'a> = &'a dyn Fn(&Path) -> Result<(Vec<u8>, Cost)>;

/// An engine that runs the task.
struct Rival<'a> {
    /// How its line begins.
    line: &'static str,
    name: &'static str,
    /// What the ratio is to come to, where that was ever set; the first release is only printed.
    goal: Option<u32>,
    run: Task<'a>,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let flink = Flink::build(&bench.directory).context("prepare Flink")?;
    let duckdb = Duckdb::install(&bench.directory).context("prepare DuckDB")?;
    let rivals = [
        Rival {
            line: "G3 flink heap",
            name: "Flink, heap state",
            goal: Some(12),
            run: &|input| flink.run(input, State::Heap),
        },
        Rival {
            line: "G3 flink rocksdb",
            name: "Flink, RocksDB, a checkpoint every 10 s",
            goal: Some(60),
            run: &|input| flink.run(input, State::Rocksdb),
        },
        Rival {
            line: "G3 duckdb",
            // A batch over input that is all there, and only the sums that the rule asks for.
            name: "DuckDB, point-in-time SQL, one thread",
            goal: None,
            run: &|input| duckdb.run(input),
        },
    ];
    let workload = W1::STANDARD;
    let tenth = workload.transactions / 10;
    let first = Input::new(bench, workload.beginning(&bench.directory, tenth)?, None)?;
    let whole = Input::new(bench, workload.file(&bench.directory)?, workload.oracle())?;
    ensure!(whole.changes.starts_with(&first.changes), "cardlens: a tenth has other changes");
    rivals.iter().map(|rival| rival.compare(bench, &first, &whole)).collect()
}

impl Input {
    /// Takes the product's changes for right when they agree with the oracle.
    fn new(bench: &Bench, file: PathBuf, oracle: Option<Answer>) -> Result<Self> {
        let (changes, answer, _) = cardlens(bench, &file)?;
        ensure!(oracle.is_none_or(|oracle| oracle == answer), "{answer:?} is not {oracle:?}");
        Ok(Self { file, transactions: answer.records, changes })
    }

    fn check(&self, name: &str, changes: &[u8], cost: Cost) -> Result<Run> {
        ensure!(
            changes == self.changes,
            "{name}: the changes over `{}` are not those of the oracle",
            self.file.display()
        );
        Ok(Run::new(self.transactions, cost))
    }
}

impl Rival<'_> {
    fn compare(&self, bench: &Bench, first: &Input, whole: &Input) -> Result<Outcome> {
        let both = |input: &Input| -> Result<[Run; 2]> {
            let (changes, cost) = (self.run)(&input.file)?;
            let rival = input.check(self.name, &changes, cost)?;
            let (changes, _, cost) = cardlens(bench, &input.file)?;
            Ok([rival, input.check("cardlens", &changes, cost)?])
        };
        let (mut starts, mut rounds) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            starts.push(both(first)?);
            rounds.push(both(whole)?);
        }
        let cost = |side: usize| {
            let seconds: Vec<_> = starts.iter().map(|round| round[side].cost.cpu_s).collect();
            median(&seconds)
        };
        let later = |side: usize| {
            let rounds = starts.iter().zip(&rounds);
            let later = rounds.map(|(first, whole)| beyond(first[side], whole[side]).ns);
            median(&later.collect::<Vec<_>>())
        };
        let start = format!(
            "the first tenth, with start and warm-up, took {:.2} and {:.2} CPU seconds; beyond it \
             {:.0} ns against {:.0} ns an event: {:.2}",
            cost(0),
            cost(1),
            later(0),
            later(1),
            later(0) / later(1)
        );
        let what = "replaying W1 from a file, W1's output lines";
        let mut outcome = Outcome::new(self.line, what, None, [self.name, "cardlens"], rounds)
            .remark(start)
            .remark("outputs are equal byte for byte, and agree with the oracle".to_owned());
        if let Some(goal) = self.goal {
            outcome = outcome.remark(format!("the goal is {goal} or more"));
        }
        Ok(outcome)
    }
}

/// A run without its beginning, which was run by itself.
fn beyond(first: Run, whole: Run) -> Run {
    Run::new(whole.events - first.events, whole.cost.minus(first.cost))
}

fn cardlens(bench: &Bench, input: &Path) -> Result<(Vec<u8>, Answer, Cost)> {
    let output = bench.directory.join("cardlens.jsonl");
    let paths = [input, &output].map(Path::to_string_lossy);
    let (answer, cost): (Answer, _) = side("spine", &[&paths[0], &paths[1]])?;
    let changes = fs::read(&output).with_context(|| format!("read `{}`", output.display()))?;
    Ok((changes, answer, cost))
}
