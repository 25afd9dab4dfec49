//! The rows of a running statement, as whoever asked reads them.
//!
//! Time is counted here, outside the statement: a statement that never yields is answered for
//! when its time is over, and ends itself when it next looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::handover::{Handover, Message, Taken};
use super::{Fault, State};
use crate::budget::guard::Stop;

/// Rows to read; dropping them ends the statement.
pub struct Rows {
    /// Columns.
    pub schema: SchemaRef,
    /// Where each partition was read, once all rows were.
    pub positions: BTreeMap<u32, i64>,
    /// What a partial statement went without, once all rows were read.
    pub gaps: Vec<String>,
    handover: Arc<Handover>,
    _tasks: JoinSet<()>,
    timeout: Duration,
    deadline: Instant,
    row_count: u64,
    done: bool,
}

impl Rows {
    pub(super) fn new(
        handover: Arc<Handover>,
        tasks: JoinSet<()>,
        (timeout, deadline): (Duration, Instant),
    ) -> Self {
        Self {
            schema: Arc::new(Schema::empty()),
            positions: BTreeMap::new(),
            gaps: Vec::new(),
            handover,
            _tasks: tasks,
            timeout,
            deadline,
            row_count: 0,
            done: false,
        }
    }

    /// Waits until the statement runs.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        if let Taken::Other(Message::Started(schema)) = self.take(0).await? {
            self.schema = schema;
        }
        Ok(())
    }

    async fn take(&mut self, most: usize) -> Result<Taken, Fault> {
        let (stop, deadline) = (self.handover.stop(), self.deadline);
        // Rows that lie there would be ready for ever.
        if deadline <= Instant::now() {
            stop.time_out();
        }
        let taken = tokio::select! {
            biased;
            fault = stop.asked() => Err(fault),
            // Before the time, which is also that of its wait for a turn and then says less.
            taken = self.handover.take(most, deadline) => taken,
            () = tokio::time::sleep_until(deadline) => {
                stop.time_out();
                Err(stop.fault().unwrap_or_else(lost))
            }
        };
        let taken = match taken {
            Ok(Some(Taken::Other(Message::Failed(fault)))) => Err(fault),
            // A statement that panicked leaves without a last word.
            Ok(None) => Err(lost()),
            Ok(Some(taken)) => Ok(taken),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &taken {
            self.handover.failed(fault);
            self.done = true;
        }
        taken
    }

    /// The next rows, at most `most` of them; `None` after the last.
    ///
    /// # Errors
    /// What ended the statement.
    pub async fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, Fault> {
        if self.done {
            return Ok(None);
        }
        match self.take(most).await? {
            Taken::Rows(batch) => {
                self.row_count += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
                self.handover.read(self.row_count);
                Ok(Some(batch))
            }
            Taken::Other(Message::Done { positions, gaps }) => {
                (self.positions, self.gaps) = (positions, gaps);
                self.handover.answered();
                self.done = true;
                Ok(None)
            }
            Taken::Other(_) => Ok(None),
        }
    }

    /// Reads on after a pause, with the time of a statement anew.
    pub fn resume(&mut self) -> Arc<Stop> {
        self.deadline = Instant::now() + self.timeout;
        Arc::clone(self.handover.stop())
    }

    /// Whoever asked does not take its rows.
    pub fn unread(&mut self) {
        self.handover.unread();
    }

    /// Whether every row was read.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.done
    }
}

fn lost() -> Fault {
    Fault::new(State::Internal, "the statement met a fault of the server")
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.done {
            self.handover.abandon();
        }
    }
}
