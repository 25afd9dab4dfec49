//! Judging rows: every rule of a rule set over every row of a batch.
//!
//! A [`Lens`] is a rule set compiled for one schema. It evaluates column by column and answers row
//! by row: for each row one word of needs whose `enter` holds, one of those whose `exit` holds and
//! one for tiers and lifecycle. Scores are sums of whole millionths, so they are the same on every
//! machine whatever the order of the terms.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use cardlens_model::Problem;

use crate::bits;
use crate::compile::{Compiled, Compiler, Gives, scored};
use crate::error::Error;
use crate::evidence::Explain;
use crate::expression::{Expression, SCORE};
use crate::program::{Amount, Builder, Program, Step, Values, score};
use crate::ruleset::{MARGIN, RuleSet, Stage};

/// A rule set compiled for the columns of one schema.
#[derive(Debug)]
pub struct Lens {
    pub(crate) rules: RuleSet,
    schema: SchemaRef,
    /// The schema and the column `score`.
    scored: SchemaRef,
    /// Comparisons made here; only for batches without NULL.
    fast: Program,
    /// All left to DataFusion; for any batch.
    plain: Program,
    /// Columns that the fast program reads itself.
    reads: Vec<usize>,
    margin: usize,
    pub(crate) explain: Explain,
}

/// What the rules say about each row of a batch. Reused from batch to batch.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    rows: usize,
    needs: usize,
    enter: Vec<u64>,
    exit: Vec<u64>,
    axes: Vec<u64>,
    /// Millionths, need by need, each padded to whole words of rows.
    scores: Vec<i32>,
    margin: Vec<i64>,
    /// Scratch: the registers of the program.
    registers: Vec<u64>,
}

impl Judged {
    /// Rows judged.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bit `i` says that `enter` of need `i` holds on the row.
    #[must_use]
    pub fn enter(&self, row: usize) -> u64 {
        self.enter[row]
    }

    /// Bit `i` says that `exit` of need `i` holds on the row; of a need without one, that `enter`
    /// does not.
    #[must_use]
    pub fn exit(&self, row: usize) -> u64 {
        self.exit[row]
    }

    /// Four times 16 bits, lowest first: `when` of tiers, `exit` of tiers, `when` of lifecycle
    /// stages, `exit` of lifecycle stages.
    #[must_use]
    pub fn axes(&self, row: usize) -> u64 {
        self.axes[row]
    }

    /// The score of a need on a row, in millionths.
    #[must_use]
    pub fn score_micro(&self, need: usize, row: usize) -> i32 {
        self.scores[need * self.stride() + row]
    }

    /// The score of a need on a row.
    #[must_use]
    pub fn score(&self, need: usize, row: usize) -> f64 {
        score(self.score_micro(need, row))
    }

    /// Margin of 365 days on a row.
    #[must_use]
    pub fn margin(&self, row: usize) -> i64 {
        self.margin[row]
    }

    fn words(&self) -> usize {
        bits::words(self.rows)
    }

    fn stride(&self) -> usize {
        self.words() * 64
    }

    fn reset(&mut self, rows: usize, needs: usize, registers: usize) {
        (self.rows, self.needs) = (rows, needs);
        let (words, stride) = (self.words(), self.stride());
        for rows_of in [&mut self.enter, &mut self.exit, &mut self.axes] {
            rows_of.resize(stride, 0);
        }
        self.scores.clear();
        self.scores.resize(needs * stride, 0);
        self.registers.resize(registers * words, 0);
    }

    /// Writes rows of 64 bits from 64 registers at most.
    fn gather(registers: &[u64], chosen: &[Option<usize>], out: &mut [u64]) {
        let words = out.len() / 64;
        for (word, out) in out.chunks_exact_mut(64).enumerate() {
            let mut block = [0; 64];
            for (row, register) in block.iter_mut().zip(chosen) {
                *row = register.map_or(0, |register| registers[register * words + word]);
            }
            bits::transpose(&mut block);
            out.copy_from_slice(&block);
        }
    }
}

impl Lens {
    /// Compiles a rule set for batches of a schema.
    ///
    /// # Errors
    /// Every expression that reads a column which does not exist, or whose types do not fit.
    pub fn compile(rules: RuleSet, schema: &SchemaRef) -> Result<Self, Vec<Problem>> {
        let compiler = Compiler::new(schema)
            .map_err(|error| vec![rules.general(format!("read the schema: {error}"))])?;
        let mut problems = Vec::new();
        let parts = Parts::compile(&rules, &compiler, schema, &mut problems);
        let margin = schema.column_with_name(MARGIN);
        let margin = margin.filter(|(_, field)| *field.data_type() == DataType::Int64);
        if margin.is_none() {
            problems.push(rules.general(format!("the columns lack `{MARGIN}` as whole numbers")));
        }
        let (Some((margin, _)), true) = (margin, problems.is_empty()) else {
            return Err(problems);
        };
        let build = |fast| parts.program(&rules, Builder::new(&compiler, schema, fast));
        let built = build(true).and_then(|fast| Ok((fast, build(false)?)));
        let (fast, plain) =
            built.map_err(|error| vec![rules.general(error.strip_backtrace().to_string())])?;
        let reads = fast.columns();
        let explain = Explain::new(&rules, &compiler, schema)
            .map_err(|error| vec![rules.general(error.strip_backtrace().to_string())])?;
        let scored = Arc::new(scored(schema));
        let schema = Arc::clone(schema);
        Ok(Self { rules, schema, scored, fast, plain, reads, margin, explain })
    }

    /// The rule set.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The schema that batches must have.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Judges every row of a batch.
    ///
    /// # Errors
    /// When the batch is of another schema, or an expression fails on some row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<Judged, Error> {
        let mut judged = Judged::default();
        self.evaluate_into(batch, &mut judged)?;
        Ok(judged)
    }

    /// Judges every row of a batch into what an earlier call has left.
    ///
    /// # Errors
    /// As [`Lens::evaluate`].
    pub fn evaluate_into(&self, batch: &RecordBatch, judged: &mut Judged) -> Result<(), Error> {
        if batch.num_columns() != self.schema.fields().len() {
            let expected = self.schema.fields().len();
            return Err(Error::Columns { got: batch.num_columns(), expected });
        }
        let whole = self.reads.iter().all(|column| batch.column(*column).null_count() == 0);
        self.run(if whole { &self.fast } else { &self.plain }, batch, judged)
    }

    fn run(
        &self,
        program: &Program,
        batch: &RecordBatch,
        judged: &mut Judged,
    ) -> Result<(), Error> {
        judged.reset(batch.num_rows(), program.enter.len(), program.steps.len());
        let mut run = Run { lens: self, program, batch, scored: Vec::new() };
        let (words, stride) = (judged.words(), judged.stride());
        for (place, step) in program.steps.iter().enumerate() {
            if place == program.term_steps {
                run.add_terms(judged)?;
            }
            let (done, rest) = judged.registers.split_at_mut(place * words);
            let scores = Scores { micro: &judged.scores, stride, rows: judged.rows };
            run.step(*step, (done, &mut rest[..words]), &scores)?;
        }
        if program.steps.len() == program.term_steps {
            run.add_terms(judged)?;
        }
        let chosen =
            |list: &[usize]| list.iter().map(|register| Some(*register)).collect::<Vec<_>>();
        let registers = &judged.registers;
        Judged::gather(registers, &chosen(&program.enter), &mut judged.enter);
        Judged::gather(registers, &chosen(&program.exit), &mut judged.exit);
        let mut axes = [None; 64];
        for (axis, (when, leave)) in program.when.iter().zip(&program.leave).enumerate() {
            for (list, at) in [(when, axis * 32), (leave, axis * 32 + 16)] {
                for (place, register) in list.iter().enumerate() {
                    axes[at + place] = Some(*register);
                }
            }
        }
        Judged::gather(registers, &axes, &mut judged.axes);
        let margin = primitive::<Int64Type>(batch, self.margin)?;
        judged.margin.clear();
        judged.margin.extend_from_slice(margin.values());
        Ok(())
    }

    /// [`Lens::evaluate`] with everything left to DataFusion.
    #[cfg(test)]
    pub(crate) fn evaluate_plain(&self, batch: &RecordBatch) -> Result<Judged, Error> {
        let mut judged = Judged::default();
        self.run(&self.plain, batch, &mut judged)?;
        Ok(judged)
    }

    #[cfg(test)]
    pub(crate) fn others(&self) -> usize {
        self.fast.others.len()
    }
}

/// The expressions of a rule set, compiled; in the order of the rules.
#[derive(Default)]
struct Parts {
    terms: Vec<(usize, i32, Compiled)>,
    needs: Vec<(Compiled, Option<Compiled>)>,
    axes: [Vec<(Compiled, Option<Compiled>)>; 2],
}

impl Parts {
    fn compile(
        rules: &RuleSet,
        compiler: &Compiler,
        schema: &SchemaRef,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        known.push(SCORE);
        let mut one = |expression: &Expression, condition: bool| {
            let unknown = rules.unknown_columns(expression, &known);
            if !unknown.is_empty() {
                problems.extend(unknown);
                return None;
            }
            match compiler.compile(&expression.ast) {
                Ok(compiled) if condition && compiled.gives == Gives::Number => {
                    let message = "a number stands where a condition is needed".to_owned();
                    problems.push(rules.fault(expression, message));
                    None
                }
                Ok(compiled) => Some(compiled),
                Err(error) => {
                    let message = error.strip_backtrace().lines().next().unwrap_or("").to_owned();
                    problems.push(rules.fault(expression, message));
                    None
                }
            }
        };
        let mut parts = Self::default();
        for (place, need) in rules.needs.iter().enumerate() {
            for term in &need.terms {
                if let Some(compiled) = one(&term.expression, false) {
                    parts.terms.push((place, term.weight_micro, compiled));
                }
            }
            let exit = need.exit.as_ref().and_then(|exit| one(exit, true));
            if let Some(enter) = one(&need.enter, true) {
                parts.needs.push((enter, exit));
            }
        }
        let mut stage = |stage: &Stage| {
            let exit = stage.exit.as_ref().and_then(|exit| one(exit, true));
            one(&stage.when, true).map(|when| (when, exit))
        };
        parts.axes = [&rules.tiers, &rules.lifecycle]
            .map(|stages| stages.iter().filter_map(&mut stage).collect());
        parts
    }

    fn program(
        &self,
        rules: &RuleSet,
        mut builder: Builder<'_>,
    ) -> datafusion_common::Result<Program> {
        debug_assert_eq!(self.needs.len(), rules.needs.len());
        for (need, weight_micro, term) in &self.terms {
            builder.term(*need, *weight_micro, term)?;
        }
        builder.program.term_steps = builder.program.steps.len();
        for (need, (enter, exit)) in self.needs.iter().enumerate() {
            let enter = builder.condition(enter, Some(need))?;
            let exit = match exit {
                Some(exit) => builder.condition(exit, Some(need))?,
                None => builder.not(enter),
            };
            builder.program.enter.push(enter);
            builder.program.exit.push(exit);
        }
        for (axis, stages) in self.axes.iter().enumerate() {
            for (when, exit) in stages {
                let when = builder.condition(when, None)?;
                let exit = match exit {
                    Some(exit) => builder.condition(exit, None)?,
                    None => builder.not(when),
                };
                builder.program.when[axis].push(when);
                builder.program.leave[axis].push(exit);
            }
        }
        Ok(builder.program)
    }
}

/// Scores while steps read them.
struct Scores<'a> {
    micro: &'a [i32],
    stride: usize,
    rows: usize,
}

impl Scores<'_> {
    fn of(&self, need: usize) -> &[i32] {
        &self.micro[need * self.stride..][..self.rows]
    }
}

/// One evaluation of a program.
struct Run<'a> {
    lens: &'a Lens,
    program: &'a Program,
    batch: &'a RecordBatch,
    /// The batch with the score of a need, for needs whose conditions DataFusion evaluates.
    scored: Vec<(usize, RecordBatch)>,
}

impl Run<'_> {
    fn step(
        &mut self,
        step: Step,
        (done, out): (&[u64], &mut [u64]),
        scores: &Scores<'_>,
    ) -> Result<(), Error> {
        let words = out.len();
        let register = |register: usize| &done[register * words..][..words];
        match step {
            Step::Constant(holds) => out.fill(if holds { u64::MAX } else { 0 }),
            Step::AtLeast { column, values: Values::Int, bound } => {
                let column = primitive::<Int64Type>(self.batch, column)?;
                bits::collect(column.values(), out, |value| value >= bound);
            }
            Step::AtLeast { column, values: Values::Float, bound } => {
                let column = primitive::<Float64Type>(self.batch, column)?;
                bits::collect(column.values(), out, |value| bits::total_order(value) >= bound);
            }
            Step::Equal { column, values: Values::Int, bound } => {
                let column = primitive::<Int64Type>(self.batch, column)?;
                bits::collect(column.values(), out, |value| value == bound);
            }
            Step::Equal { column, values: Values::Float, bound } => {
                let column = primitive::<Float64Type>(self.batch, column)?;
                bits::collect(column.values(), out, |value| bits::total_order(value) == bound);
            }
            Step::ScoreAtLeast { need, bound } => {
                bits::collect(scores.of(need), out, |score| score >= bound);
            }
            Step::Not(inner) => {
                out.iter_mut().zip(register(inner)).for_each(|(out, bits)| *out = !bits);
            }
            Step::And(left, right) => {
                let both = register(left).iter().zip(register(right));
                out.iter_mut().zip(both).for_each(|(out, (left, right))| *out = left & right);
            }
            Step::Or(left, right) => {
                let both = register(left).iter().zip(register(right));
                out.iter_mut().zip(both).for_each(|(out, (left, right))| *out = left | right);
            }
            Step::Other(other) => {
                let array = self.other(other, scores)?;
                match array.as_any().downcast_ref::<BooleanArray>() {
                    Some(values) => bits::copy(values, out),
                    None => out.fill(0), // a NULL without a type
                }
            }
        }
        Ok(())
    }

    fn add_terms(&mut self, judged: &mut Judged) -> Result<(), Error> {
        let (words, stride) = (judged.words(), judged.stride());
        let nothing = Scores { micro: &[], stride: 0, rows: 0 };
        for addend in &self.program.addends {
            let scores = &mut judged.scores[addend.need * stride..][..stride];
            let weight = addend.weight_micro;
            match addend.amount {
                Amount::Condition(register) => {
                    bits::add(&judged.registers[register * words..][..words], weight, scores);
                }
                Amount::Scaled { column, values, factor, divide } => {
                    let scale = |value: f64| if divide { value / factor } else { value * factor };
                    match values {
                        Values::Int => {
                            let column = primitive::<Int64Type>(self.batch, column)?;
                            #[expect(clippy::cast_precision_loss, reason = "as SQL casts")]
                            let float = |value: &i64| scale(*value as f64);
                            add_numbers(scores, weight, column.values().iter().map(float));
                        }
                        Values::Float => {
                            let column = primitive::<Float64Type>(self.batch, column)?;
                            let numbers = column.values().iter().map(|value| scale(*value));
                            add_numbers(scores, weight, numbers);
                        }
                    }
                }
                Amount::Other(other) => {
                    let array = self.other(other, &nothing)?;
                    add_numbers(scores, weight, floats(&array).into_iter());
                }
            }
        }
        Ok(())
    }

    fn other(&mut self, other: usize, scores: &Scores<'_>) -> Result<ArrayRef, Error> {
        let expr = &self.program.others[other];
        let failed = |source: datafusion_common::DataFusionError| Error::Evaluate {
            expression: expr.logical.to_string(),
            source: Box::new(source),
        };
        let rows = self.batch.num_rows();
        let Some(need) = expr.need else {
            let value = expr.physical.evaluate(self.batch).map_err(failed)?;
            return value.into_array(rows).map_err(failed);
        };
        if self.scored.iter().all(|(known, _)| *known != need) {
            let column = Float64Array::from_iter_values(scores.of(need).iter().map(|m| score(*m)));
            let mut columns = self.batch.columns().to_vec();
            columns.push(Arc::new(column));
            let schema = Arc::clone(&self.lens.scored);
            let batch = RecordBatch::try_new(schema, columns).map_err(|e| failed(e.into()))?;
            self.scored.push((need, batch));
        }
        let batch = self.scored.iter().find(|(known, _)| *known == need);
        let (_, batch) = batch.expect("the batch of this need was just made");
        expr.physical.evaluate(batch).and_then(|value| value.into_array(rows)).map_err(failed)
    }
}

/// What a number adds to a score: clipped to 0..1, times the weight, to the nearest millionth.
/// NaN adds nothing.
pub(crate) fn micro(number: f64, weight_micro: i32) -> i32 {
    let clipped = if number > 0.0 { number.min(1.0) } else { 0.0 };
    let size = f64::from(weight_micro.abs());
    #[expect(clippy::cast_possible_truncation, reason = "at most the weight, which is an i32")]
    let amount = (clipped * size + 0.5) as i32;
    if weight_micro < 0 { -amount } else { amount }
}

fn add_numbers(scores: &mut [i32], weight: i32, numbers: impl Iterator<Item = f64>) {
    for (score, number) in scores.iter_mut().zip(numbers) {
        *score += micro(number, weight);
    }
}

/// The numbers of an array, which the compiler has made floats; NULL is 0.
pub(crate) fn floats(array: &ArrayRef) -> Vec<f64> {
    match array.as_any().downcast_ref::<Float64Array>() {
        Some(floats) => floats.iter().map(|value| value.unwrap_or(0.0)).collect(),
        None => vec![0.0; array.len()],
    }
}

fn primitive<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    column: usize,
) -> Result<&PrimitiveArray<T>, Error> {
    batch.column(column).as_any().downcast_ref::<PrimitiveArray<T>>().ok_or_else(|| {
        Error::Evaluate {
            expression: batch.schema().field(column).name().clone(),
            source: format!("the column holds {}", batch.column(column).data_type()).into(),
        }
    })
}
