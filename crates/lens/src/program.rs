//! All expressions of a rule set as one list of steps, each done once for a whole batch.
//!
//! A step writes a register: one bit per row. Equal steps share a register, so a comparison that
//! five needs make is made once. Comparisons of a column, or of a score, with a constant are done
//! here, straight over the values; everything else is left to DataFusion. Comparisons come down to
//! "at least" and "equal" over integers: `<` is the negation of `>=`, `> n` is `>= n + 1`, and a
//! float is compared by its place in the total order, which is how arrow compares floats too.
//!
//! Columns have no NULL where this is used ([`crate::Lens`] sees to it), so two-valued logic gives
//! what SQL's gives; what DataFusion is asked may still be NULL, which is false, and is therefore
//! asked whole where a NOT stands above it.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{BinaryExpr, Expr, Operator};
use datafusion_physical_expr::PhysicalExpr;

use crate::bits::total_order;
use crate::compile::{Compiled, Compiler, Gives};
use crate::expression::SCORE;

/// A register, by its number; that of the step that writes it.
pub(crate) type Register = usize;

/// How to read a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    Int,
    Float,
}

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Constant(bool),
    AtLeast {
        column: usize,
        values: Values,
        bound: i64,
    },
    Equal {
        column: usize,
        values: Values,
        bound: i64,
    },
    ScoreAtLeast {
        need: usize,
        bound: i32,
    },
    Not(Register),
    And(Register, Register),
    Or(Register, Register),
    /// The condition of that number among [`Program::others`].
    Other(usize),
}

/// An expression that DataFusion evaluates.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub logical: Expr,
    pub physical: Arc<dyn PhysicalExpr>,
    /// The need whose score it reads.
    pub need: Option<usize>,
}

/// Where a term's number comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Amount {
    /// 0 or 1, by a register.
    Condition(Register),
    /// A column times or by a constant.
    Scaled { column: usize, values: Values, factor: f64, divide: bool },
    /// The number of that place among [`Program::others`].
    Other(usize),
}

/// A term of a score.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addend {
    pub need: usize,
    pub weight_micro: i32,
    pub amount: Amount,
}

/// Everything a rule set evaluates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub steps: Vec<Step>,
    /// Steps that must be done before scores are added up.
    pub term_steps: usize,
    pub others: Vec<Other>,
    pub addends: Vec<Addend>,
    pub enter: Vec<Register>,
    pub exit: Vec<Register>,
    /// `when` of tiers and of lifecycle stages, and `exit` of both.
    pub when: [Vec<Register>; 2],
    pub leave: [Vec<Register>; 2],
}

impl Program {
    /// The columns that steps and terms read without DataFusion.
    pub(crate) fn columns(&self) -> Vec<usize> {
        let steps = self.steps.iter().filter_map(|step| match step {
            Step::AtLeast { column, .. } | Step::Equal { column, .. } => Some(*column),
            _ => None,
        });
        let terms = self.addends.iter().filter_map(|addend| match addend.amount {
            Amount::Scaled { column, .. } => Some(column),
            Amount::Condition(_) | Amount::Other(_) => None,
        });
        let mut columns: Vec<usize> = steps.chain(terms).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// Builds a program.
pub(crate) struct Builder<'a> {
    pub program: Program,
    compiler: &'a Compiler,
    schema: &'a SchemaRef,
    /// Whether to do comparisons here; otherwise all is left to DataFusion.
    fast: bool,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(compiler: &'a Compiler, schema: &'a SchemaRef, fast: bool) -> Self {
        Self { program: Program::default(), compiler, schema, fast }
    }

    /// Adds a term of a need.
    pub(crate) fn term(&mut self, need: usize, weight_micro: i32, term: &Compiled) -> Result<()> {
        let amount = match term.gives {
            Gives::Condition => Amount::Condition(self.condition(term, None)?),
            Gives::Number => match self.scaled(&term.logical) {
                Some(amount) if self.fast => amount,
                _ => Amount::Other(self.other(&term.logical, &term.physical, None)),
            },
        };
        self.program.addends.push(Addend { need, weight_micro, amount });
        Ok(())
    }

    /// Adds a condition; `need` is the one whose score it may read.
    pub(crate) fn condition(&mut self, expr: &Compiled, need: Option<usize>) -> Result<Register> {
        if self.fast {
            return self.bits(&expr.logical, need);
        }
        let other = self.other(&expr.logical, &expr.physical, need);
        Ok(self.step(Step::Other(other)))
    }

    /// Adds the negation of a condition.
    pub(crate) fn not(&mut self, register: Register) -> Register {
        match self.program.steps[register] {
            Step::Not(inner) => inner,
            Step::Constant(holds) => self.step(Step::Constant(!holds)),
            _ => self.step(Step::Not(register)),
        }
    }

    fn step(&mut self, step: Step) -> Register {
        let steps = &mut self.program.steps;
        steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            steps.push(step);
            steps.len() - 1
        })
    }

    fn other(
        &mut self,
        logical: &Expr,
        physical: &Arc<dyn PhysicalExpr>,
        need: Option<usize>,
    ) -> usize {
        let scored = logical.column_refs().iter().any(|column| column.name == SCORE);
        let need = need.filter(|_| scored);
        let others = &mut self.program.others;
        let known = others.iter().position(|o| o.logical == *logical && o.need == need);
        known.unwrap_or_else(|| {
            let physical = Arc::clone(physical);
            others.push(Other { logical: logical.clone(), physical, need });
            others.len() - 1
        })
    }

    /// A register for a condition, from its parts where those are known here.
    fn bits(&mut self, expr: &Expr, need: Option<usize>) -> Result<Register> {
        let mut arms =
            |left, right| -> Result<_> { Ok((self.bits(left, need)?, self.bits(right, need)?)) };
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                let (left, right) = arms(left, right)?;
                return Ok(self.step(Step::And(left, right)));
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (left, right) = arms(left, right)?;
                return Ok(self.step(Step::Or(left, right)));
            }
            _ => {}
        }
        if let Some(register) = self.known(expr, need) {
            return Ok(register);
        }
        let physical = self.compiler.physical(expr)?;
        let other = self.other(expr, &physical, need);
        Ok(self.step(Step::Other(other)))
    }

    /// A register for a condition all of whose parts are known here, so that none can be NULL.
    fn known(&mut self, expr: &Expr, need: Option<usize>) -> Option<Register> {
        match expr {
            Expr::Literal(ScalarValue::Boolean(Some(holds)), _) => {
                Some(self.step(Step::Constant(*holds)))
            }
            Expr::Not(inner) => {
                let inner = self.known(inner, need)?;
                Some(self.not(inner))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                let (left, right) = (self.known(left, need)?, self.known(right, need)?);
                Some(self.step(Step::And(left, right)))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (left, right) = (self.known(left, need)?, self.known(right, need)?);
                Some(self.step(Step::Or(left, right)))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(bound, _)) => {
                    self.compare(&column.name, *op, bound, need)
                }
                (Expr::Literal(bound, _), Expr::Column(column)) => {
                    self.compare(&column.name, op.swap()?, bound, need)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn compare(
        &mut self,
        name: &str,
        op: Operator,
        bound: &ScalarValue,
        need: Option<usize>,
    ) -> Option<Register> {
        if name == SCORE {
            let ScalarValue::Float64(Some(bound)) = bound else { return None };
            return self.compare_score(need?, op, *bound);
        }
        let (column, values) = self.column(name)?;
        let bound = match (values, bound) {
            (Values::Int, ScalarValue::Int64(Some(bound))) => *bound,
            (Values::Float, ScalarValue::Float64(Some(bound))) => total_order(*bound),
            _ => return None,
        };
        let at_least = |bound| Step::AtLeast { column, values, bound };
        // Nothing is above the greatest integer.
        let above = bound.checked_add(1).map_or(Step::Constant(false), at_least);
        let (step, holds) = match op {
            Operator::GtEq => (at_least(bound), true),
            Operator::Lt => (at_least(bound), false),
            Operator::Gt => (above, true),
            Operator::LtEq => (above, false),
            Operator::Eq => (Step::Equal { column, values, bound }, true),
            Operator::NotEq => (Step::Equal { column, values, bound }, false),
            _ => return None,
        };
        let register = self.step(step);
        Some(if holds { register } else { self.not(register) })
    }

    /// A score is a whole number of millionths: the bound becomes the least that suffices.
    fn compare_score(&mut self, need: usize, op: Operator, bound: f64) -> Option<Register> {
        let (strict, holds) = match op {
            Operator::GtEq => (false, true),
            Operator::Lt => (false, false),
            Operator::Gt => (true, true),
            Operator::LtEq => (true, false),
            _ => return None,
        };
        let register = self.step(match least_score(bound, strict) {
            Some(bound) => Step::ScoreAtLeast { need, bound },
            None => return None,
        });
        Some(if holds { register } else { self.not(register) })
    }

    fn column(&self, name: &str) -> Option<(usize, Values)> {
        let (column, field) = self.schema.column_with_name(name)?;
        match field.data_type() {
            DataType::Int64 => Some((column, Values::Int)),
            DataType::Float64 => Some((column, Values::Float)),
            _ => None,
        }
    }

    /// A column times or by a constant float.
    fn scaled(&self, expr: &Expr) -> Option<Amount> {
        if let Expr::Column(column) = uncast(expr) {
            let (column, values) = self.column(&column.name)?;
            return Some(Amount::Scaled { column, values, factor: 1.0, divide: false });
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
        let divide = match op {
            Operator::Divide => true,
            Operator::Multiply => false,
            _ => return None,
        };
        let (column, factor) = match (&**left, &**right) {
            (column, Expr::Literal(ScalarValue::Float64(Some(factor)), _)) => (column, *factor),
            (Expr::Literal(ScalarValue::Float64(Some(factor)), _), column) if !divide => {
                (column, *factor)
            }
            _ => return None,
        };
        let Expr::Column(column) = uncast(column) else { return None };
        let (column, values) = self.column(&column.name)?;
        Some(Amount::Scaled { column, values, factor, divide })
    }
}

/// The expression under a cast to float.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => &cast.expr,
        expr => expr,
    }
}

/// A score as rules and events have it.
pub(crate) fn score(micro: i32) -> f64 {
    f64::from(micro) / 1e6
}

/// The least score, in millionths, that is at least (or above) a bound; none that is within reach
/// of no score.
fn least_score(bound: f64, strict: bool) -> Option<i32> {
    let enough = |micro: i32| match score(micro).total_cmp(&bound) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => !strict,
        std::cmp::Ordering::Less => false,
    };
    if !(-2_000.0..=2_000.0).contains(&bound) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most two thousand million in size")]
    let mut micro = (bound * 1e6).round() as i32 - 2;
    while !enough(micro) {
        micro += 1;
    }
    Some(micro)
}
