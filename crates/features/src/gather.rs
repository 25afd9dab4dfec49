//! From a customer's postings to a row of features.
//!
//! Owns what columns are computed from: sums by place and window in `cells`, value, and what costs
//! more than a sum (medians, merchants, countries) in `distinct`, taken when the plan names it.
//! Columns are written measure by measure. Knows nothing of how postings came about.

use cardlens_model::Day;

use crate::{
    cells::{Cell, Cells, NEVER, Pass},
    distinct::{Distinct, Window},
    names::{Measure, YEAR_DAYS},
    plan::{Plan, Step},
    posting::Posting,
    rows::Row,
    value::{Parts, Sums, Value, rounded},
};

/// `recency_days` of a customer without a transaction in the horizon.
const NO_RECENCY_DAYS: i64 = 9_999;

/// Scratch of one partition, empty between rows.
pub(crate) struct Gather {
    value: Value,
    cells: Cells,
    sums: Sums,
    parts: Parts,
    distinct: Distinct,
}

/// Whose row is written.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) postings: &'a [Posting],
    /// `i32::MAX` without a record.
    pub(crate) first_day: i32,
    pub(crate) as_of: Day,
}

impl Gather {
    pub(crate) fn new(plan: &Plan, value: Value) -> Self {
        Self {
            sums: Sums { net: vec![0; value.rates()], ..Sums::default() },
            value,
            cells: Cells::new(plan),
            parts: Parts::default(),
            distinct: Distinct::new(plan),
        }
    }

    /// Writes the columns of one row.
    pub(crate) fn row(&mut self, subject: Subject<'_>, plan: &Plan, mut row: Row<'_>) {
        let as_of = subject.as_of;
        let visible = Window::visible(subject.postings, as_of);
        let pass = Pass { as_of, plan, value: &self.value, sums: &mut self.sums };
        self.cells.collect(visible, pass);
        if plan.needs.value {
            self.parts = self.value.parts(&self.sums);
            self.sums.clear();
        }
        self.distinct.collect(visible, as_of, plan);
        for steps in &plan.ints {
            self.write_ints(steps, subject, &mut row);
        }
        for steps in &plan.floats {
            self.write_floats(steps, plan, &mut row);
        }
        self.cells.clear();
        self.distinct.clear();
    }

    /// Writes the columns of one measure.
    fn write_ints(&self, steps: &[Step], subject: Subject<'_>, row: &mut Row<'_>) {
        let since = |day: i32| i64::from(subject.as_of.0) - i64::from(day);
        let cells = self.cells.all();
        let of_steps = |row: &mut Row<'_>, figure: &dyn Fn(&Step) -> i64| {
            for step in steps {
                row.set_int(step.column, figure(step));
            }
        };
        match steps[0].measure {
            Measure::Txn => write(row, steps, cells, |cell| i64::from(cell.txn)),
            Measure::RefundTxn => write(row, steps, cells, |cell| i64::from(cell.refund_txn)),
            Measure::Gross => write(row, steps, cells, |cell| cell.gross),
            Measure::Refunds => write(row, steps, cells, |cell| cell.refunds),
            Measure::Spend => write(row, steps, cells, Cell::net),
            Measure::MeanTicket => write(row, steps, cells, |cell| {
                rounded(i128::from(cell.gross), i128::from(cell.txn))
            }),
            Measure::LargestTicket => write(row, steps, cells, |cell| cell.largest),
            Measure::ActiveDays => write(row, steps, cells, |cell| i64::from(cell.active_days())),
            Measure::MedianTicket => {
                of_steps(row, &|step| self.distinct.median(step.place, step.band));
            }
            Measure::Merchants => {
                of_steps(row, &|step| self.distinct.merchants(step.place, step.band));
            }
            Measure::Countries => of_steps(row, &|step| self.distinct.countries(step.band)),
            Measure::Categories => {
                of_steps(row, &|step| i64::from(self.cells.categories(step.band)));
            }
            Measure::RecencyDays => of_steps(row, &|step| match self.cells.newest(step.place) {
                NEVER => NO_RECENCY_DAYS,
                newest => since(newest),
            }),
            Measure::TenureDays => of_steps(row, &|_| match subject.first_day {
                i32::MAX => 0,
                first => since(first),
            }),
            Measure::Value(part) => of_steps(row, &|_| self.parts.figure(part)),
            Measure::Share(_) | Measure::ShareOfSpend | Measure::ShareOfTxn | Measure::Rise => {}
        }
    }

    fn write_floats(&self, steps: &[Step], plan: &Plan, row: &mut Row<'_>) {
        let cells = self.cells.all();
        for step in steps {
            let (mine, overall) = (&cells[step.cell], &cells[step.overall]);
            let value = match step.measure {
                Measure::Share(lane) => ratio(mine.marked(lane).into(), mine.txn.into()),
                Measure::ShareOfSpend => ratio(mine.net(), overall.net()).clamp(0.0, 1.0),
                Measure::ShareOfTxn => ratio(mine.txn.into(), overall.txn.into()),
                Measure::Rise => {
                    let days = plan.windows[usize::from(step.band)];
                    let share = ratio(mine.net(), cells[step.year].net());
                    share * f64::from(YEAR_DAYS) / f64::from(days)
                }
                _ => continue,
            };
            row.set_float(step.column, value);
        }
    }
}

/// Writes columns that are a figure of a cell each.
#[inline]
fn write(row: &mut Row<'_>, steps: &[Step], cells: &[Cell], figure: impl Fn(&Cell) -> i64) {
    for step in steps {
        row.set_int(step.column, figure(&cells[step.cell]));
    }
}

/// A quotient of whole numbers; 0 where there is nothing to divide by.
#[allow(clippy::cast_precision_loss, reason = "a share of sums beyond 2^53 is as good")]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}
