//! One partition: its customers, and what a run of records or the close of a day does to them.
//!
//! Invariants: everything here is done by one thread; the state after a position depends on the
//! input up to it and on the decisions recorded, never on how the input was cut into runs or the
//! sweep into slices; a day closes only when everybody has been brought to the one before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use cardlens_features::{Origin, Outcome, Point, Rows, Slot, Table, TableConfig};
use cardlens_lens::{Judged, Lens, Move, Standings, Suppressed, Tip};
use cardlens_model::{Batch, Calendar, Cause, Day, Held, PartitionId, Position, Reason, Record};
use cardlens_wire::{Decision, DecisionKind};

use crate::chain::Chain;
use crate::decode::Decoding;
use crate::forgotten::Forgotten;
use crate::history::{History, NamedChange, Past, Standing};
use crate::metrics::Metrics;
use crate::progress::Mark;
use crate::publish::Publisher;
use crate::rejects::RejectWindow;
use crate::tally::{Census, Tally};
use crate::view::{ChangeRow, Dirty, Recent};
use crate::{Broken, Error};

/// Customers brought to a new day at a time, between live batches.
pub(crate) const SLICE: usize = 4_096;

/// What every partition of a deployment shares. Nothing here changes after the start.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The rule set in force.
    pub lens: Arc<Lens>,
    /// How tables are made.
    pub table: TableConfig,
    /// Where days begin.
    pub calendar: Calendar,
    /// Most rejected records of the last 10,000; no limit when absent.
    pub rejected_max: Option<u32>,
    /// Stop at the first rejected record.
    pub stop_on_reject: bool,
    /// Records of later days are left out: for `backtest --as-of`.
    pub until: Option<Day>,
    /// Digest of all that makes snapshots comparable.
    pub state_digest: String,
    /// The input topic, for metrics.
    pub topic: String,
}

/// A partition and its customers.
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) shared: Arc<Shared>,
    metrics: Metrics,
    decoding: Decoding,
    pub(crate) table: Table,
    pub(crate) standings: Standings,
    /// Next record to read.
    pub(crate) position: Position,
    /// Where the first start of the deployment began.
    pub(crate) origin: Position,
    /// Next customer to bring to the last closed day.
    pub(crate) swept: Slot,
    rejects: RejectWindow,
    pub(crate) chain: Chain,
    batch: Batch,
    rejected: Vec<(u32, Reason)>,
    pub(crate) rows: Rows,
    judged: Judged,
    moves: Vec<Move>,
    /// Segments that the rules no longer have, by slot, until they are told of, and those of the
    /// row under way.
    forgotten: BTreeMap<u32, Vec<Forgotten>>,
    gone: Vec<Forgotten>,
    tally: Tally,
    /// Customers by segment, since it was restored.
    pub(crate) census: Census,
    /// Customers whose rows readers have not seen as they are now.
    pub(crate) dirty: Dirty,
    /// The last changes of segment, for readers.
    pub(crate) recent: Recent,
    /// What the history has yet to write, where one is kept.
    pub(crate) past: Option<Past>,
}

impl Partition {
    pub(crate) fn new(
        id: PartitionId,
        shared: &Arc<Shared>,
        metrics: &Metrics,
        decoding: Decoding,
        at: Position,
    ) -> Self {
        let table = Table::new(shared.table.clone());
        let rows = table.rows();
        Self {
            id,
            metrics: metrics.clone(),
            decoding,
            standings: Standings::new(&shared.lens),
            table,
            position: at,
            origin: at,
            swept: Slot(0),
            rejects: RejectWindow::default(),
            chain: Chain::new(at),
            batch: Batch::default(),
            rejected: Vec::new(),
            rows,
            judged: Judged::default(),
            moves: Vec::new(),
            forgotten: BTreeMap::new(),
            gone: Vec::new(),
            tally: Tally::default(),
            census: Census::default(),
            dirty: Dirty::default(),
            recent: Recent::default(),
            past: None,
            shared: Arc::clone(shared),
        }
    }

    /// Keeps a history from here on.
    pub(crate) fn keep_history(&mut self, settings: &Arc<History>) -> Result<(), Error> {
        self.past = Some(Past::new(settings, self.id)?);
        self.want_profiles();
        Ok(())
    }

    /// Everything so far was committed: it goes into the history.
    pub(crate) fn commit_history(&mut self) -> Result<(), Error> {
        let (open, sweeping) = (self.table.open_day(), self.sweeping());
        self.past.as_mut().map_or(Ok(()), |past| past.commit(open, sweeping))
    }

    /// Parts of the history that wait for the store.
    pub(crate) fn history_waiting(&self) -> usize {
        self.past.as_ref().map_or(0, Past::waiting)
    }

    /// As [`Partition::commit_history`], while it is replayed.
    pub(crate) fn replayed(&mut self) -> Result<(), Error> {
        let (open, sweeping) = (self.table.open_day(), self.sweeping());
        self.past.as_mut().map_or(Ok(()), |past| past.replayed(open, sweeping))
    }

    /// Tells the table whether a profile is taken of the day that was closed last.
    pub(crate) fn want_profiles(&mut self) {
        let Some(past) = &self.past else { return };
        let closed = self.table.open_day().map(|open| open.plus(-1));
        let wanted = closed.is_some_and(|day| past.takes(day));
        self.table.keep_closing(wanted.then_some(past.plan()));
    }

    /// What is written beside the committed position.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            origin: self.origin,
            open_day: self.table.open_day(),
            swept: self.swept.0,
            rules: self.shared.lens.rules().digest.clone(),
            state: self.shared.state_digest.clone(),
        }
    }

    /// Whether some customers are still to be brought to the last closed day.
    pub(crate) fn sweeping(&self) -> bool {
        (self.swept.0 as usize) < self.table.customers()
    }

    /// Takes a run of records.
    pub(crate) fn take(
        &mut self,
        records: &[Record<'_>],
        next: Position,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        let started = publisher.clock.elapsed();
        self.decode(records, publisher)?;
        self.observe_stage("decode", started, publisher);
        let mut from = 0;
        loop {
            let started = publisher.clock.elapsed();
            let applied = self.table.apply(&self.batch, from, &mut self.rows);
            self.observe_stage("apply", started, publisher);
            for (record_idx, outcome) in &applied.outcomes {
                self.count(*outcome, &records[*record_idx as usize], publisher);
            }
            self.judge(records, None, publisher)?;
            from = applied.next;
            match applied.closes {
                Some(day) => self.close(day, publisher)?,
                None if from == self.batch.transactions.len() => break,
                None => {}
            }
        }
        self.position = next;
        Ok(())
    }

    fn decode(&mut self, records: &[Record<'_>], publisher: &mut Publisher) -> Result<(), Error> {
        self.decoding.decode(records, &mut self.batch, &mut self.rejected);
        if let Some(until) = self.shared.until {
            self.batch.transactions.retain(|transaction| transaction.day <= until);
        }
        self.chain.batch(&self.batch);
        for (record_idx, reason) in &self.rejected {
            let record = &records[*record_idx as usize];
            publisher.dead_letter(self.id, record, *reason);
            let labels = [self.shared.topic.as_str(), reason.name()];
            self.metrics.records_rejected.with_label_values(&labels).inc();
        }
        self.rejects.add(records.len(), self.rejected.len());
        let stop = self.shared.stop_on_reject && !self.rejected.is_empty();
        if !publisher.silent && (stop || self.rejects.exceeds(self.shared.rejected_max)) {
            return Err(self.too_many_rejected());
        }
        Ok(())
    }

    fn too_many_rejected(&self) -> Error {
        let last = self.rejected.last().map_or("", |(_, reason)| reason.name());
        Error::Broken {
            partition: self.id,
            reason: Broken::RejectLimit,
            detail: format!(
                "more records are rejected than [input] reject_limit or on_error allow, the last \
                 as `{last}`, at position {}; mend the feed or its [input.map], then restart",
                self.position.0
            ),
        }
    }

    fn count(&self, outcome: Outcome, record: &Record<'_>, publisher: &mut Publisher) {
        let topic = self.shared.topic.as_str();
        match outcome {
            Outcome::Duplicate => {
                self.metrics.records_duplicate.with_label_values(&[topic]).inc();
            }
            Outcome::TooLate => {
                publisher.dead_letter(self.id, record, Reason::TooLate);
                let labels = [topic, Reason::TooLate.name()];
                self.metrics.records_rejected.with_label_values(&labels).inc();
                self.metrics.records_late.with_label_values(&[topic, "too_late"]).inc();
            }
            Outcome::Ignored(kind) => {
                self.metrics.records_ignored.with_label_values(&[topic, kind.name()]).inc();
            }
            Outcome::AlreadyReversed => {
                self.metrics.reversals.with_label_values(&["already_reversed"]).inc();
            }
        }
    }

    /// Closes a day. Everybody is brought to the one before it first, so that the position and
    /// the number of customers swept say all there is to say.
    pub(crate) fn close(&mut self, day: Day, publisher: &mut Publisher) -> Result<(), Error> {
        while self.sweep(SLICE, publisher)? {}
        self.table.close_day(day);
        self.swept = Slot(0);
        self.want_profiles();
        Ok(())
    }

    /// Closes every day before `open`, and brings everybody there.
    pub(crate) fn close_until(
        &mut self,
        open: Day,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        while let Some(day) = self.table.open_day().filter(|day| *day < open) {
            self.close(day, publisher)?;
        }
        while self.sweep(SLICE, publisher)? {}
        Ok(())
    }

    /// Closes the open day of an idle partition and records that it did.
    pub(crate) fn close_idle(&mut self, publisher: &mut Publisher) -> Result<(), Error> {
        let Some(day) = self.table.open_day() else { return Ok(()) };
        publisher.decision(&Decision {
            partition: self.id,
            position: self.position,
            what: DecisionKind::DayClosed { day },
        });
        self.chain.closed(day);
        self.close(day, publisher)
    }

    /// Applies a recorded decision again.
    pub(crate) fn replay_decision(
        &mut self,
        decision: &Decision,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        match &decision.what {
            DecisionKind::DayClosed { day } if self.table.open_day() == Some(*day) => {
                self.chain.closed(*day);
                self.close(*day, publisher)
            }
            // A snapshot taken after the decision has it already. Rule sets are adopted as a
            // whole when the partition is restored.
            DecisionKind::DayClosed { .. } | DecisionKind::RulesAdopted { .. } => Ok(()),
        }
    }

    /// Brings at most `max` more customers to the last closed day; false when all are there.
    pub(crate) fn sweep(&mut self, max: usize, publisher: &mut Publisher) -> Result<bool, Error> {
        if !self.sweeping() {
            return Ok(false);
        }
        let from = self.swept;
        self.swept = self.table.sweep(from, max, &mut self.rows);
        self.dirty.mark_range(from.0, self.swept.0);
        self.judge(&[], None, publisher)?;
        Ok(self.sweeping())
    }

    /// Judges everybody as of now under another rule set.
    pub(crate) fn reclassify(&mut self, publisher: &mut Publisher) -> Result<(), Error> {
        self.chain.restart();
        let customers = u32::try_from(self.table.customers()).unwrap_or(u32::MAX);
        for slot in 0..customers {
            let as_of = self.table.as_of(Slot(slot));
            self.table.gather(Slot(slot), as_of, &mut self.rows);
            if slot % 4_096 == 4_095 || slot + 1 == customers {
                self.judge(&[], Some(Cause::RuleChange), publisher)?;
            }
        }
        Ok(())
    }

    /// Judges the gathered rows, in order, and publishes what changes.
    fn judge(
        &mut self,
        records: &[Record<'_>],
        cause: Option<Cause>,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (points, columns) = self.rows.take();
        self.tally.points(&points);
        let shared = Arc::clone(&self.shared);
        let started = publisher.clock.elapsed();
        shared.lens.evaluate_into(&columns, &mut self.judged).map_err(judging)?;
        self.observe_stage("classify", started, publisher);
        let started = publisher.clock.elapsed();
        for (row, point) in points.iter().enumerate() {
            self.moves.clear();
            let seen = cardlens_lens::Point {
                slot: point.slot.0,
                row,
                as_of: point.as_of,
                judge_needs: !point.withheld,
                day_closed: matches!(point.origin, Origin::DayClose(_)),
            };
            self.dirty.mark(point.slot.0);
            let moved = self.standings.observe(seen, &self.judged, &mut self.moves);
            self.recall(point.slot);
            if moved || !self.gone.is_empty() {
                self.publish(point, row, (&columns, records, cause), publisher)?;
            }
            self.profile(point, row);
        }
        if let (Some(features), Some(past)) = (self.table.take_closing(), &mut self.past) {
            past.profiled(&features, shared.lens.rules().version)?;
        }
        self.observe_stage("publish", started, publisher);
        Ok(())
    }

    /// Takes a customer's profile if this is the close of a day of which there is one.
    fn profile(&mut self, point: &Point, row: usize) {
        let Origin::DayClose(day) = point.origin else { return };
        let Some(past) = self.past.as_mut().filter(|past| past.takes(day)) else { return };
        past.profile(&Standing {
            slot: point.slot,
            days: (day, point.as_of),
            customer: self.table.customer_id(point.slot),
            standings: &self.standings,
            judged: (&self.judged, row),
            rules: self.shared.lens.rules(),
        });
    }

    fn observe_stage(&self, stage: &str, started: Duration, publisher: &Publisher) {
        let took = publisher.clock.elapsed().saturating_sub(started).as_secs_f64();
        self.metrics.batch_duration.with_label_values(&[stage]).observe(took);
    }

    /// Publishes the moves of one row, and where the customer stands now.
    fn publish(
        &mut self,
        point: &Point,
        row: usize,
        (columns, records, cause): (&RecordBatch, &[Record<'_>], Option<Cause>),
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        if publisher.silent && self.past.is_none() {
            return Ok(());
        }
        let lens = &self.shared.lens;
        let customer = self.table.customer_id(point.slot);
        let record = match point.origin {
            Origin::Record { record_idx, .. } => records.get(record_idx as usize),
            Origin::DayClose(_) | Origin::Asked => None,
        };
        let position = record.map_or(self.position, |record| record.position);
        let tip = self.tip(point, customer);
        let cause_of = |moved: &Move, tipped| match cause {
            Some(cause) => cause,
            None if moved.initial => Cause::Initial,
            None => tipped,
        };
        // Without an open day there are withheld records alone.
        let day = self.table.open_day().unwrap_or(point.as_of);
        let (mut recent, mut named) = (Vec::new(), Vec::new());
        let place = (day, position, publisher.now_ms);
        for moved in &self.moves {
            let tip = Tip { cause: cause_of(moved, tip.cause), ..tip };
            let mut change = lens.assemble(moved, &tip, columns, &self.judged).map_err(judging)?;
            self.gone.iter().for_each(|gone| gone.precede(&mut change));
            publisher.change(self.id, &change, position, record);
            if self.recent.wanted() || self.past.is_some() {
                let row = ChangeRow::new(moved.slot, (moved.from, moved.to), &change, place);
                if self.past.is_some() {
                    named.push(NamedChange::new(row.clone(), &change));
                }
                recent.push(row);
            }
        }
        let now = self.standings.placement(point.slot.0);
        for gone in self.gone.iter().filter(|gone| gone.sequence.is_some()) {
            let figures = (point.as_of, self.judged.margin(row));
            let change = gone.left(lens, &tip, now, figures);
            publisher.change(self.id, &change, position, record);
            let labels = [gone.axis.name(), &*gone.name, change.kind.name(), change.cause.name()];
            self.metrics.segment_changes.with_label_values(&labels).inc();
            if self.past.is_some() {
                let row = ChangeRow::new(point.slot.0, (None, None), &change, place);
                named.push(NamedChange::new(row, &change));
            }
        }
        let judged = Some((&self.judged, row));
        let held = self.standings.held(point.slot.0, lens.rules(), judged);
        publisher.current(self.id, customer, &held);
        let tipped = tip.cause;
        if !publisher.silent {
            for moved in &self.moves {
                self.tally.change(moved, cause_of(moved, tipped));
                self.census.moved(moved);
            }
            self.recent.extend(recent);
        }
        if let Some(past) = &mut self.past {
            past.changes(named);
        }
        Ok(())
    }

    /// What caused a row.
    fn tip<'a>(&'a self, point: &Point, customer: &'a str) -> Tip<'a> {
        let asked = self.shared.calendar.start_of(point.as_of);
        let mut tip =
            Tip { customer, cause: Cause::RuleChange, causation_id: None, effective_at: asked };
        match point.origin {
            Origin::Record { record_idx, time, late, reversal } => {
                tip.cause = match (late, reversal) {
                    (_, true) => Cause::Reversal,
                    (true, false) => Cause::LateTransaction,
                    (false, false) => Cause::Transaction,
                };
                tip.effective_at = time;
                let all = &self.batch.transactions;
                let at = all.binary_search_by_key(&record_idx, |it| it.record_idx);
                let id = at.ok().map(|at| self.batch.text(all[at].id));
                tip.causation_id = id.and_then(|id| std::str::from_utf8(id).ok());
            }
            Origin::DayClose(day) => {
                tip.cause = Cause::TimePassed;
                tip.effective_at = self.shared.calendar.start_of(day.plus(1));
            }
            Origin::Asked => {}
        }
        tip
    }

    /// Where a customer stands now.
    pub(crate) fn held(&self, slot: Slot) -> Held<'_> {
        self.standings.held(slot.0, self.shared.lens.rules(), None)
    }

    /// Takes over where a customer was last published to stand.
    pub(crate) fn adopt(&mut self, slot: Slot, held: &Held<'_>) {
        let rules = self.shared.lens.rules();
        let forgotten = Forgotten::of(held, rules);
        if !forgotten.is_empty() {
            self.forgotten.insert(slot.0, forgotten);
        }
        self.standings.adopt(slot.0, held, rules);
    }

    /// What is to be told of a customer's segments that the rules no longer have.
    fn recall(&mut self, slot: Slot) {
        self.gone = self.forgotten.remove(&slot.0).unwrap_or_default();
        let now = self.standings.placement(slot.0);
        for gone in self.gone.iter_mut().filter(|gone| !gone.replaced(now)) {
            gone.sequence = Some(self.standings.count_change(slot.0));
        }
    }

    pub(crate) fn rules_version(&self) -> u32 {
        self.shared.lens.rules().version
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Bytes of state by part.
    pub(crate) fn memory(&self) -> Vec<(&'static str, usize)> {
        let mut parts = self.table.memory();
        parts.push(("standings", self.standings.memory()));
        parts.push(("history", self.past.as_ref().map_or(0, Past::bytes)));
        parts
    }

    /// Metrics of what a commit leaves behind.
    pub(crate) fn count_state(&mut self) {
        self.tally.flush(&self.metrics, &self.shared.topic, &self.shared.lens);
        let number = self.id.0.to_string();
        let labels = [self.shared.topic.as_str(), number.as_str()];
        self.metrics.partition_position.with_label_values(&labels).set(self.position.0);
        if let Some(watermark) = self.table.watermark() {
            let seconds = i32::try_from(watermark.0.div_euclid(1_000)).unwrap_or(i32::MAX);
            self.metrics.partition_watermark.with_label_values(&labels).set(f64::from(seconds));
        }
        for (reason, count) in Suppressed::ALL.iter().zip(self.standings.take_suppressed()) {
            let counter = &self.metrics.segment_changes_suppressed;
            counter.with_label_values(&[reason.name()]).inc_by(count);
        }
    }

    /// Counts anew who stands where: what moved while it was restored was not counted.
    pub(crate) fn take_census(&mut self) {
        self.census = Census::of(&self.standings);
    }
}

fn judging(error: cardlens_lens::Error) -> Error {
    Error::Setup(format!("evaluate the rules: {error}"))
}
