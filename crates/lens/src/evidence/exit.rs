//! What a need that is held would be left by.

use arrow_array::RecordBatch;
use cardlens_model::{Evidence, Number};

use super::{Fact, apart, compares, comparison, float, rounded};
use crate::error::Error;
use crate::expression::{Expression, SCORE};
use crate::lens::{Judged, Lens};

/// What a condition asks of the score.
#[derive(Debug, Clone)]
pub(super) struct OfScore {
    text: String,
    op: &'static str,
    bound: f64,
}

impl OfScore {
    /// The first comparison of the score with a constant that has to hold.
    pub(super) fn new(rule: &Expression) -> Option<Self> {
        rule.conjuncts().into_iter().find_map(|arm| {
            let (name, op, bound) = comparison(arm)?;
            let bound = float(bound).filter(|_| name == SCORE)?;
            Some(Self { text: arm.to_string(), op, bound })
        })
    }

    fn evidence(&self, score: f64) -> Evidence<'_> {
        Evidence {
            term: &self.text,
            feature: Some(SCORE),
            value: Number::Float(score),
            op: Some(self.op),
            bound: Some(Number::Float(self.bound)),
            margin: Some(Number::Float(rounded(score - self.bound))),
            weight: None,
        }
    }
}

impl Lens {
    /// The condition that a need would be left by, with how far off it is. The conditions of `exit`
    /// have to hold together, so it is the one that is furthest from holding, against its bound;
    /// without `exit`, one of `enter` has to fail, so it is the one nearest to that. None when there
    /// is none but the score in something else than a comparison.
    ///
    /// # Errors
    /// When a condition cannot be evaluated for the row.
    pub fn nearest_exit(
        &self,
        need: usize,
        batch: &RecordBatch,
        judged: &Judged,
        row: usize,
    ) -> Result<Option<Evidence<'_>>, Error> {
        let facts = &self.explain.needs[need];
        let exits = self.rules.needs[need].exit.is_some();
        let score = judged.score(need, row);
        let mut decides: Option<(f64, Option<&Fact>)> = None;
        let mut consider = |met: bool, distance: f64, fact| {
            let to_go = if met == exits { -distance } else { distance };
            let further = |(known, _)| if exits { to_go > known } else { to_go < known };
            if decides.is_none_or(further) {
                decides = Some((to_go, fact));
            }
        };
        if let Some(of) = &facts.leaving {
            consider(compares(score, of.op, of.bound), apart(score, of.bound), None);
        }
        for fact in if exits { &facts.exit } else { &facts.enter } {
            consider(fact.met(batch, row)?, fact.distance(batch, row), Some(fact));
        }
        match decides {
            Some((_, Some(fact))) => fact.evidence(batch, row).map(Some),
            Some((_, None)) => Ok(facts.leaving.as_ref().map(|of| of.evidence(score))),
            None => Ok(None),
        }
    }
}
