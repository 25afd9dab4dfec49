//! The parts of the engine put together as a partition puts them together, without what stands
//! around them: no source, no outputs, no commits. For measuring state and rules alone.

use std::sync::Arc;

use anyhow::{Result, ensure};
use cardlens_engine::{Deployment, Shared};
use cardlens_features::{Origin, Point, Rows, Slot, Table};
use cardlens_lens::{Judged, Move, Standings};
use cardlens_model::{Batch, Day};

use crate::load::population::Population;
use crate::load::rules::faults;

/// Customers brought to a new day at a time.
const SLICE: usize = 4_096;

/// Called for every row with moves.
pub type Each<'a> = &'a mut dyn FnMut(&Table, &Point, &[Move]) -> Result<()>;

/// A table, the rules over its rows, and where customers stand.
pub struct Pipeline {
    /// What was compiled.
    pub shared: Arc<Shared>,
    /// The customers.
    pub table: Table,
    /// Where they stand.
    pub standings: Standings,
    rows: Rows,
    judged: Judged,
    moves: Vec<Move>,
}

impl Pipeline {
    /// Compiles a deployment; nobody is known yet.
    ///
    /// # Errors
    /// A fault of the rules.
    pub fn new(deployment: &Deployment) -> Result<Self> {
        let shared = deployment.shared().map_err(faults)?;
        let table = Table::new(shared.table.clone());
        Ok(Self {
            rows: table.rows(),
            standings: Standings::new(&shared.lens),
            table,
            judged: Judged::default(),
            moves: Vec::new(),
            shared,
        })
    }

    /// Applies a batch and judges the rows it gives; days close where they do. Calls `each` for
    /// every row with moves.
    ///
    /// # Errors
    /// A record is not plainly applied, or a rule fails.
    pub fn take(&mut self, batch: &Batch, each: Each<'_>) -> Result<()> {
        let mut from = 0;
        while from < batch.transactions.len() {
            let applied = self.table.apply(batch, from, &mut self.rows);
            ensure!(applied.outcomes.is_empty(), "not plainly applied: {:?}", applied.outcomes);
            self.judge(each)?;
            from = applied.next;
            if let Some(day) = applied.closes {
                self.close(day, each)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, day: Day, each: Each<'_>) -> Result<()> {
        self.bring_forward(each)?;
        self.table.close_day(day);
        Ok(())
    }

    /// Brings everybody to the last closed day.
    ///
    /// # Errors
    /// A rule fails.
    pub fn bring_forward(&mut self, each: Each<'_>) -> Result<()> {
        let mut swept = Slot(0);
        while (swept.0 as usize) < self.table.customers() {
            swept = self.table.sweep(swept, SLICE, &mut self.rows);
            self.judge(each)?;
        }
        Ok(())
    }

    /// Applies a batch without rows: for filling a table.
    ///
    /// # Errors
    /// A record is not plainly applied.
    pub fn fill(&mut self, batch: &Batch) -> Result<()> {
        let mut from = 0;
        self.table.give_rows(false);
        while from < batch.transactions.len() {
            let applied = self.table.apply(batch, from, &mut self.rows);
            ensure!(applied.outcomes.is_empty() && applied.closes.is_none(), "{applied:?}");
            from = applied.next;
        }
        self.table.give_rows(true);
        Ok(())
    }

    /// Fills the table with a population, customer by customer, and places everybody.
    ///
    /// # Errors
    /// A record is not plainly applied, or a rule fails.
    pub fn fill_with(&mut self, population: Population) -> Result<()> {
        let mut batch = Batch::default();
        for customer in 0..population.customers {
            for at in 0..population.records {
                population.record(customer, at).push(&self.shared.table.categories, &mut batch);
            }
            if batch.transactions.len() >= SLICE || customer + 1 == population.customers {
                self.fill(&batch)?;
                batch.clear();
            }
        }
        self.place_everybody()
    }

    /// Judges everybody as of now, so that everybody has a place.
    ///
    /// # Errors
    /// A rule fails.
    pub fn place_everybody(&mut self) -> Result<()> {
        let customers = u32::try_from(self.table.customers())?;
        self.standings.grow(customers as usize);
        for slot in (0..customers).map(Slot) {
            self.table.gather(slot, self.table.as_of(slot), &mut self.rows);
            if self.rows.len() == SLICE || slot.0 + 1 == customers {
                self.judge(&mut |_, _, _| Ok(()))?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, each: Each<'_>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (points, columns) = self.rows.take();
        self.shared.lens.evaluate_into(&columns, &mut self.judged)?;
        for (row, point) in points.iter().enumerate() {
            self.moves.clear();
            let seen = cardlens_lens::Point {
                slot: point.slot.0,
                row,
                as_of: point.as_of,
                judge_needs: !point.withheld,
                day_closed: matches!(point.origin, Origin::DayClose(_)),
            };
            self.standings.observe(seen, &self.judged, &mut self.moves);
            if !self.moves.is_empty() {
                each(&self.table, point, &self.moves)?;
            }
        }
        Ok(())
    }

    /// Bytes of state by part.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let mut parts = self.table.memory();
        parts.push(("standings", self.standings.memory()));
        parts
    }
}
