//! W1's task as a rule set of the product, and back: from where a customer stands to its code.

use anyhow::{Result, anyhow};
use cardlens_engine::Deployment;
use cardlens_lens::{Placement, RuleSet};
use cardlens_model::DAY_MS;

use super::w1::DAYS;

const FILES: [(&str, &str); 2] = [
    ("categories.toml", include_str!("../../load/w1_rules/categories.toml")),
    ("rules.toml", include_str!("../../load/w1_rules/rules.toml")),
];

/// The rule set of W1.
///
/// # Errors
/// A fault of its files.
pub fn w1() -> Result<RuleSet> {
    let files = FILES.map(|(name, text)| (name.to_owned(), text.to_owned()));
    RuleSet::parse(&files).map_err(faults)
}

/// A deployment that replays W1: nothing is withheld, and no day closes.
///
/// # Errors
/// A fault of the rule set.
pub fn w1_deployment() -> Result<Deployment> {
    Ok(without_midnights(Deployment { withheld: Vec::new(), ..Deployment::new(w1()?) }))
}

/// The same with `settle` beyond the end of any input: only records are judged.
#[must_use]
pub fn without_midnights(deployment: Deployment) -> Deployment {
    Deployment { settle_ms: 4 * DAYS * DAY_MS, max_future_ms: None, ..deployment }
}

/// The code of W1's task for a customer that stands here.
#[must_use]
pub fn code(placement: Placement) -> u32 {
    let need = u32::from(placement.stage.unwrap_or_default());
    // Tiers are written best first.
    let tier = 3 - u32::from(placement.tier.unwrap_or(3));
    let flag = |place: u32| u32::from(placement.needs >> place & 1 == 1);
    need + 16 * tier + 64 * flag(0) + 128 * flag(1)
}

/// Problems of rules as an error.
#[must_use]
pub fn faults(problems: Vec<cardlens_model::Problem>) -> anyhow::Error {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    anyhow!("{}", lines.join("; "))
}
