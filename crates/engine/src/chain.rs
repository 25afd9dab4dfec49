//! A partition's state to snapshots and back: whole, or what moved it since the last one.

use cardlens_features::{Slot, snapshot};
use cardlens_lens::Standings;
use cardlens_model::{Batch, Day, Position};

use crate::Error;
use crate::history::Past;
use crate::journal::{self, Entry, FULL_BYTES, Journal};
use crate::partition::Partition;
use crate::publish::Publisher;
use crate::snapshot::{Snapshot, State};

/// Most snapshots that follow a whole one.
const LINKS_MAX: usize = 256;

/// The snapshots that the next one continues.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Whether there will be snapshots.
    wanted: bool,
    /// Entries since the last link, while there is a whole one to continue.
    journal: Journal,
    /// Where the last link ends.
    from: Position,
    /// Bytes of the whole one, if there is one to continue.
    whole_bytes: Option<u64>,
    /// Bytes of those that follow it, and how many there are.
    later_bytes: u64,
    links: usize,
}

impl Chain {
    /// Nothing yet; the state is empty at a position.
    pub(crate) fn new(from: Position) -> Self {
        let journal = Journal::default();
        Self { wanted: false, journal, from, whole_bytes: None, later_bytes: 0, links: 0 }
    }

    /// There will be snapshots. Called before the first record.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Notes the records of a run.
    pub(crate) fn batch(&mut self, batch: &Batch) {
        if self.notes() {
            self.journal.batch(batch);
        }
    }

    /// Notes a day that a decision closes.
    pub(crate) fn closed(&mut self, day: Day) {
        if self.notes() {
            self.journal.closed(day);
        }
    }

    fn notes(&self) -> bool {
        self.wanted && self.whole_bytes.is_some()
    }

    /// The next snapshot is to be whole.
    pub(crate) fn restart(&mut self) {
        self.whole_bytes = None;
        self.journal.clear();
    }

    /// Where the last link ends, if there is one to continue: a journal that begins and ends there
    /// would take its name.
    pub(crate) fn end(&self) -> Option<Position> {
        self.whole_bytes.map(|_| self.from)
    }

    /// Whether so much is noted that it should be written now.
    pub(crate) fn full(&self) -> bool {
        self.journal.bytes().len() >= FULL_BYTES
    }

    /// Whether what is noted is to be written, rather than everything.
    fn continues(&self) -> bool {
        let bytes = self.later_bytes + self.journal.bytes().len() as u64;
        self.links < LINKS_MAX && self.whole_bytes.is_some_and(|whole| bytes <= whole)
    }

    /// A snapshot is stored or loaded.
    fn linked(&mut self, whole: bool, position: Position, bytes: u64) {
        if whole {
            (self.whole_bytes, self.later_bytes, self.links) = (Some(bytes), 0, 0);
        } else {
            self.later_bytes += bytes;
            self.links += 1;
        }
        self.from = position;
        self.journal.clear();
    }
}

impl Partition {
    /// The state at the position where it stands: what moved it since the last snapshot, or all of
    /// it. To be followed by [`Partition::stored`].
    ///
    /// # Errors
    /// What the history has yet to write cannot be encoded.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let history = self.past.as_ref().map_or(Ok(Vec::new()), Past::to_bytes)?;
        let changed = self.standings.take_changed();
        let (mark, position) = (self.mark(), self.position);
        if self.chain.continues() {
            let standings = crate::standings::encode(&self.standings.parts_of(&changed));
            let (from, journal) = (self.chain.from, self.chain.journal.take().into());
            let state = State::Since { from, journal, slots: changed };
            return Ok(Snapshot { mark, position, state, standings, history });
        }
        let mut table = Vec::new();
        snapshot::encode(&self.table, &mut table);
        let standings = crate::standings::encode(&self.standings.to_parts());
        Ok(Snapshot { mark, position, state: State::Whole(table.into()), standings, history })
    }

    /// What became of a snapshot: its bytes, or nothing when it could not be stored.
    pub(crate) fn stored(&mut self, snapshot: &Snapshot, bytes: Option<u64>) {
        let whole = matches!(snapshot.state, State::Whole(_));
        match bytes {
            Some(bytes) => self.chain.linked(whole, snapshot.position, bytes),
            // What it held is no longer noted.
            None => self.chain.restart(),
        }
    }

    /// Takes over the state of a snapshot. When that fails, part of it may have been taken.
    pub(crate) fn load(
        &mut self,
        snapshot: &Snapshot,
        bytes: u64,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        let key = format!("{} of partition {}", snapshot.position.0, self.id.0);
        let unusable = |detail: String| Error::Snapshot { key: key.clone(), detail };
        if snapshot.mark.state != self.shared.state_digest {
            return Err(unusable(
                "it was taken under another zone, currency, lateness or category table".into(),
            ));
        }
        match &snapshot.state {
            State::Whole(table) => {
                self.table = snapshot::decode(table, self.shared.table.clone())
                    .map_err(|error| unusable(error.to_string()))?;
                self.standings = Standings::new(&self.shared.lens);
                self.origin = snapshot.mark.origin;
                self.swept = Slot(snapshot.mark.swept);
            }
            State::Since { from, journal, .. } => {
                if *from != self.position {
                    return Err(unusable(format!("it continues from {}", from.0)));
                }
                let mut entries = Vec::new();
                let read = journal::read(journal, &mut |entry| {
                    entries.push(entry);
                    Ok(())
                });
                read.map_err(unusable)?;
                self.table.give_rows(false);
                let applied = self.apply_again(&entries, snapshot.mark.swept, publisher);
                self.table.give_rows(true);
                applied?;
            }
        }
        if self.table.open_day() != snapshot.mark.open_day {
            return Err(unusable("it leads to another day than it says".to_owned()));
        }
        self.load_standings(snapshot).map_err(unusable)?;
        if let Some(past) = &mut self.past {
            past.load(&snapshot.history, snapshot.mark.open_day).map_err(unusable)?;
            past.same_rules = snapshot.mark.rules == self.shared.lens.rules().digest;
        }
        self.want_profiles();
        self.position = snapshot.position;
        let whole = matches!(snapshot.state, State::Whole(_));
        self.chain.linked(whole, snapshot.position, bytes);
        Ok(())
    }

    /// What was applied before a restart moves the table again; it was judged and published then.
    fn apply_again(
        &mut self,
        entries: &[Entry],
        swept: u32,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        for entry in entries {
            let batch = match entry {
                Entry::Batch(batch) => batch,
                Entry::Closed(day) => {
                    self.close(*day, publisher)?;
                    continue;
                }
            };
            let mut from = 0;
            while from < batch.transactions.len() {
                let applied = self.table.apply(batch, from, &mut self.rows);
                from = applied.next;
                if let Some(day) = applied.closes {
                    self.close(day, publisher)?;
                }
            }
        }
        let behind = swept.saturating_sub(self.swept.0);
        if behind > 0 {
            self.sweep(behind as usize, publisher)?;
        }
        Ok(())
    }

    fn load_standings(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let customers = self.table.customers();
        self.standings.grow(customers);
        // Under another rule set the standings are those that were published, read next.
        if snapshot.mark.rules != self.shared.lens.rules().digest {
            return Ok(());
        }
        let parts = crate::standings::decode(&snapshot.standings)?;
        let lens = &self.shared.lens;
        match &snapshot.state {
            State::Whole(_) => {
                self.standings = Standings::from_parts(lens, &parts).map_err(|e| e.to_string())?;
                self.standings.grow(customers);
            }
            State::Since { slots, .. } => {
                if slots.iter().any(|slot| *slot as usize >= customers) {
                    return Err("it tells of customers that are not there".to_owned());
                }
                self.standings.put_parts(lens, slots, &parts).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}
