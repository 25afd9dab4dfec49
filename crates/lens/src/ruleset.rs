//! The rule set: what an issuer's folder of TOML files says, checked as a whole.
//!
//! A rule set is plain data with a version and a digest of the files it came from. Its expressions
//! are parsed but not yet typed; [`crate::Lens::compile`] does that against the columns at hand.
//! Rules keep their order: files by name, then as written.

use std::collections::BTreeSet;

use cardlens_model::{CategoryTable, Problem, ValueModel};

use crate::default::DEFAULT;
use crate::expression::{Expression, SCORE};
use crate::nearest::nearest;
use crate::parse;
use crate::reader::Source;
use crate::sensitive::REVIEW;
use crate::stability::Hold;

/// Most needs of a rule set: memberships are bits of a word.
pub(crate) const NEEDS_MAX: usize = 64;
/// Most tiers, and most stages of the lifecycle.
pub(crate) const STAGES_MAX: usize = 16;
/// The feature that every rule set reads: events carry it.
pub(crate) const MARGIN: &str = "margin_365d";

/// One piece of evidence for a need.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// A condition, or a number that is clipped to 0..1.
    pub expression: Expression,
    /// What it adds to the score where it holds, in millionths.
    pub weight_micro: i32,
}

/// A place in the files of a rule set, for [`RuleSet::problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub(crate) file: usize,
    pub(crate) offset: usize,
}

/// A test of a need: transactions, a moment, and who stands where with the need by then.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleTest {
    /// What it shows.
    pub name: String,
    /// File of transactions, relative to the rule set's folder.
    pub given: String,
    /// The moment at which memberships are looked at, as the file has it.
    pub at: String,
    /// What is expected; never empty.
    pub expect: Vec<Expected>,
    /// Where it is written.
    pub spot: Spot,
}

/// What a test expects of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The customer's id.
    pub customer: String,
    /// Where it stands.
    pub standing: Standing,
    /// Where that is written.
    pub spot: Spot,
}

/// Where a customer stands with a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never entered it.
    None,
    /// Entered it and has it.
    Entered,
    /// Had it and left it.
    Left,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 3] = [Self::None, Self::Entered, Self::Left];

    /// The name used in rule files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Entered => "entered",
            Self::Left => "left",
        }
    }
}

/// A need: scored by its terms, entered and left by its conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// Its name in events and SQL.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Who answers for the rule.
    pub owner: String,
    /// The lens it belongs to, L0 to L6.
    pub lens: String,
    /// What it may be used for.
    pub purpose: String,
    /// What it means.
    pub description: String,
    /// When it is entered; reads `score` beside features.
    pub enter: Expression,
    /// When it is left, if that is not simply where `enter` does not hold.
    pub exit: Option<Expression>,
    /// How long states last.
    pub hold: Hold,
    /// Subjects of dialogue that are evidence for it.
    pub answers: Vec<String>,
    /// What to do about a change.
    pub action_key: Option<String>,
    /// Products and services that meet it.
    pub bundle: Vec<String>,
    /// The expanded need set.
    pub expanded: Vec<String>,
    /// Evidence, in the order of the file.
    pub terms: Vec<Term>,
    /// Its tests.
    pub tests: Vec<RuleTest>,
}

/// A value tier or a stage of the lifecycle. The first of its axis whose `when` holds applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name in events and SQL.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// What it means.
    pub description: String,
    /// The team whose customers these are.
    pub team: Option<String>,
    /// What is decided about them.
    pub decision: Option<String>,
    /// What to do about a change.
    pub action_key: Option<String>,
    /// When it applies.
    pub when: Expression,
    /// When it no longer does, if that is not simply where `when` does not hold.
    pub exit: Option<Expression>,
    /// How long states last.
    pub hold: Hold,
}

/// Merchant category codes of one category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryRange {
    /// First code.
    pub low: u16,
    /// Last code.
    pub high: u16,
    /// Name of the category.
    pub name: String,
}

/// A checked rule set.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSet {
    /// Its version; later versions are greater.
    pub version: u32,
    /// What it is called.
    pub name: String,
    /// 32 hexadecimal digits that change with any byte of the files.
    pub digest: String,
    /// Needs, in order.
    pub needs: Vec<Need>,
    /// Value tiers, best first.
    pub tiers: Vec<Stage>,
    /// Stages of the lifecycle, in order.
    pub lifecycle: Vec<Stage>,
    /// Which codes belong to which category.
    pub categories: Vec<CategoryRange>,
    /// How margin is computed.
    pub value: ValueModel,
    pub(crate) files: Vec<(String, String)>,
}

impl RuleSet {
    /// Reads a rule set from its files, given as names and texts in any order; files that are not
    /// `*.toml` are passed over.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut files: Vec<_> =
            files.iter().filter(|(name, _)| name.ends_with(".toml")).cloned().collect();
        files.sort();
        let rules = parse::rule_set(&files)?;
        Ok(Self { digest: digest(&files), files, ..rules })
    }

    /// Names and texts of its files, in the order of their names.
    #[must_use]
    pub fn files(&self) -> &[(String, String)] {
        &self.files
    }

    /// The files of the rule set that comes with cardlens.
    #[must_use]
    pub fn default_files() -> Vec<(String, String)> {
        DEFAULT.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    /// The features that the rules read, each once, in alphabetical order.
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        let mut names: BTreeSet<&str> = BTreeSet::from([MARGIN]);
        for expression in self.expressions() {
            names.extend(expression.columns.iter().map(|(name, _)| name.as_str()));
        }
        names.remove(SCORE);
        names.into_iter().map(str::to_owned).collect()
    }

    /// The categories, with the codes that privacy keeps out of everything but value.
    #[must_use]
    pub fn category_table(&self, withheld: &[u16]) -> CategoryTable {
        CategoryTable::new(&parse::ranges(&self.categories), withheld)
            .expect("the ranges were checked when the rule set was read")
    }

    /// A fault at a place of the files.
    #[must_use]
    pub fn problem(&self, spot: Spot, message: String) -> Problem {
        self.source(spot.file).problem(spot.offset, message)
    }

    /// The places where a feature is read that does not exist, as problems of the files; `nearest`
    /// is what may have been meant.
    #[must_use]
    pub fn unknown_feature(&self, name: &str, nearest: Option<&str>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for expression in self.expressions() {
            for (_, offset) in expression.columns.iter().filter(|(column, _)| column == name) {
                let source = self.source(expression.file);
                let problem = source.problem(*offset, format!("there is no feature `{name}`"));
                problems.push(match nearest {
                    Some(nearest) => problem.suggest(format!("did you mean `{nearest}`?")),
                    None => problem,
                });
            }
        }
        problems
    }

    /// What is allowed and deserves a second look: needs that read categories with codes of
    /// [`REVIEW`], and needs that read categories of which everything is withheld.
    #[must_use]
    pub fn warnings(&self, withheld: &[u16]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for need in &self.needs {
            for expression in need.expressions() {
                for (column, offset) in &expression.columns {
                    if let Some(message) = self.doubt(column, withheld) {
                        problems.push(self.source(expression.file).problem(*offset, message));
                    }
                }
            }
        }
        problems
    }

    fn doubt(&self, column: &str, withheld: &[u16]) -> Option<String> {
        let names: BTreeSet<&str> = self.categories.iter().map(|r| r.name.as_str()).collect();
        let rest = column.split_once("share_").filter(|(before, _)| matches!(*before, "" | "txn_"));
        let rest = rest.map_or(column, |(_, rest)| rest);
        let reads = |name: &str| rest.strip_prefix(name).is_some_and(|r| r.starts_with('_'));
        let category =
            names.into_iter().filter(|name| reads(name)).max_by_key(|name| name.len())?;
        let holds = |mcc: u16| {
            let mut ranges = self.categories.iter().filter(|range| range.name == category);
            ranges.any(|range| range.low <= mcc && mcc <= range.high)
        };
        let mut codes = self.categories.iter().filter(|range| range.name == category);
        if codes.all(|range| (range.low..=range.high).all(|mcc| withheld.contains(&mcc))) {
            return Some(format!("all of category `{category}` is withheld: nothing is seen"));
        }
        let review: Vec<String> = REVIEW
            .iter()
            .filter(|mcc| holds(**mcc) && !withheld.contains(mcc))
            .map(|mcc| format!("{mcc:04}"))
            .collect();
        (!review.is_empty()).then(|| {
            format!("`{column}` counts merchants that deserve review: MCC {}", review.join(", "))
        })
    }

    /// Every expression of every rule.
    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let stages = self.tiers.iter().chain(&self.lifecycle);
        let stages = stages.flat_map(|stage| [Some(&stage.when), stage.exit.as_ref()]);
        self.needs.iter().flat_map(Need::expressions).chain(stages.flatten())
    }

    pub(crate) fn source(&self, file: usize) -> Source<'_> {
        let (name, text) = &self.files[file];
        Source { file, name, text }
    }

    /// The columns an expression reads that are not among those known.
    pub(crate) fn unknown_columns(&self, rule: &Expression, known: &[&str]) -> Vec<Problem> {
        let source = self.source(rule.file);
        let unknown = rule.columns.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        let problems = unknown.map(|(name, offset)| {
            let problem = source.problem(*offset, format!("there is no feature `{name}`"));
            match nearest(name, known.iter().copied()) {
                Some(near) => problem.suggest(format!("did you mean `{near}`?")),
                None => problem,
            }
        });
        problems.collect()
    }

    /// A fault of a whole expression.
    pub(crate) fn fault(&self, rule: &Expression, message: String) -> Problem {
        self.source(rule.file).problem(rule.offset, message)
    }

    /// A fault of the rule set as a whole.
    pub(crate) fn general(&self, message: String) -> Problem {
        let file = self.name.clone();
        Problem { file, line: 0, column: 0, message, suggestion: None }
    }
}

impl Need {
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let terms = self.terms.iter().map(|term| &term.expression);
        std::iter::once(&self.enter).chain(self.exit.as_ref()).chain(terms)
    }
}

/// FNV-1a of 128 bits over each file's name and text, each led by its length as 8 bytes, least
/// byte first; the files in order of their names. It tells rule sets apart, it does not sign them.
///
/// Source: G. Fowler, L. Noll, K.-P. Vo, D. Eastlake, "The FNV Non-Cryptographic Hash Algorithm".
fn digest(files: &[(String, String)]) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for text in files.iter().flat_map(|(name, text)| [name, text]) {
        let length = (text.len() as u64).to_le_bytes();
        for byte in length.iter().chain(text.as_bytes()) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
    format!("{hash:032x}")
}
