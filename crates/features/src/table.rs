//! A partition's customers, and the rows that records and days give.
//!
//! Owns the order of things: the watermark and the cut where a day closes, the rows for closed days
//! that a customer gets before anything else happens to it, one row right after each record. What a
//! customer gets depends on these evaluation points only, never on where a batch or a slice of a
//! sweep ends. Knows nothing of rules, positions or wall time.

use std::sync::Arc;

use arrow_array::RecordBatch;
use cardlens_model::{
    Batch, Calendar, Category, CategoryTable, Day, EventTime, Kind, Transaction, ValueModel,
};
use twox_hash::XxHash3_64;

use crate::{
    clock::Clock,
    export::Gatherer,
    gather::{Gather, Subject},
    index::Index,
    ledger::{BEGUN, Ledger, Reach, SEEN, Slot},
    plan::Plan,
    record::{Moment, Verdict},
    rows::{Origin, Point, Rows},
    value::Value,
};

/// Records looked up ahead of their use.
const GROUP: usize = 64;
/// Customers whose postings are asked for ahead of their use.
const AHEAD: usize = 3;
/// Rows after which `apply` pauses.
const ROWS_MAX: usize = 1 << 16;

/// What a table is built from.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// The columns.
    pub columns: Plan,
    /// The categories of the rule set.
    pub categories: Arc<CategoryTable>,
    /// The value model of the rule set.
    pub value: ValueModel,
    /// Where days begin.
    pub calendar: Calendar,
    /// How far the watermark stays behind the greatest event time.
    pub settle_ms: i64,
    /// How late a record may be, and how long ids are remembered.
    pub allowed_lateness_ms: i64,
    /// Whether purchases or authorizations move windows; the other kind is ignored.
    pub moves_windows: Kind,
}

/// What became of a record that was not plainly applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The customer's record of that id is known. No row.
    Duplicate,
    /// Later than allowed: for the dead letters. No row.
    TooLate,
    /// Of the kind that does not move windows, or a reversal of one. No row.
    Ignored(Kind),
    /// One of several reversals of the same original is not honoured. No row, unless this one is
    /// earlier than the one honoured so far and takes its place.
    AlreadyReversed,
}

/// How far `apply` went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The first transaction not applied.
    pub next: usize,
    /// The day to close before that one is applied. Without it, and before the end of the batch,
    /// `apply` paused because rows should be taken first.
    pub closes: Option<Day>,
    /// Records that were not plainly applied, by `record_idx`, in order.
    pub outcomes: Vec<(u32, Outcome)>,
}

/// Second rows of closed days.
struct Closing {
    gatherer: Gatherer,
    rows: Rows,
    wanted: bool,
}

/// The customers of one partition.
pub struct Table {
    pub(crate) config: TableConfig,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) index: Index,
    gather: Gather,
    /// Nobody takes the rows, so none are made.
    quiet: bool,
    /// Rows of other columns for whoever keeps what was when a day closed.
    closing: Option<Box<Closing>>,
    /// Slots of the group under way, as far as they were found ahead.
    found: Vec<Option<Slot>>,
}

impl Table {
    /// A table without customers.
    #[must_use]
    pub fn new(config: TableConfig) -> Self {
        let clock =
            Clock::new(config.calendar.clone(), config.settle_ms, config.allowed_lateness_ms);
        Self {
            clock,
            ledger: Ledger::new(),
            index: Index::new(),
            gather: Gather::new(&config.columns, Value::new(config.value.clone())),
            quiet: false,
            closing: None,
            found: Vec::with_capacity(GROUP),
            config,
        }
    }

    /// Rows of this table's columns.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::new(&self.config.columns)
    }

    /// Whether from now on evaluation points give rows. Without, records and days move the same
    /// state at a fraction of the cost: for what was judged before and is read again.
    pub fn give_rows(&mut self, give: bool) {
        self.quiet = !give;
    }

    /// From now on gives each row of a closed day a second one of these columns, taken at the same
    /// moment, for [`Table::take_closing`]; or ends to do so.
    pub fn keep_closing(&mut self, plan: Option<&Plan>) {
        match (plan, &mut self.closing) {
            (Some(plan), None) => {
                let gatherer = Gatherer::new(plan, self);
                let rows = gatherer.rows();
                self.closing = Some(Box::new(Closing { gatherer, rows, wanted: true }));
            }
            (plan, Some(closing)) => closing.wanted = plan.is_some(),
            (None, None) => {}
        }
    }

    /// The second rows since the last call, in the order of the first.
    pub fn take_closing(&mut self) -> Option<RecordBatch> {
        let closing = self.closing.as_mut().filter(|closing| !closing.rows.is_empty())?;
        Some(closing.rows.take().1)
    }

    /// Applies transactions from `from` on, in order, until the end of the batch or until right
    /// before the one that carries the watermark past the end of the open day.
    pub fn apply(&mut self, batch: &Batch, from: usize, rows: &mut Rows) -> Applied {
        let mut applied = Applied { next: from, ..Applied::default() };
        while applied.next < batch.transactions.len() && rows.len() < ROWS_MAX {
            let rest = &batch.transactions[applied.next..];
            let group = &rest[..rest.len().min(GROUP)];
            let closing = group.iter().position(|it| self.moves(it) && self.clock.closes(it.time));
            // The first record ever opens a day, and what comes after it may close that day.
            let opening = self.clock.open_day().is_none();
            let end = if opening { 1 } else { closing.unwrap_or(group.len()) };
            self.apply_group(batch, &group[..end], rows, &mut applied.outcomes);
            applied.next += end;
            if closing.is_some() && !opening {
                applied.closes = self.clock.open_day();
                break;
            }
        }
        applied
    }

    /// Whether a record moves the watermark.
    fn moves(&self, record: &Transaction) -> bool {
        record.category != Category::WITHHELD && record.kind != self.ignored()
    }

    fn ignored(&self) -> Kind {
        match self.config.moves_windows {
            Kind::Authorization => Kind::Purchase,
            _ => Kind::Authorization,
        }
    }

    /// Applies records none of which closes a day. Each step below is taken for the whole group, so
    /// that memory is on its way when it is needed.
    fn apply_group(
        &mut self,
        batch: &Batch,
        group: &[Transaction],
        rows: &mut Rows,
        outcomes: &mut Vec<(u32, Outcome)>,
    ) {
        self.index.reserve(group.len());
        for record in group {
            self.index.prefetch(record.customer_hash);
        }
        self.found.clear();
        for record in group {
            // By the hash alone: the header is not there yet. Checked when it is.
            let slot = self.index.find(record.customer_hash, |_| true).map(Slot);
            if let Some(slot) = slot {
                self.ledger.prefetch_header(slot);
            }
            self.found.push(slot);
        }
        for at in 0..group.len().min(AHEAD) {
            self.prefetch_found(at);
        }
        for (at, record) in group.iter().enumerate() {
            self.prefetch_found(at + AHEAD);
            if self.clock.too_late(record.time) {
                outcomes.push((record.record_idx, Outcome::TooLate));
                continue;
            }
            let slot = self.slot_for(record, batch.text(record.customer), self.found[at]);
            let outcome = self.apply_one(slot, record, rows);
            outcomes.extend(outcome.map(|outcome| (record.record_idx, outcome)));
        }
    }

    fn prefetch_found(&self, at: usize) {
        if let Some(slot) = self.found.get(at).copied().flatten() {
            self.ledger.prefetch_block(slot);
        }
    }

    fn slot_for(&mut self, record: &Transaction, id: &[u8], found: Option<Slot>) -> Slot {
        if let Some(slot) = found.filter(|slot| self.ledger.id(*slot) == id) {
            return slot;
        }
        let hash = record.customer_hash;
        let known = self.index.find(hash, |slot| self.ledger.id(Slot(slot)) == id);
        if let Some(slot) = known {
            return Slot(slot);
        }
        let tag = (hash >> 32) as u32;
        let slot = self.ledger.add(id, tag, self.clock.last_closed());
        self.index.insert(tag, slot.0);
        slot
    }

    fn apply_one(&mut self, slot: Slot, record: &Transaction, rows: &mut Rows) -> Option<Outcome> {
        self.bring_forward(slot, rows);
        let moment = self.moment();
        let late = moment.open.is_some_and(|open| record.day < open);
        let verdict = self.ledger.record(slot, record, moment);
        if self.moves(record) {
            self.clock.observe(record.time);
        }
        let (withheld, outcome) = match verdict {
            Verdict::Counted { withheld } => (withheld, None),
            Verdict::Replaced { withheld } => (withheld, Some(Outcome::AlreadyReversed)),
            Verdict::Duplicate => return Some(Outcome::Duplicate),
            Verdict::Ignored => return Some(Outcome::Ignored(record.kind)),
            Verdict::AlreadyReversed => return Some(Outcome::AlreadyReversed),
        };
        let open = self.clock.open_day();
        // Nothing but withheld records so far: they open no day.
        let known = open.is_some() || self.ledger.header(slot).last_day != i32::MIN;
        let as_of = if known { self.ledger.as_of(slot, open) } else { record.day };
        let origin = Origin::Record {
            record_idx: record.record_idx,
            time: record.time,
            late,
            reversal: record.kind == Kind::Reversal,
        };
        self.row(Point { slot, as_of, origin, withheld, first: false }, rows);
        outcome
    }

    fn moment(&self) -> Moment {
        Moment {
            ignored: self.ignored(),
            open: self.clock.open_day(),
            remembered: self.clock.remembered(),
        }
    }

    /// What counts of a customer at the moment.
    pub(crate) fn reach(&self, slot: Slot) -> Reach {
        self.ledger.reach(slot, self.moment())
    }

    /// Writes a row for every closed day for which the customer has none.
    fn bring_forward(&mut self, slot: Slot, rows: &mut Rows) {
        let last = self.clock.last_closed();
        let header = self.ledger.header_mut(slot);
        if header.closed >= last.0 {
            return;
        }
        let from = Day(header.closed).max(self.clock.before_first_open());
        header.closed = last.0;
        if header.flags & BEGUN == 0 {
            return;
        }
        for day in (from.0..last.0).map(|day| Day(day).plus(1)) {
            let as_of = self.ledger.as_of(slot, Some(day));
            let origin = Origin::DayClose(day);
            self.row(Point { slot, as_of, origin, withheld: false, first: false }, rows);
        }
    }

    fn row(&mut self, point: Point, rows: &mut Rows) {
        let header = self.ledger.header_mut(point.slot);
        let first = header.flags & SEEN == 0;
        header.flags |= SEEN;
        if !self.quiet {
            self.asked(Point { first, ..point }, rows);
        }
    }

    fn asked(&mut self, point: Point, rows: &mut Rows) {
        let row = rows.push(point);
        let first_day = self.ledger.header(point.slot).first_day;
        let postings = self.ledger.postings(point.slot);
        let subject = Subject { postings, first_day, as_of: point.as_of };
        self.gather.row(subject, &self.config.columns, row);
        let closing = self.closing.as_mut().filter(|closing| closing.wanted);
        if let (Some(closing), Origin::DayClose(_)) = (closing, point.origin) {
            closing.gatherer.row(subject, point, &mut closing.rows);
        }
    }

    /// Closes a day, and every day before it: the next one is open from now on. Customers get
    /// their rows by `sweep`, or before their next record. Used after a cut, and for a partition
    /// without records that follows the others.
    pub fn close_day(&mut self, day: Day) {
        self.clock.close(day);
    }

    /// Brings customers from `from` on to the last closed day, `max` of them, or fewer when that
    /// gives `max` rows. Returns where to go on: past the last customer when all are done.
    pub fn sweep(&mut self, from: Slot, max: usize, rows: &mut Rows) -> Slot {
        let (end, before) = (self.customers(), rows.len());
        let mut at = from.index();
        let last = at.saturating_add(max).min(end);
        let moment = self.moment();
        while at < last && rows.len() - before < max {
            let slot = Slot(u32::try_from(at).unwrap_or(u32::MAX));
            let ahead = at + AHEAD;
            if ahead < end {
                self.ledger.prefetch_block(Slot(u32::try_from(ahead).unwrap_or(u32::MAX)));
            }
            self.bring_forward(slot, rows);
            self.ledger.trim_at(slot, moment);
            at += 1;
        }
        Slot(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// Appends a customer's row as of a day, for whoever asks; [`Table::as_of`] is the day of the
    /// next ordinary one.
    pub fn gather(&mut self, slot: Slot, as_of: Day, rows: &mut Rows) {
        let origin = Origin::Asked;
        self.asked(Point { slot, as_of, origin, withheld: false, first: false }, rows);
    }

    /// What a customer's row is as of now: the later of the open day and its greatest event day.
    #[must_use]
    pub fn as_of(&self, slot: Slot) -> Day {
        self.ledger.as_of(slot, self.clock.open_day())
    }

    /// The first day not closed; absent before the first record.
    #[must_use]
    pub fn open_day(&self) -> Option<Day> {
        self.clock.open_day()
    }

    /// The greatest event time less `settle`; absent before the first record.
    #[must_use]
    pub fn watermark(&self) -> Option<EventTime> {
        self.clock.watermark()
    }

    /// Customers, those known by ignored records alone among them.
    #[must_use]
    pub fn customers(&self) -> usize {
        self.ledger.len()
    }

    /// Whether the customer has not had a row yet.
    #[must_use]
    pub fn first_row(&self, slot: Slot) -> bool {
        self.ledger.header(slot).flags & SEEN == 0
    }

    /// A customer's id.
    #[must_use]
    pub fn customer_id(&self, slot: Slot) -> &str {
        std::str::from_utf8(self.ledger.id(slot)).unwrap_or_default()
    }

    /// The customer of an id.
    #[must_use]
    pub fn slot_of(&self, id: &str) -> Option<Slot> {
        let hash = XxHash3_64::oneshot(id.as_bytes());
        self.index.find(hash, |slot| self.ledger.id(Slot(slot)) == id.as_bytes()).map(Slot)
    }

    /// Where this table's days begin.
    #[must_use]
    pub fn calendar(&self) -> &Calendar {
        self.clock.calendar()
    }

    /// The columns of this table's rows.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.config.columns
    }

    /// Bytes by part.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let mut parts = vec![("index", self.index.bytes())];
        parts.extend(self.ledger.bytes());
        parts
    }
}
