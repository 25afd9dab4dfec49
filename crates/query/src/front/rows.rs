//! The rows of a running statement, as whoever asked reads them.
//!
//! Time is counted here, outside the statement: a statement that never yields is answered for
//! when its time is over, and ends itself when it next looks. Rows and bytes are counted here too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::metrics::Measured;
use super::{Fault, State};
use crate::budget::guard::Stop;

/// What a statement says while it runs.
#[derive(Debug)]
pub(super) enum Message {
    /// It was planned and runs.
    Started(SchemaRef),
    /// Some rows.
    Batch(RecordBatch),
    /// There are no more.
    Done {
        /// Where each partition was read.
        positions: BTreeMap<u32, i64>,
        /// What was left out, as it was asked for.
        gaps: Vec<String>,
    },
    /// It failed.
    Failed(Fault),
}

/// Rows to read; dropping them ends the statement.
pub struct Rows {
    /// Columns.
    pub schema: SchemaRef,
    /// Where each partition was read, once all rows were.
    pub positions: BTreeMap<u32, i64>,
    /// What a partial statement went without, once all rows were read.
    pub gaps: Vec<String>,
    receiver: mpsc::Receiver<Message>,
    _tasks: JoinSet<()>,
    permit: Option<OwnedSemaphorePermit>,
    measured: Measured,
    stop: Arc<Stop>,
    timeout: Duration,
    deadline: Instant,
    counted: (u64, u64),
    most: (u64, u64),
    /// What is left of the last batch that was read in part.
    rest: Option<RecordBatch>,
    done: bool,
}

impl Rows {
    pub(super) fn new(
        receiver: mpsc::Receiver<Message>,
        tasks: JoinSet<()>,
        (permit, measured): (OwnedSemaphorePermit, Measured),
        stop: Arc<Stop>,
        timeout: Duration,
    ) -> Self {
        let deadline = Instant::now() + timeout;
        Self {
            schema: Arc::new(Schema::empty()),
            positions: BTreeMap::new(),
            gaps: Vec::new(),
            receiver,
            _tasks: tasks,
            permit: Some(permit),
            measured,
            stop,
            timeout,
            deadline,
            counted: (0, 0),
            most: (u64::MAX, u64::MAX),
            rest: None,
            done: false,
        }
    }

    pub(super) fn limit(&mut self, rows: u64, bytes: u64) {
        self.most = (rows, bytes);
    }

    /// Waits until the statement runs.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        if let Some(Message::Started(schema)) = self.message().await? {
            self.schema = schema;
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<Option<Message>, Fault> {
        let message = tokio::select! {
            biased;
            fault = self.stop.asked() => Err(fault),
            () = tokio::time::sleep_until(self.deadline) => {
                self.stop.time_out();
                Err(self.stop.fault().unwrap_or_else(lost))
            }
            message = self.receiver.recv() => Ok(message),
        };
        let message = match message {
            Ok(Some(Message::Failed(fault))) => Err(fault),
            // A task that panicked leaves its channel without a last word.
            Ok(None) => Err(lost()),
            other => other,
        };
        if let Err(fault) = &message {
            self.measured.failed(fault);
            self.end();
        }
        message
    }

    /// The next rows, at most `most` of them; `None` after the last.
    ///
    /// # Errors
    /// What ended the statement.
    pub async fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, Fault> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None if self.done => return Ok(None),
            None => match self.message().await? {
                Some(Message::Batch(batch)) => {
                    self.count(&batch)?;
                    batch
                }
                Some(Message::Done { positions, gaps }) => {
                    self.positions = positions;
                    self.gaps = gaps;
                    self.measured.answered();
                    self.end();
                    return Ok(None);
                }
                _ => return Ok(None),
            },
        };
        if batch.num_rows() > most {
            self.rest = Some(batch.slice(most, batch.num_rows() - most));
            return Ok(Some(batch.slice(0, most)));
        }
        Ok(Some(batch))
    }

    /// Reads on after a pause, with the time of a statement anew. The statement no longer counts
    /// as running: between two reads it only waits to hand over its next batch.
    pub fn resume(&mut self) -> Arc<Stop> {
        self.deadline = Instant::now() + self.timeout;
        self.permit = None;
        Arc::clone(&self.stop)
    }

    /// Whoever asked does not take its rows.
    pub fn unread(&mut self) {
        self.measured.unread();
    }

    /// Whether every row was read.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.done && self.rest.is_none()
    }

    fn count(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        let long = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.counted.0 += long(batch.num_rows());
        self.counted.1 += long(batch.get_array_memory_size());
        self.measured.read(self.counted.0);
        let (rows, bytes) = self.most;
        let fault = if self.counted.0 > rows {
            Fault::limit(format!("result passes the limit `result_rows`: at most {rows} rows"))
        } else if self.counted.1 > bytes {
            Fault::limit(format!("result passes the limit `result_bytes`: at most {bytes} bytes"))
        } else {
            return Ok(());
        };
        self.stop.abandon();
        self.measured.failed(&fault);
        self.end();
        Err(fault.hint("add a LIMIT, or aggregate"))
    }

    fn end(&mut self) {
        self.done = true;
        self.permit = None;
    }
}

fn lost() -> Fault {
    Fault::new(State::Internal, "the statement met a fault of the server")
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.done {
            self.stop.abandon();
        }
    }
}
