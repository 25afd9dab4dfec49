//! Snapshots: a partition's state at a committed position, in an object store: a folder, or what a
//! URL names.
//!
//! A *whole* snapshot is everything; one *since* an earlier position is the journal of what moved
//! the state from there, with the standings that changed. A whole one is due again once the
//! journals behind it have become as large as it is, so writing them costs at most twice what the
//! input itself makes necessary, however large the state.
//!
//! A snapshot is primary data (a year's window outlives the input's retention), so it is written
//! under a name that is never used twice, checked by length and checksum when read, and kept for
//! several generations. It is used only at or below the committed position.
//!
//! Frame: magic, version, position, then parts, each with its length: the mark (text), where it
//! begins (empty for a whole one), table or journal, slots of the standings (empty for a whole
//! one), standings, what the history has yet to write (left out without one); and a CRC-32C over
//! all of it. Little-endian.

use std::sync::Arc;

use bytes::Bytes;
use cardlens_model::{PartitionId, Position};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::objects::Objects;
use crate::progress::Mark;
use crate::{Error, Remote};

const MAGIC: &[u8; 8] = b"cardlens";
const VERSION: u32 = 2;
/// Last parts of names.
const WHOLE: &str = "snapshot";
const SINCE: &str = "journal";

/// What a snapshot holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub mark: Mark,
    pub position: Position,
    pub state: State,
    pub standings: Vec<u8>,
    /// What the history has yet to write; empty without one.
    pub history: Vec<u8>,
}

/// The state, or what moved it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The table.
    Whole(Bytes),
    /// The journal since a position, and whose standings are there.
    Since { from: Position, journal: Bytes, slots: Vec<u32> },
}

impl Snapshot {
    /// The frame in pieces, so that a large state need not be copied.
    pub(crate) fn to_pieces(&self) -> [Bytes; 3] {
        let (from, state, slots) = match &self.state {
            State::Whole(table) => (Vec::new(), table, Vec::new()),
            State::Since { from, journal, slots } => {
                let slots = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
                (from.0.to_le_bytes().to_vec(), journal, slots)
            }
        };
        let mut before = Vec::new();
        before.extend_from_slice(MAGIC);
        before.extend_from_slice(&VERSION.to_le_bytes());
        before.extend_from_slice(&self.position.0.to_le_bytes());
        put_part(&mut before, self.mark.to_text().as_bytes());
        put_part(&mut before, &from);
        before.extend_from_slice(&(state.len() as u64).to_le_bytes());
        let mut after = Vec::with_capacity(32 + slots.len() + self.standings.len());
        put_part(&mut after, &slots);
        put_part(&mut after, &self.standings);
        if !self.history.is_empty() {
            put_part(&mut after, &self.history);
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&before), state);
        let checksum = crc32c::crc32c_append(checksum, &after);
        after.extend_from_slice(&checksum.to_le_bytes());
        [before.into(), state.clone(), after.into()]
    }

    /// Reads a frame, or says what is wrong with it.
    pub(crate) fn from_bytes(bytes: &Bytes) -> Result<Self, String> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or("it is cut off")?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err("the checksum does not match".into());
        }
        let mut rest = body.strip_prefix(MAGIC).ok_or("it is no snapshot")?;
        let version = u32::from_le_bytes(take::<4>(&mut rest)?);
        if version != VERSION {
            return Err(format!("it is of version {version}, this build reads {VERSION}"));
        }
        let position = Position(i64::from_le_bytes(take::<8>(&mut rest)?));
        let mark = String::from_utf8_lossy(part(&mut rest)?).into_owned();
        let mark = Mark::parse(&mark).ok_or("its mark cannot be read")?;
        let (mut from, state) = (part(&mut rest)?, bytes.slice_ref(part(&mut rest)?));
        let (slots, standings) = (part(&mut rest)?, part(&mut rest)?.to_vec());
        let history = if rest.is_empty() { Vec::new() } else { part(&mut rest)?.to_vec() };
        if !rest.is_empty() {
            return Err("bytes follow its end".into());
        }
        let state = if from.is_empty() {
            State::Whole(state)
        } else {
            let from = Position(i64::from_le_bytes(take::<8>(&mut from)?));
            let (slots, _) = slots.as_chunks::<4>();
            let slots = slots.iter().map(|slot| u32::from_le_bytes(*slot)).collect();
            State::Since { from, journal: state, slots }
        };
        Ok(Self { mark, position, state, standings, history })
    }
}

fn put_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("it is cut off")?;
    *rest = tail;
    Ok(*head)
}

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = u64::from_le_bytes(take::<8>(rest)?);
    let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or("it is cut off")?;
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    Ok(head)
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
    /// Returns its bytes.
    pub(crate) fn put(&self, partition: PartitionId, snapshot: &Snapshot) -> Result<u64, Error> {
        let payload = PutPayload::from_iter(snapshot.to_pieces());
        let size = payload.content_length() as u64;
        let whole = matches!(snapshot.state, State::Whole(_));
        let key = Self::key(partition, snapshot.position, whole);
        self.runtime.block_on(self.objects.write(&key, payload))?;
        if whole {
            self.prune(partition)?;
        }
        Ok(size)
    }

    /// Removes what is older than the oldest generation that is kept.
    fn prune(&self, partition: PartitionId) -> Result<(), Error> {
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

    /// Reads a snapshot.
    ///
    /// An unusable one is [`crate::Action::FallBack`], a store that does not answer
    /// [`crate::Action::Retry`].
    pub(crate) fn get(&self, partition: PartitionId, stored: Stored) -> Result<Snapshot, Error> {
        let key = Self::key(partition, stored.position, stored.whole);
        let read = async { self.objects.store.get(&key).await?.bytes().await };
        let bytes = self
            .runtime
            .block_on(read)
            .map_err(|e| Error::caused(format!("read snapshot `{key}`"), e))?;
        let unusable = |detail| Error::Snapshot { key: key.to_string(), detail };
        let snapshot = Snapshot::from_bytes(&bytes).map_err(unusable)?;
        if snapshot.position != stored.position {
            return Err(unusable(format!("it is of position {}", snapshot.position.0)));
        }
        if matches!(snapshot.state, State::Whole(_)) != stored.whole {
            return Err(unusable("it is of the other kind".to_owned()));
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use cardlens_model::Day;

    use super::*;
    use crate::objects::{PART_BYTES, WHOLE_BYTES_MAX};

    fn snapshot(position: i64, state: State) -> Snapshot {
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

    fn whole(position: i64) -> Snapshot {
        snapshot(position, State::Whole(vec![1; 40].into()))
    }

    fn since(from: i64, position: i64) -> Snapshot {
        let (journal, slots) = (vec![7; 20].into(), vec![0, 9]);
        snapshot(position, State::Since { from: Position(from), journal, slots })
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        for snapshot in [whole(7), since(3, 7)] {
            let bytes = snapshot.to_pieces().concat();
            assert_eq!(Snapshot::from_bytes(&bytes.clone().into()), Ok(snapshot));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Snapshot::from_bytes(&flipped.into()).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(
                    Snapshot::from_bytes(&bytes[..len].to_vec().into()).is_err(),
                    "cut to {len}"
                );
            }
        }
    }

    #[test]
    fn large_ones_go_in_parts() {
        let store = SnapshotStore::remote(&Remote::parse("memory:///here").unwrap(), 3).unwrap();
        let large = vec![1; WHOLE_BYTES_MAX + PART_BYTES + 1];
        let large = snapshot(9, State::Whole(large.into()));
        let stored = store.put(PartitionId(0), &large).unwrap();
        let listed = store.list(PartitionId(0)).unwrap();
        assert_eq!(listed.iter().map(|stored| stored.bytes).collect::<Vec<_>>(), [stored]);
        assert!(store.get(PartitionId(0), listed[0]).unwrap() == large);
    }

    #[test]
    fn generations() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::local(directory.path(), 3).unwrap();
        generations_of(&store);
        let newest = *store.list(PartitionId(4)).unwrap().last().unwrap();
        let file = directory.path().join("partition-00004").join(format!("{:020}.snapshot", 40));
        std::fs::write(&file, b"nothing").unwrap();
        let error = store.get(PartitionId(4), newest).unwrap_err();
        assert_eq!(error.action(), crate::Action::FallBack);
        generations_of(&SnapshotStore::remote(&Remote::parse("memory:///").unwrap(), 3).unwrap());
    }

    fn generations_of(store: &SnapshotStore) {
        let partition = PartitionId(4);
        let kept = || -> Vec<_> {
            let all = store.list(partition).unwrap();
            all.iter().map(|stored| (stored.position.0, stored.whole)).collect()
        };
        assert!(kept().is_empty());
        let order = [whole(10), since(10, 15), whole(20), since(15, 20), since(20, 25), whole(30)];
        for snapshot in order {
            store.put(partition, &snapshot).unwrap();
        }
        assert_eq!(kept().len(), 6);
        store.put(partition, &whole(40)).unwrap();
        store.put(partition, &whole(40)).unwrap();
        assert_eq!(kept(), [(20, true), (25, false), (30, true), (40, true)]);
        let newest = *store.list(partition).unwrap().last().unwrap();
        assert_eq!(store.get(partition, newest).unwrap(), whole(40));
    }
}
