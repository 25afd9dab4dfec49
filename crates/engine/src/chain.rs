//! A partition's state to snapshots and back: whole, or what moved it since the last one.

use cardlens_features::{Slot, Table, snapshot};
use cardlens_lens::Standings;
use cardlens_model::{Batch, Day, Position};

use crate::Error;
use crate::body::Body;
use crate::history::Past;
use crate::journal::{self, Entry, FULL_BYTES, Journal};
use crate::partition::Partition;
use crate::publish::Publisher;
use crate::snapshot::{Snapshot, State, Stored};

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
    fn linked(&mut self, stored: Stored) {
        if stored.whole {
            (self.whole_bytes, self.later_bytes, self.links) = (Some(stored.bytes), 0, 0);
        } else {
            self.later_bytes += stored.bytes;
            self.links += 1;
        }
        self.from = stored.position;
        self.journal.clear();
    }
}

impl Partition {
    /// The state at the position where it stands: what moved it since the last snapshot, or all of
    /// it. To be followed by [`Partition::stored`].
    ///
    /// # Errors
    /// What the history has yet to write cannot be encoded.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot<&Table>, Error> {
        let history = self.past.as_ref().map_or(Ok(Vec::new()), Past::to_bytes)?;
        let changed = self.standings.take_changed();
        let (mark, position) = (self.mark(), self.position);
        if self.chain.continues() {
            let standings = crate::standings::encode(&self.standings.parts_of(&changed));
            let (from, journal) = (self.chain.from, self.chain.journal.take().into());
            let state = State::Since { from, journal, slots: changed };
            return Ok(Snapshot { mark, position, state, standings, history });
        }
        let standings = crate::standings::encode(&self.standings.to_parts());
        Ok(Snapshot { mark, position, state: State::Whole(&self.table), standings, history })
    }

    /// What became of a snapshot: nothing when it could not be made or stored.
    pub(crate) fn stored(&mut self, stored: Option<Stored>) {
        match stored {
            Some(stored) => self.chain.linked(stored),
            // What it held is no longer noted.
            None => self.chain.restart(),
        }
    }

    /// Takes over the state of a snapshot. When that fails, part of it may have been taken.
    pub(crate) fn load(
        &mut self,
        snapshot: Snapshot<Body<'_>>,
        stored: Stored,
        publisher: &mut Publisher,
    ) -> Result<(), Error> {
        let Snapshot { mark, position, state, standings, history } = snapshot;
        let key = format!("{} of partition {}", position.0, self.id.0);
        let unusable = |detail: String| Error::Snapshot { key: key.clone(), detail };
        if mark.state != self.shared.state_digest {
            return Err(unusable(
                "it was taken under another zone, currency, lateness or category table".into(),
            ));
        }
        let slots = match state {
            State::Whole(mut body) => {
                let read = snapshot::decode(&mut body, self.shared.table.clone());
                self.table = body.finish(read.map_err(|error| error.to_string()))?;
                self.standings = Standings::new(&self.shared.lens);
                self.origin = mark.origin;
                self.swept = Slot(mark.swept);
                None
            }
            State::Since { from, journal, slots } => {
                if from != self.position {
                    return Err(unusable(format!("it continues from {}", from.0)));
                }
                let mut entries = Vec::new();
                let read = journal::read(&journal, &mut |entry| {
                    entries.push(entry);
                    Ok(())
                });
                read.map_err(unusable)?;
                self.table.give_rows(false);
                let applied = self.apply_again(&entries, mark.swept, publisher);
                self.table.give_rows(true);
                applied?;
                Some(slots)
            }
        };
        if self.table.open_day() != mark.open_day {
            return Err(unusable("it leads to another day than it says".to_owned()));
        }
        let same_rules = mark.rules == self.shared.lens.rules().digest;
        self.standings.grow(self.table.customers());
        // Under another rule set the standings are those that were published, read next.
        if same_rules {
            self.load_standings(&standings, slots.as_deref()).map_err(unusable)?;
        }
        if let Some(past) = &mut self.past {
            past.load(&history, mark.open_day).map_err(unusable)?;
            past.same_rules = same_rules;
        }
        self.want_profiles();
        self.position = position;
        self.chain.linked(stored);
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

    /// Takes over standings: everybody's, or those of some slots.
    fn load_standings(&mut self, standings: &[u8], slots: Option<&[u32]>) -> Result<(), String> {
        let customers = self.table.customers();
        let parts = crate::standings::decode(standings)?;
        let lens = &self.shared.lens;
        match slots {
            None => {
                self.standings = Standings::from_parts(lens, &parts).map_err(|e| e.to_string())?;
                self.standings.grow(customers);
            }
            Some(slots) => {
                if slots.iter().any(|slot| *slot as usize >= customers) {
                    return Err("it tells of customers that are not there".to_owned());
                }
                self.standings.put_parts(lens, slots, &parts).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}
