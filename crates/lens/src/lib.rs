//! The rule set, and what it says about customers: values and needs as expressions over feature
//! columns, judged for many rows at once, kept stable over days, and explained.
//!
//! `ruleset` reads the issuer's files, `expression` and `compile` turn their SQL into code,
//! `lens` judges batches, `stability` and `standings` decide which judgements are changes, and
//! `evidence` says why. Nothing here knows where columns come from or where changes go, and
//! nothing reads a clock: days are arguments.

mod bits;
mod compile;
mod default;
mod error;
mod evidence;
mod expression;
mod lens;
mod nearest;
mod parse;
mod program;
mod reader;
mod ruleset;
mod sensitive;
mod stability;
mod standings;

#[cfg(test)]
mod tests;

pub use error::{Action, Error};
pub use evidence::{Explanation, Tip};
pub use expression::Expression;
pub use lens::{Judged, Lens};
pub use nearest::nearest;
pub use ruleset::{CategoryRange, Expected, Need, RuleSet, RuleTest, Spot, Stage, Standing, Term};
pub use sensitive::{REVIEW, WITHHELD_DEFAULT};
pub use stability::{Hold, Membership, Place, Seen, Step, Suppressed, target};
pub use standings::{
    AxisParts, Move, Parts, Placement, Point, Standings, margin_step, step_margin,
};
