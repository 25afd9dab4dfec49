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
//! one), standings; and a CRC-32C over all of it. Little-endian.

use std::sync::Arc;

use cardlens_model::{PartitionId, Position};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

use crate::progress::Mark;
use crate::{Error, Remote};

const MAGIC: &[u8; 8] = b"cardlens";
const VERSION: u32 = 2;
/// A store at a URL takes larger ones in parts: in one piece they have a limit, and a lost
/// connection costs all of them.
const PART_BYTES: usize = 16 << 20;
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Parts on their way at a time.
const PARTS_MAX: usize = 4;
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
}

/// The state, or what moved it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The table.
    Whole(Vec<u8>),
    /// The journal since a position, and whose standings are there.
    Since { from: Position, journal: Vec<u8>, slots: Vec<u32> },
}

impl Snapshot {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mark = self.mark.to_text();
        let (from, state, slots) = match &self.state {
            State::Whole(table) => (Vec::new(), table, Vec::new()),
            State::Since { from, journal, slots } => {
                let slots = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
                (from.0.to_le_bytes().to_vec(), journal, slots)
            }
        };
        let size = 128 + mark.len() + state.len() + slots.len() + self.standings.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.position.0.to_le_bytes());
        for part in [mark.as_bytes(), &from, state, &slots, &self.standings] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Snapshot::to_bytes`] wrote, or says what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
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
        let (mut from, state) = (part(&mut rest)?, part(&mut rest)?.to_vec());
        let (slots, standings) = (part(&mut rest)?, part(&mut rest)?.to_vec());
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
        Ok(Self { mark, position, state, standings })
    }
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
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
    generations: usize,
    /// Where files are, of a store in a local directory, which does not see to their being on the
    /// disk itself.
    directory: Option<std::path::PathBuf>,
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
        Ok(Self { store, runtime, generations: generations.max(3), directory: None })
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
        let directory = Some(directory.to_owned());
        Ok(Self { directory, ..Self::new(Arc::new(store), generations)? })
    }

    /// A store at a URL.
    ///
    /// # Errors
    /// Options that do not fit together, or no thread.
    pub fn remote(remote: &Remote, generations: usize) -> Result<Self, Error> {
        Self::new(remote.open()?, generations)
    }

    fn folder(partition: PartitionId) -> Path {
        Path::from(format!("partition-{:05}", partition.0))
    }

    /// Stores a snapshot and, with a whole one, removes generations that are no longer kept.
    /// Returns its bytes.
    pub(crate) fn put(&self, partition: PartitionId, snapshot: &Snapshot) -> Result<u64, Error> {
        let bytes = snapshot.to_bytes();
        let size = bytes.len() as u64;
        let whole = matches!(snapshot.state, State::Whole(_));
        let key = Self::key(partition, snapshot.position, whole);
        self.runtime
            .block_on(self.write(&key, bytes))
            .map_err(|e| Error::caused(format!("write snapshot `{key}`"), e))?;
        self.sync(&key)?;
        if whole {
            self.prune(partition)?;
        }
        Ok(size)
    }

    /// Writes an object, which is there whole or not at all.
    async fn write(&self, key: &Path, bytes: Vec<u8>) -> object_store::Result<()> {
        if self.directory.is_some() || bytes.len() <= WHOLE_BYTES_MAX {
            return self.store.put(key, PutPayload::from(bytes)).await.map(drop);
        }
        let upload = self.store.put_multipart(key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for part in bytes.chunks(PART_BYTES) {
            upload.wait_for_capacity(PARTS_MAX).await?;
            upload.write(part);
        }
        upload.finish().await.map(drop)
    }

    fn sync(&self, key: &Path) -> Result<(), Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(key.as_ref());
        let parent = path.parent().map(std::fs::File::open);
        let synced = std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| parent.map_or(Ok(()), |folder| folder?.sync_all()));
        synced.map_err(|e| Error::caused(format!("write `{}` to the disk", path.display()), e))
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
                .block_on(self.store.delete(&key))
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
            .block_on(self.store.list_with_delimiter(Some(&folder)))
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
        let read = async { self.store.get(&key).await?.bytes().await };
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

    fn snapshot(position: i64, state: State) -> Snapshot {
        let mark = Mark {
            origin: Position(0),
            open_day: Some(Day(20_000)),
            swept: 3,
            rules: "r".into(),
            state: "s".into(),
        };
        Snapshot { mark, position: Position(position), state, standings: vec![2; 9] }
    }

    fn whole(position: i64) -> Snapshot {
        snapshot(position, State::Whole(vec![1; 40]))
    }

    fn since(from: i64, position: i64) -> Snapshot {
        let (journal, slots) = (vec![7; 20], vec![0, 9]);
        snapshot(position, State::Since { from: Position(from), journal, slots })
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        for snapshot in [whole(7), since(3, 7)] {
            let bytes = snapshot.to_bytes();
            assert_eq!(Snapshot::from_bytes(&bytes), Ok(snapshot));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Snapshot::from_bytes(&flipped).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(Snapshot::from_bytes(&bytes[..len]).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn large_ones_go_in_parts() {
        let store = SnapshotStore::remote(&Remote::parse("memory:///here").unwrap(), 3).unwrap();
        let large = vec![1; WHOLE_BYTES_MAX + PART_BYTES + 1];
        let large = snapshot(9, State::Whole(large));
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
