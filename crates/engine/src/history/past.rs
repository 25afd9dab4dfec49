//! What one partition has of the history that is not written yet.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use bytes::Bytes;
use cardlens_features::Plan;
use cardlens_model::{Day, PartitionId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::roll::{BEGINNING, Part, Roll};
use super::rows::{self, NamedChange, ProfileRows, Standing};
use super::writer::{Done, Job, to_parquet};
use super::{File, History, Kind, Place};
use crate::Error;

/// Most rows of a part.
const ROWS_MAX: usize = 16_384;
/// Most parts that wait for the store. Those that a long replay makes again before the last so many
/// were written before the crash.
pub(crate) const WAITING_MAX: usize = 128;
/// Changes of a replay after which they are put into parts.
const REPLAYED_CHANGES: usize = 4_096;

/// Rows since the last part that was written.
#[derive(Debug)]
pub(crate) struct Past {
    settings: Arc<History>,
    partition: PartitionId,
    changes: Roll,
    profiles: Roll,
    /// Of the transaction under way.
    new_changes: Vec<NamedChange>,
    new_profiles: Vec<(Day, RecordBatch)>,
    /// Of the rows being judged.
    closing: ProfileRows,
    /// Profiles of nobody.
    none: RecordBatch,
    /// The state was loaded from a snapshot of the rules in force, or from none.
    pub(crate) same_rules: bool,
}

/// What readers see of it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The first part of changes that is not in the store.
    pub(crate) cut: Place,
    /// Changes from there on, with their days.
    pub(crate) unwritten: Vec<(Day, RecordBatch)>,
}

fn kept(error: ArrowError) -> Error {
    Error::Setup(format!("keep the history: {error}"))
}

impl Past {
    pub(crate) fn new(settings: &Arc<History>, partition: PartitionId) -> Result<Self, Error> {
        let features = RecordBatch::new_empty(settings.layout.plan.schema());
        let features = rows::features(&features, &settings.layout, settings.currency_exponent);
        let none = features.and_then(|it| ProfileRows::default().take(partition, 0, it));
        Ok(Self {
            settings: Arc::clone(settings),
            partition,
            changes: Roll::new(BEGINNING, ROWS_MAX),
            profiles: Roll::new(BEGINNING, ROWS_MAX),
            new_changes: Vec::new(),
            new_profiles: Vec::new(),
            closing: ProfileRows::default(),
            none: none.map_err(kept)?.1,
            same_rules: true,
        })
    }

    /// The features of a profile.
    pub(crate) fn plan(&self) -> &Plan {
        &self.settings.layout.plan
    }

    /// Whether profiles are taken at the close of a day.
    pub(crate) fn takes(&self, day: Day) -> bool {
        self.settings.profiles.is_some_and(|profiles| profiles.of(day))
            && self.profiles.cut.day <= day
    }

    /// Changes of the transaction under way.
    pub(crate) fn changes(&mut self, changes: Vec<NamedChange>) {
        self.new_changes.extend(changes);
    }

    /// A customer at the close of a day, just judged.
    pub(crate) fn profile(&mut self, standing: &Standing<'_>) {
        self.closing.push(standing);
    }

    /// The features of those customers, in their order.
    pub(crate) fn profiled(
        &mut self,
        features: &RecordBatch,
        rules_version: u32,
    ) -> Result<(), Error> {
        let History { layout, currency_exponent, .. } = &*self.settings;
        let features = rows::features(features, layout, *currency_exponent).map_err(kept)?;
        let rows = self.closing.take(self.partition, rules_version, features);
        let (days, batch) = rows.map_err(kept)?;
        let mut from = 0;
        for same in days.chunk_by(|one, other| one == other) {
            self.new_profiles.push((same[0], batch.slice(from, same.len())));
            from += same.len();
        }
        Ok(())
    }

    /// The transaction has committed; then `open` was the open day, and some customers were perhaps
    /// still to be brought to the day before.
    pub(crate) fn commit(&mut self, open: Option<Day>, sweeping: bool) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.new_changes);
        for same in changes.chunk_by(|one, other| one.row.day == other.row.day) {
            let batch = rows::changes(self.partition, same).map_err(kept)?;
            self.changes.push(same[0].row.day, &batch)?;
        }
        for (day, batch) in std::mem::take(&mut self.new_profiles) {
            self.profiles.push(day, &batch)?;
        }
        let Some(open) = open else { return Ok(()) };
        self.changes.end(open);
        if sweeping {
            return Ok(());
        }
        if self.takes(open.plus(-1)) {
            self.profiles.end_with_mark(open, &self.none);
        } else {
            self.profiles.end(open);
        }
        Ok(())
    }

    /// Rows of a replay, all of which was committed once.
    pub(crate) fn replayed(&mut self, open: Option<Day>, sweeping: bool) -> Result<(), Error> {
        if self.new_changes.len() >= REPLAYED_CHANGES || !self.new_profiles.is_empty() {
            self.commit(open, sweeping)?;
        }
        for roll in [&mut self.changes, &mut self.profiles] {
            while roll.waiting() > WAITING_MAX && roll.let_go().is_some() {}
        }
        Ok(())
    }

    /// What a replay would have made again is lost: the profiles of days before `open` are not
    /// whole.
    pub(crate) fn lose(&mut self, open: Option<Day>) {
        self.profiles = Roll::new(open.unwrap_or(BEGINNING), ROWS_MAX);
    }

    /// What readers may see.
    pub(crate) fn shown(&self) -> Shown {
        let parts = self.changes.parts.iter();
        let unwritten =
            parts.flat_map(|part| part.batches.iter().map(|batch| (part.place.day, batch.clone())));
        Shown { cut: self.changes.cut, unwritten: unwritten.collect() }
    }

    /// The first day whose profiles are not in the store.
    pub(crate) fn profiled_before(&self) -> Option<Day> {
        Some(self.profiles.cut.day).filter(|day| *day != BEGINNING)
    }

    /// Parts that no row is added to any more, to be written; each is handed out once.
    pub(crate) fn jobs(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let days = i32::from(self.settings.retention_days.unwrap_or(0));
        for (kind, roll) in
            [(Kind::Changes, &mut self.changes), (Kind::Profiles, &mut self.profiles)]
        {
            for part in roll.parts.iter_mut().filter(|part| part.sealed && !part.sent) {
                part.sent = true;
                let (place, last) = (part.place, part.last && kind == Kind::Profiles);
                jobs.push(Job {
                    kind,
                    file: File { partition: self.partition, place, last },
                    batches: Arc::downgrade(&part.batches),
                    remove_before: (part.last && days > 0).then(|| place.day.plus(-days)),
                });
            }
        }
        jobs
    }

    /// A file is there. One of another ownership of the partition is not ours.
    pub(crate) fn written(&mut self, done: &Done) {
        let roll = self.roll(done.kind);
        let ours = |part: &Part| std::ptr::eq(Arc::as_ptr(&part.batches), done.batches.as_ptr());
        if roll.parts.iter().any(ours) {
            roll.written(done.file.place);
        }
    }

    fn roll(&mut self, kind: Kind) -> &mut Roll {
        match kind {
            Kind::Changes => &mut self.changes,
            Kind::Profiles => &mut self.profiles,
        }
    }

    /// Parts that wait for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.changes.waiting() + self.profiles.waiting()
    }

    /// Lets go of the oldest parts until no more than so many wait; returns them.
    pub(crate) fn give_up(&mut self, most: usize) -> Vec<(Kind, Place)> {
        let mut lost = Vec::new();
        while self.waiting() > most {
            let many = self.changes.waiting() > self.profiles.waiting();
            let kind = if many { Kind::Changes } else { Kind::Profiles };
            let Some(place) = self.roll(kind).let_go() else { break };
            lost.push((kind, place));
        }
        lost
    }

    pub(crate) fn bytes(&self) -> usize {
        self.changes.bytes() + self.profiles.bytes()
    }

    /// All that is not written, for a snapshot.
    ///
    /// Of each kind the cut (day, part) and the number of parts; of each part day, number, whether it
    /// takes no more rows and whether it is the last of its day, and its rows as Parquet behind their
    /// length. Little-endian.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        for roll in [&self.changes, &self.profiles] {
            put_place(roll.cut, &mut bytes);
            bytes.extend_from_slice(&length(roll.parts.len()));
            for part in &roll.parts {
                put_place(part.place, &mut bytes);
                bytes.push(u8::from(part.sealed) | u8::from(part.last) << 1);
                let rows = to_parquet(&part.batches, None)?;
                bytes.extend_from_slice(&length(rows.len()));
                bytes.extend_from_slice(&rows);
            }
        }
        Ok(bytes)
    }

    /// Takes over what [`Past::to_bytes`] wrote. Nothing begins anew with the open day.
    pub(crate) fn load(&mut self, bytes: &[u8], open: Option<Day>) -> Result<(), String> {
        let from = open.unwrap_or(BEGINNING);
        (self.changes, self.profiles) = (Roll::new(from, ROWS_MAX), Roll::new(from, ROWS_MAX));
        let mut rest = bytes;
        for kind in [Kind::Changes, Kind::Profiles] {
            if bytes.is_empty() {
                break;
            }
            self.roll(kind).cut = take_place(&mut rest)?;
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                let place = take_place(&mut rest)?;
                let [flags] = take::<1>(&mut rest)?;
                let len = u32::from_le_bytes(take(&mut rest)?) as usize;
                let (rows, after) = rest.split_at_checked(len).ok_or("the history is cut off")?;
                rest = after;
                let mut part = Part::new(place, from_parquet(rows)?);
                (part.sealed, part.last) = (flags & 1 != 0, flags & 2 != 0);
                self.roll(kind).parts.push_back(part);
            }
        }
        Ok(())
    }
}

fn put_place(place: Place, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&place.day.0.to_le_bytes());
    bytes.extend_from_slice(&place.part.to_le_bytes());
}

fn take_place(rest: &mut &[u8]) -> Result<Place, String> {
    let day = Day(i32::from_le_bytes(take(rest)?));
    Ok(Place { day, part: u32::from_le_bytes(take(rest)?) })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or("the history is cut off")?;
    *rest = after;
    Ok(*head)
}

/// Rows of a file; an empty batch where there are none, for its columns.
fn from_parquet(bytes: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let bytes = Bytes::copy_from_slice(bytes);
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
    let schema = Arc::clone(builder.schema());
    let reader = builder.build().map_err(|error| error.to_string())?;
    let batches: Result<Vec<_>, _> = reader.collect();
    let batches = batches.map_err(|error| error.to_string())?;
    Ok(if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches })
}
