//! Between a statement and whoever reads it: what was worked out, and whose turn it is.
//!
//! A statement has its turn while something is worked out for it, and no longer. Once [`AHEAD`]
//! messages lie here it gives the turn back; it has one again when they are taken up, at once where
//! a turn is free, and by the queue once somebody waits for rows that are not there. So a cursor
//! that nobody reads, or a client that does not read its socket, keeps nobody from working. What
//! nobody takes up for `idle_timeout` is let go, with all that its statement holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::Phase;
use super::metrics::Measured;
use super::queue::{Queue, Turn};
use super::{Fault, State};
use crate::budget::Limits;
use crate::budget::guard::Stop;

/// Messages that lie here before a statement pauses.
const AHEAD: usize = 2;

/// What a statement says while it runs.
#[derive(Debug)]
pub(super) enum Message {
    /// It was planned and runs.
    Started(SchemaRef),
    /// Some rows.
    Rows(Part),
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

/// Rows on their way, and the memory that they are counted with.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) batch: RecordBatch,
    pub(super) memory: MemoryReservation,
}

impl Part {
    /// The first `most` rows, and the others if there are more.
    fn split(self, most: usize) -> (RecordBatch, Option<Self>) {
        let Self { batch, memory } = self;
        if batch.num_rows() <= most {
            return (batch, None);
        }
        let rest = batch.slice(most, batch.num_rows() - most);
        (batch.slice(0, most), Some(Self { batch: rest, memory }))
    }
}

/// Counts what a statement gives.
pub(super) struct Counter {
    rows: u64,
    bytes: u64,
    /// `result_rows` and `result_bytes`.
    most: (u64, u64),
    memory: Arc<dyn MemoryPool>,
}

impl Counter {
    pub(super) fn new(limits: &Limits, memory: Arc<dyn MemoryPool>) -> Self {
        Self { rows: 0, bytes: 0, most: (limits.result_rows, limits.result_bytes), memory }
    }

    /// Rows to give.
    ///
    /// # Errors
    /// They are too many, or no memory is left for them.
    pub(super) fn part(&mut self, batch: RecordBatch) -> Result<Part, Fault> {
        let long = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let size = size(&batch);
        self.rows = self.rows.saturating_add(long(batch.num_rows()));
        self.bytes = self.bytes.saturating_add(long(size));
        let (rows, bytes) = self.most;
        let passed = if self.rows > rows {
            format!("result passes the limit `result_rows`: at most {rows} rows")
        } else if self.bytes > bytes {
            format!("result passes the limit `result_bytes`: at most {bytes} bytes")
        } else {
            let memory = MemoryConsumer::new("result").register(&self.memory);
            memory.try_grow(size)?;
            return Ok(Part { batch, memory });
        };
        Err(Fault::limit(passed).hint("add a LIMIT, or aggregate"))
    }
}

/// Bytes of the rows of a batch, which may be a slice of something larger.
fn size(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| match column.data_type() {
        // How much of their text a slice has is not told.
        DataType::Utf8View | DataType::BinaryView => column.get_array_memory_size(),
        _ => {
            let size = column.to_data().get_slice_memory_size();
            size.unwrap_or_else(|_| column.get_array_memory_size())
        }
    };
    batch.columns().iter().map(column).sum()
}

/// What is taken up at once.
pub(super) enum Taken {
    /// Some rows.
    Rows(RecordBatch),
    /// Anything else.
    Other(Message),
}

/// Shared by a statement and whoever reads it.
#[derive(Debug)]
pub(super) struct Handover {
    queue: Arc<Queue>,
    stop: Arc<Stop>,
    idle_timeout: Duration,
    kept: Mutex<Kept>,
    /// Told when a message is here, or none will come.
    given: Notify,
    /// Told when one was taken up, or the statement has a turn again.
    taken: Notify,
}

#[derive(Debug)]
struct Kept {
    messages: VecDeque<Message>,
    turn: Option<Turn>,
    measured: Measured,
    /// When somebody last came here, to give or to take.
    touched: Instant,
    /// Nothing more is given.
    over: bool,
}

impl Handover {
    /// For a statement whose turn it is.
    pub(super) fn new(
        queue: Arc<Queue>,
        (turn, measured): (Turn, Measured),
        stop: Arc<Stop>,
        idle_timeout: Duration,
    ) -> Self {
        let (messages, touched) = (VecDeque::with_capacity(AHEAD + 1), Instant::now());
        let kept = Kept { messages, turn: Some(turn), measured, touched, over: false };
        let (given, taken) = (Notify::new(), Notify::new());
        Self { queue, stop, idle_timeout, kept: Mutex::new(kept), given, taken }
    }

    pub(super) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something over, and waits until there is more to work out; `false` when there is not.
    pub(super) async fn give(&self, message: Message) -> bool {
        self.put(message);
        loop {
            if self.goes_on() {
                return true;
            }
            if !self.pause().await {
                return false;
            }
        }
    }

    /// Hands the last thing over, of a statement that holds nothing any longer, and watches over
    /// what lies here until it was taken up.
    pub(super) async fn give_last(&self, message: Message) {
        self.lock().give_back();
        self.put(message);
        loop {
            if self.lock().messages.is_empty() || !self.pause().await {
                return;
            }
        }
    }

    fn put(&self, message: Message) {
        let mut kept = self.lock();
        kept.touched = Instant::now();
        kept.messages.push_back(message);
        drop(kept);
        self.given.notify_one();
    }

    /// Whether the statement may work on.
    fn goes_on(&self) -> bool {
        let mut kept = self.lock();
        if kept.messages.len() >= AHEAD {
            kept.give_back();
            return false;
        }
        if kept.turn.is_none()
            && let Some(turn) = self.queue.at_once()
        {
            kept.go_on(turn);
        }
        kept.turn.is_some()
    }

    /// Waits for whoever reads; `false` when nobody comes, or the statement was stopped.
    async fn pause(&self) -> bool {
        let until = self.lock().touched + self.idle_timeout;
        tokio::select! {
            biased;
            _ = self.stop.asked() => false,
            () = self.taken.notified() => true,
            () = tokio::time::sleep_until(until) => !self.let_go(),
        }
    }

    /// Lets everything go, if nobody has come for so long.
    fn let_go(&self) -> bool {
        let mut kept = self.lock();
        if kept.touched.elapsed() < self.idle_timeout {
            return false;
        }
        let fault = Fault::new(
            State::Canceled,
            format!(
                "canceling statement: nothing was read of its result for so long; the limit \
                 `idle_timeout` is {} ms",
                self.idle_timeout.as_millis()
            ),
        );
        kept.messages.clear();
        kept.measured.unread();
        drop(kept);
        self.stop.end(fault);
        true
    }

    /// What comes next, at most `most` rows of it; `None` when the statement broke off. Where
    /// nothing lies here the statement gets a turn, until `deadline` at most.
    ///
    /// # Errors
    /// There is no turn for it.
    pub(super) async fn take(
        &self,
        most: usize,
        deadline: Instant,
    ) -> Result<Option<Taken>, Fault> {
        loop {
            let works = {
                let mut kept = self.lock();
                kept.touched = Instant::now();
                if let Some(message) = kept.messages.pop_front() {
                    let taken = kept.first(message, most);
                    drop(kept);
                    self.taken.notify_one();
                    return Ok(Some(taken));
                }
                if kept.over {
                    return Ok(None);
                }
                if kept.turn.is_none() {
                    kept.measured.does(Phase::Waiting);
                }
                kept.turn.is_some()
            };
            tokio::select! {
                biased;
                () = self.given.notified() => {}
                turn = self.queue.turn(deadline), if !works => self.turn(turn?),
            }
        }
    }

    /// The statement has a turn again, if it needs one.
    fn turn(&self, turn: Turn) {
        let mut kept = self.lock();
        if !kept.over && kept.turn.is_none() {
            kept.go_on(turn);
        }
        drop(kept);
        self.taken.notify_one();
    }

    /// So many rows were taken up by now.
    pub(super) fn read(&self, rows: u64) {
        self.lock().measured.read(rows);
    }

    /// Every row was taken up.
    pub(super) fn answered(&self) {
        self.lock().measured.answered();
    }

    /// The statement ends with a fault; what lies here is of no use.
    pub(super) fn failed(&self, fault: &Fault) {
        let mut kept = self.lock();
        kept.messages.clear();
        kept.measured.failed(fault);
        drop(kept);
        self.stop.abandon();
    }

    /// What was taken up could not be handed on.
    pub(super) fn unread(&self) {
        self.lock().measured.unread();
    }

    /// Nobody takes up more.
    pub(super) fn abandon(&self) {
        let mut kept = self.lock();
        kept.messages.clear();
        kept.measured.abandoned();
        drop(kept);
        self.stop.abandon();
    }

    /// Kept by the statement, whose end it tells, however that comes.
    pub(super) fn end(self: &Arc<Self>) -> End {
        End(Arc::clone(self))
    }
}

impl Kept {
    /// Gives the turn back, if the statement has it.
    fn give_back(&mut self) {
        if self.turn.take().is_some() {
            self.measured.does(Phase::Paused);
        }
    }

    fn go_on(&mut self, turn: Turn) {
        self.turn = Some(turn);
        self.measured.does(Phase::Running);
    }

    /// A message as it is taken up; what is left of it stays here.
    fn first(&mut self, message: Message, most: usize) -> Taken {
        let Message::Rows(part) = message else { return Taken::Other(message) };
        let (batch, rest) = part.split(most);
        if let Some(rest) = rest {
            self.messages.push_front(Message::Rows(rest));
        }
        Taken::Rows(batch)
    }
}

/// The statement's hold of the place.
#[derive(Debug)]
pub(super) struct End(Arc<Handover>);

impl std::ops::Deref for End {
    type Target = Handover;

    fn deref(&self) -> &Handover {
        &self.0
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut kept = self.0.lock();
        (kept.over, kept.turn) = (true, None);
        drop(kept);
        self.0.given.notify_one();
    }
}
