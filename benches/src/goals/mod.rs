//! The goals: what is compared with what, whether the answers are right, and what came out.
//!
//! Sides alternate, A-B-A-B, so that what else the machine does meets both. The ratio of the
//! medians counts; the worst round is shown beside it. Answers are checked before anything is
//! measured: a wrong answer is an error and no result.

mod beside;
mod g1;
mod g2;
mod g3;
mod g4;
mod g5;
mod g6;
mod g7;
mod g8;
mod sql;

pub use g1::loaded_broker;

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::measure::{Cost, median};

/// Every goal that is measured here, in the order of running.
pub const ALL: [&str; 10] = ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "SQL", "INGEST"];

/// Where things lie and how often sides are run.
#[derive(Debug, Clone)]
pub struct Bench {
    /// For workloads and outputs.
    pub directory: PathBuf,
    /// Rounds, each of both sides.
    pub rounds: usize,
    /// Customers of the goals whose time or memory grows with them, where not their own number.
    pub customers: Option<u32>,
}

/// One run of one side.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Run {
    /// What was worked on: records, messages.
    pub events: u64,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// What the goal compares: CPU nanoseconds an event, unless it says otherwise.
    pub ns: f64,
}

impl Run {
    /// A run over so many events.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
    pub fn new(events: u64, cost: Cost) -> Self {
        Self { events, cost, ns: cost.cpu_s * 1e9 / events as f64 }
    }
}

/// Both sides once, in the order of their names.
pub type Round = [Run; 2];

/// What came out of a goal: the first side's cost over the second's.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// `G2`; with a word for each rival where there are some, `G3 duckdb`.
    pub goal: &'static str,
    /// What is measured, in words.
    pub what: String,
    /// What the nanoseconds of rounds count.
    pub counted_in: &'static str,
    /// Ratio of the medians of those.
    pub ratio: f64,
    /// The worst ratio of one round: the smallest, where more is better.
    pub worst: f64,
    /// What the first release has to reach, and the goal; nothing for what is only printed.
    pub bounds: Option<[f64; 2]>,
    /// The most that the ratio may come to, where less is better.
    pub most: Option<f64>,
    /// What its line says in place of the ratio, where that is not what is asked for.
    pub figure: Option<String>,
    /// Names of the sides.
    pub sides: [&'static str; 2],
    /// All rounds.
    pub rounds: Vec<Round>,
    /// What else there is to know.
    pub remarks: Vec<String>,
}

impl Outcome {
    /// Puts rounds together.
    #[must_use]
    pub fn new(
        goal: &'static str,
        what: impl Into<String>,
        bounds: Option<[f64; 2]>,
        sides: [&'static str; 2],
        rounds: Vec<Round>,
    ) -> Self {
        let ns = |side: usize| rounds.iter().map(|round| round[side].ns).collect::<Vec<_>>();
        let ratio = median(&ns(0)) / median(&ns(1));
        let (what, counted_in, remarks) = (what.into(), "ns of CPU an event", Vec::new());
        let (worst, most, figure) = (f64::INFINITY, None, None);
        let mut made = Self {
            goal,
            what,
            counted_in,
            ratio,
            worst,
            bounds,
            most,
            figure,
            sides,
            rounds,
            remarks,
        };
        made.worst = made.ratios().fold(f64::INFINITY, f64::min);
        made
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(|[a, b]| a.ns / b.ns)
    }

    /// The smaller the ratio, the better.
    #[must_use]
    pub fn less_is_better(mut self) -> Self {
        self.worst = self.ratios().fold(0.0, f64::max);
        self
    }

    /// The smaller the ratio, the better, and this is the most that it may come to.
    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        Self { most: Some(most), ..self.less_is_better() }
    }

    /// What is asked for is a figure, not how the sides compare.
    #[must_use]
    pub fn figure(mut self, figure: String) -> Self {
        self.figure = Some(figure);
        self
    }

    /// The nanoseconds of rounds are something else.
    #[must_use]
    pub fn counted_in(mut self, counted_in: &'static str) -> Self {
        self.counted_in = counted_in;
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn remark(mut self, remark: String) -> Self {
        self.remarks.push(remark);
        self
    }

    /// The line of the goal, and below it what stands behind it.
    pub fn print(&self) {
        let figure = self.figure.clone().unwrap_or_else(|| format!("{:.2}", self.ratio));
        let bound = match (self.bounds, self.most) {
            (Some([first, goal]), _) => format!("first release >= {first:.2}, goal >= {goal:.2}"),
            (None, Some(most)) => format!("at most {most:.2}"),
            (None, None) => "printed".to_owned(),
        };
        println!("{} {figure}, {bound}", self.goal);
        println!("   {}; worst of {} rounds {:.2}", self.what, self.rounds.len(), self.worst);
        for (side, name) in self.sides.iter().enumerate() {
            let all = |of: fn(&Run) -> f64| {
                let figures: Vec<_> = self.rounds.iter().map(|round| of(&round[side])).collect();
                median(&figures)
            };
            let (ns, wall_s) = (all(|run| run.ns), all(|run| run.cost.wall_s));
            println!("   {name}: {ns:.0} {}, {wall_s:.2} s wall", self.counted_in);
        }
        for remark in &self.remarks {
            println!("   {remark}");
        }
    }
}

impl Bench {
    /// Runs one goal.
    ///
    /// # Errors
    /// There is no such goal, a side fails, or an answer is wrong.
    pub fn run(&self, goal: &str) -> Result<Vec<Outcome>> {
        match goal {
            "G1" => g1::run(self),
            "G2" => g2::run(self),
            "G3" => g3::run(self),
            "G4" => g4::run(self),
            "G5" => g5::run(self),
            "G6" => g6::run(self),
            "G7" => g7::run(self),
            "G8" => g8::run(self),
            "SQL" => sql::run(self),
            "INGEST" => beside::run(self),
            _ => bail!("there is no goal `{goal}`: {} are measured", ALL.join(", ")),
        }
    }

    /// Runs both sides in turn.
    fn alternate(
        &self,
        mut a: impl FnMut() -> Result<Run>,
        mut b: impl FnMut() -> Result<Run>,
    ) -> Result<Vec<Round>> {
        (0..self.rounds).map(|_| Ok([a()?, b()?])).collect()
    }
}
