//! Snapshots: a partition's state at a committed position, in an object store: a folder, or what a
//! URL names.
//!
//! A *whole* snapshot is everything; one *since* an earlier position is the journal of what moved
//! the state from there, with the standings that changed. A whole one is due again once the
//! journals behind it have become as large as it is, so writing them costs at most twice what the
//! input itself makes necessary, however large the state.
//!
//! A snapshot is primary data (a year's window outlives the input's retention), so it appears whole,
//! under the name of its position, is checked by length and checksum when read, and is kept for
//! several generations. It is used only at or below the committed position.
//!
//! Frame: magic, version, position, then parts, each with its length: the mark (text), where it
//! begins (empty for a whole one), slots of the standings (empty for a whole one), standings, what
//! the history has yet to write (empty without one); then, without a length because a table is
//! written while it is encoded, table or journal; and a CRC-32C over all of it. Little-endian.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use cardlens_features::{Table, snapshot};
use cardlens_model::{PartitionId, Position};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::body::Body;
use crate::objects::Objects;
use crate::progress::Mark;
use crate::{Error, Remote};

const MAGIC: &[u8; 8] = b"cardlens";
const VERSION: u32 = 3;
/// Last parts of names.
const WHOLE: &str = "snapshot";
const SINCE: &str = "journal";

/// What a snapshot holds, with a whole state as it is written (the table) or was read (its bytes).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot<T> {
    pub mark: Mark,
    pub position: Position,
    pub state: State<T>,
    pub standings: Vec<u8>,
    /// What the history has yet to write; empty without one.
    pub history: Vec<u8>,
}

/// The state, or what moved it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State<T> {
    /// The table.
    Whole(T),
    /// The journal since a position, and whose standings are there.
    Since { from: Position, journal: Bytes, slots: Vec<u32> },
}

impl<T> Snapshot<T> {
    fn whole(&self) -> bool {
        matches!(self.state, State::Whole(_))
    }

    /// What stands before the state.
    fn head(&self) -> Bytes {
        let (from, slots) = match &self.state {
            State::Whole(_) => (Vec::new(), Vec::new()),
            State::Since { from, slots, .. } => {
                let slots = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
                (from.0.to_le_bytes().to_vec(), slots)
            }
        };
        let mut head = Vec::new();
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&self.position.0.to_le_bytes());
        put_part(&mut head, self.mark.to_text().as_bytes());
        put_part(&mut head, &from);
        put_part(&mut head, &slots);
        put_part(&mut head, &self.standings);
        put_part(&mut head, &self.history);
        head.into()
    }
}

impl Snapshot<&Table> {
    /// The frame in pieces.
    fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let (table, journal) = match &self.state {
            State::Whole(table) => (Some(snapshot::pieces(table).map(Bytes::from)), None),
            State::Since { journal, .. } => (None, Some(journal.clone())),
        };
        let pieces = std::iter::once(self.head()).chain(table.into_iter().flatten()).chain(journal);
        let mut checksum = 0;
        pieces.map(Some).chain([None]).map(move |piece| match piece {
            Some(piece) => {
                checksum = crc32c::crc32c_append(checksum, &piece);
                piece
            }
            None => Bytes::copy_from_slice(&checksum.to_le_bytes()),
        })
    }
}

impl<'a> Snapshot<Body<'a>> {
    /// Reads a frame, of a whole one all but the table.
    fn read(mut body: Body<'a>) -> Result<Self, Error> {
        let head = Head::read(&mut body);
        let Head { position, mark, from, slots, standings, history } = body.usable(head)?;
        let state = match from {
            None => State::Whole(body),
            Some(from) => {
                let mut journal = Vec::new();
                let read = body.read_to_end(&mut journal).map_err(|e| e.to_string());
                body.finish(read)?;
                State::Since { from, journal: journal.into(), slots }
            }
        };
        Ok(Self { mark, position, state, standings, history })
    }
}

/// What stands before the state.
struct Head {
    position: Position,
    mark: Mark,
    from: Option<Position>,
    slots: Vec<u32>,
    standings: Vec<u8>,
    history: Vec<u8>,
}

impl Head {
    fn read(body: &mut Body<'_>) -> Result<Self, String> {
        if body.array()? != *MAGIC {
            return Err("it is no snapshot".into());
        }
        let version = u32::from_le_bytes(body.array()?);
        if version != VERSION {
            return Err(format!("it is of version {version}, this build reads {VERSION}"));
        }
        let position = Position(i64::from_le_bytes(body.array()?));
        let mark = String::from_utf8_lossy(&body.part()?).into_owned();
        let mark = Mark::parse(&mark).ok_or("its mark cannot be read")?;
        let from = match *body.part()? {
            [] => None,
            ref from => {
                let from = from.try_into().map_err(|_| "where it begins cannot be read")?;
                Some(Position(i64::from_le_bytes(from)))
            }
        };
        let slots = body.part()?;
        let slots = slots.as_chunks::<4>().0.iter().map(|slot| u32::from_le_bytes(*slot)).collect();
        let (standings, history) = (body.part()?, body.part()?);
        Ok(Self { position, mark, from, slots, standings, history })
    }
}

fn put_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// A snapshot in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub position: Position,
    pub whole: bool,
    pub bytes: u64,
}

/// Where snapshots are kept.
#[derive(Debug)]
pub struct SnapshotStore {
    objects: Objects,
    runtime: tokio::runtime::Runtime,
    generations: usize,
}

impl SnapshotStore {
    /// Keeps `generations` whole snapshots a partition, at least three, and what follows them.
    ///
    /// # Errors
    /// No thread for the store's input and output.
    pub fn new(store: Arc<dyn ObjectStore>, generations: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::caused("start the snapshot store", error))?;
        let objects = Objects { store, directory: None };
        Ok(Self { objects, runtime, generations: generations.max(3) })
    }

    /// A store in a local directory, which is created.
    ///
    /// # Errors
    /// The directory cannot be created or used.
    pub fn local(directory: &std::path::Path, generations: usize) -> Result<Self, Error> {
        let failed = |e| Error::caused(format!("create `{}`", directory.display()), e);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(directory)
            .map_err(|e| Error::caused(format!("open `{}`", directory.display()), e))?;
        let mut made = Self::new(Arc::new(store), generations)?;
        made.objects.directory = Some(directory.to_owned());
        Ok(made)
    }

    /// A store at a URL.
    ///
    /// # Errors
    /// Options that do not fit together, or no thread.
    pub fn remote(remote: &Remote, generations: usize) -> Result<Self, Error> {
        Self::new(remote.open()?, generations)
    }

    /// The store itself, for what is kept beside snapshots.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    fn folder(partition: PartitionId) -> Path {
        Path::from(format!("partition-{:05}", partition.0))
    }

    /// Stores a snapshot and, with a whole one, removes generations that are no longer kept.
    pub(crate) fn put(
        &self,
        partition: PartitionId,
        snapshot: &Snapshot<&Table>,
    ) -> Result<Stored, Error> {
        let (position, whole) = (snapshot.position, snapshot.whole());
        let key = Self::key(partition, position, whole);
        let bytes = self.runtime.block_on(self.objects.write(&key, snapshot.pieces()))?;
        if whole {
            self.prune(partition)?;
        }
        Ok(Stored { position, whole, bytes })
    }

    /// Removes what is older than the oldest generation that is kept, and what was never finished.
    fn prune(&self, partition: PartitionId) -> Result<(), Error> {
        self.objects.remove_unfinished(&Self::folder(partition))?;
        let all = self.list(partition)?;
        let mut wholes = all.iter().rev().filter(|stored| stored.whole);
        let Some(oldest) = wholes.nth(self.generations - 1) else { return Ok(()) };
        let gone = |it: &&Stored| {
            it.position < oldest.position || it.position == oldest.position && !it.whole
        };
        for old in all.iter().filter(gone) {
            let key = Self::key(partition, old.position, old.whole);
            self.runtime
                .block_on(self.objects.store.delete(&key))
                .map_err(|e| Error::caused(format!("remove snapshot `{key}`"), e))?;
        }
        Ok(())
    }

    fn key(partition: PartitionId, position: Position, whole: bool) -> Path {
        let kind = if whole { WHOLE } else { SINCE };
        Self::folder(partition).join(format!("{:020}.{kind}", position.0))
    }

    /// The partition's snapshots by position.
    pub(crate) fn list(&self, partition: PartitionId) -> Result<Vec<Stored>, Error> {
        let folder = Self::folder(partition);
        let listed = self
            .runtime
            .block_on(self.objects.store.list_with_delimiter(Some(&folder)))
            .map_err(|e| Error::caused(format!("list snapshots of `{folder}`"), e))?;
        let stored = |meta: &object_store::ObjectMeta| {
            let (position, kind) = meta.location.filename()?.split_once('.')?;
            let position = position.parse().ok().map(Position)?;
            (kind == WHOLE || kind == SINCE).then_some(Stored {
                position,
                whole: kind == WHOLE,
                bytes: meta.size,
            })
        };
        let mut all: Vec<_> = listed.objects.iter().filter_map(stored).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Reads a snapshot, of a whole one all but the table, which is read where it is used.
    ///
    /// An unusable one is [`crate::Action::FallBack`], a store that does not answer
    /// [`crate::Action::Retry`].
    pub(crate) fn get(
        &self,
        partition: PartitionId,
        stored: Stored,
    ) -> Result<Snapshot<Body<'_>>, Error> {
        let key = Self::key(partition, stored.position, stored.whole);
        let body = Body::open(&self.objects, &self.runtime, &key)?;
        let snapshot = Snapshot::read(body)?;
        let unusable = |detail| Error::Snapshot { key: key.to_string(), detail };
        if snapshot.position != stored.position {
            return Err(unusable(format!("it is of position {}", snapshot.position.0)));
        }
        if snapshot.whole() != stored.whole {
            return Err(unusable("it is of the other kind".to_owned()));
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use cardlens_features::{Plan, TableConfig};
    use cardlens_model::{Calendar, CategoryTable, Day, Kind, ValueModel};

    use super::*;
    use crate::objects::{PART_BYTES, WHOLE_BYTES_MAX};

    fn table() -> Table {
        let categories = CategoryTable::new(&[], &[]).unwrap();
        Table::new(TableConfig {
            columns: Plan::new(&["txn_7d".to_owned()], &categories).unwrap(),
            categories: Arc::new(categories),
            value: ValueModel::default(),
            calendar: Calendar::utc(),
            settle_ms: 0,
            allowed_lateness_ms: 0,
            moves_windows: Kind::Purchase,
        })
    }

    fn snapshot(position: i64, state: State<&Table>) -> Snapshot<&Table> {
        let mark = Mark {
            origin: Position(0),
            open_day: Some(Day(20_000)),
            swept: 3,
            rules: "r".into(),
            state: "s".into(),
        };
        let history = if position % 2 == 0 { Vec::new() } else { vec![5; 11] };
        Snapshot { mark, position: Position(position), state, standings: vec![2; 9], history }
    }

    fn since(from: i64, position: i64, bytes: usize) -> Snapshot<&'static Table> {
        let (journal, slots) = (vec![7; bytes].into(), vec![0, 9]);
        snapshot(position, State::Since { from: Position(from), journal, slots })
    }

    fn bytes(snapshot: &Snapshot<&Table>) -> Vec<u8> {
        snapshot.pieces().collect::<Vec<_>>().concat()
    }

    fn read(bytes: &[u8]) -> Result<Snapshot<Vec<u8>>, Error> {
        let body = Body::new("key", bytes, bytes.len() as u64);
        let Snapshot { mark, position, state, standings, history } = Snapshot::read(body)?;
        let state = match state {
            State::Whole(mut body) => {
                let mut table = Vec::new();
                let read = body.read_to_end(&mut table).map_err(|e| e.to_string());
                body.finish(read)?;
                State::Whole(table)
            }
            State::Since { from, journal, slots } => State::Since { from, journal, slots },
        };
        Ok(Snapshot { mark, position, state, standings, history })
    }

    fn as_read(written: Snapshot<&Table>) -> Snapshot<Vec<u8>> {
        let state = match written.state {
            State::Whole(table) => State::Whole(snapshot::pieces(table).flatten().collect()),
            State::Since { from, journal, slots } => State::Since { from, journal, slots },
        };
        let Snapshot { mark, position, standings, history, .. } = written;
        Snapshot { mark, position, state, standings, history }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let table = table();
        let whole = snapshot(7, State::Whole(&table));
        for written in [whole, since(3, 7, 20), since(3, 8, 0)] {
            let bytes = bytes(&written);
            assert_eq!(read(&bytes).unwrap(), as_read(written));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&flipped).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len]).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn large_ones_go_in_parts() {
        let store = SnapshotStore::remote(&Remote::parse("memory:///here").unwrap(), 3).unwrap();
        let large = since(3, 9, WHOLE_BYTES_MAX + PART_BYTES + 1);
        let stored = store.put(PartitionId(0), &large).unwrap();
        assert_eq!(store.list(PartitionId(0)).unwrap(), [stored]);
        assert_eq!(stored.bytes, bytes(&large).len() as u64);
        let read = store.get(PartitionId(0), stored).unwrap();
        let (State::Since { journal, .. }, State::Since { journal: written, .. }) =
            (read.state, large.state)
        else {
            panic!("it was a journal")
        };
        assert!(journal == written);
    }

    #[test]
    fn generations() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::local(directory.path(), 3).unwrap();
        generations_of(&store);
        let newest = *store.list(PartitionId(4)).unwrap().last().unwrap();
        let folder = directory.path().join("partition-00004");
        std::fs::write(folder.join(format!("{:020}.snapshot", 40)), b"nothing").unwrap();
        let error = store.get(PartitionId(4), newest).err().unwrap();
        assert_eq!(error.action(), crate::Action::FallBack);
        // What a killed process had begun goes with the next whole one.
        let unfinished = folder.join(format!("{:020}.snapshot#1", 50));
        std::fs::write(&unfinished, b"half").unwrap();
        store.put(PartitionId(4), &snapshot(60, State::Whole(&table()))).unwrap();
        assert!(!unfinished.exists());
        generations_of(&SnapshotStore::remote(&Remote::parse("memory:///").unwrap(), 3).unwrap());
    }

    fn generations_of(store: &SnapshotStore) {
        let partition = PartitionId(4);
        let kept = || -> Vec<_> {
            let all = store.list(partition).unwrap();
            all.iter().map(|stored| (stored.position.0, stored.whole)).collect()
        };
        assert!(kept().is_empty());
        let table = table();
        let whole = |position| snapshot(position, State::Whole(&table));
        let since = |from, position| since(from, position, 20);
        let order = [whole(10), since(10, 15), whole(20), since(15, 20), since(20, 25), whole(30)];
        for snapshot in order {
            store.put(partition, &snapshot).unwrap();
        }
        assert_eq!(kept().len(), 6);
        store.put(partition, &whole(40)).unwrap();
        store.put(partition, &whole(40)).unwrap();
        assert_eq!(kept(), [(20, true), (25, false), (30, true), (40, true)]);
        let newest = *store.list(partition).unwrap().last().unwrap();
        assert_eq!(store.get(partition, newest).unwrap().position, Position(40));
    }
}
