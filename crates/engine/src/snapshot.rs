//! Snapshots: a partition's whole state at a committed position, in an object store.
//!
//! A snapshot is primary data (a year's window outlives the input's retention), so it is written
//! under a name that is never used twice, checked by length and checksum when read, and kept for
//! several generations. It is used only at or below the committed position.
//!
//! Frame: magic, version, mark (text), position, then the parts `table` and `standings`, each with
//! its length, and a CRC-32C over all of it. Little-endian.

use std::sync::Arc;

use cardlens_model::{PartitionId, Position};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::Error;
use crate::progress::Mark;

const MAGIC: &[u8; 8] = b"cardlens";
const VERSION: u32 = 1;

/// What a snapshot holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub mark: Mark,
    pub position: Position,
    pub table: Vec<u8>,
    pub standings: Vec<u8>,
}

impl Snapshot {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mark = self.mark.to_text();
        let mut bytes =
            Vec::with_capacity(64 + mark.len() + self.table.len() + self.standings.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.position.0.to_le_bytes());
        for part in [mark.as_bytes(), &self.table, &self.standings] {
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
        let table = part(&mut rest)?.to_vec();
        let standings = part(&mut rest)?.to_vec();
        if !rest.is_empty() {
            return Err("bytes follow its end".into());
        }
        Ok(Self { mark, position, table, standings })
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

/// Where snapshots are kept.
#[derive(Debug)]
pub struct SnapshotStore {
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
    generations: usize,
}

impl SnapshotStore {
    /// Keeps `generations` snapshots a partition, at least three.
    ///
    /// # Errors
    /// No thread for the store's input and output.
    pub fn new(store: Arc<dyn ObjectStore>, generations: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::caused("start the snapshot store", error))?;
        Ok(Self { store, runtime, generations: generations.max(3) })
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
        Self::new(Arc::new(store), generations)
    }

    fn folder(partition: PartitionId) -> Path {
        Path::from(format!("partition-{:05}", partition.0))
    }

    /// Stores a snapshot and removes generations that are no longer kept. Returns its bytes.
    pub(crate) fn put(&self, partition: PartitionId, snapshot: &Snapshot) -> Result<usize, Error> {
        let bytes = snapshot.to_bytes();
        let size = bytes.len();
        let positions = self.positions(partition)?;
        if positions.contains(&snapshot.position) {
            return Ok(size);
        }
        let key = Self::key(partition, snapshot.position);
        self.runtime
            .block_on(self.store.put(&key, PutPayload::from(bytes)))
            .map_err(|e| Error::caused(format!("write snapshot `{key}`"), e))?;
        let keep = self.generations - 1;
        for old in positions.iter().rev().skip(keep) {
            let key = Self::key(partition, *old);
            self.runtime
                .block_on(self.store.delete(&key))
                .map_err(|e| Error::caused(format!("remove snapshot `{key}`"), e))?;
        }
        Ok(size)
    }

    fn key(partition: PartitionId, position: Position) -> Path {
        Self::folder(partition).join(format!("{:020}.snapshot", position.0))
    }

    /// Positions of the partition's snapshots, ascending.
    pub(crate) fn positions(&self, partition: PartitionId) -> Result<Vec<Position>, Error> {
        let folder = Self::folder(partition);
        let listed = self
            .runtime
            .block_on(self.store.list_with_delimiter(Some(&folder)))
            .map_err(|e| Error::caused(format!("list snapshots of `{folder}`"), e))?;
        let position = |meta: &object_store::ObjectMeta| {
            let name = meta.location.filename()?.strip_suffix(".snapshot")?;
            name.parse().ok().map(Position)
        };
        let mut positions: Vec<_> = listed.objects.iter().filter_map(position).collect();
        positions.sort_unstable();
        Ok(positions)
    }

    /// Reads a snapshot.
    ///
    /// An unusable one is [`crate::Action::FallBack`], a store that does not answer
    /// [`crate::Action::Retry`].
    pub(crate) fn get(
        &self,
        partition: PartitionId,
        position: Position,
    ) -> Result<Snapshot, Error> {
        let key = Self::key(partition, position);
        let read = async { self.store.get(&key).await?.bytes().await };
        let bytes = self
            .runtime
            .block_on(read)
            .map_err(|e| Error::caused(format!("read snapshot `{key}`"), e))?;
        let unusable = |detail| Error::Snapshot { key: key.to_string(), detail };
        let snapshot = Snapshot::from_bytes(&bytes).map_err(unusable)?;
        if snapshot.position != position {
            return Err(unusable(format!("it is of position {}", snapshot.position.0)));
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use cardlens_model::Day;

    use super::*;

    fn snapshot(position: i64) -> Snapshot {
        let mark = Mark {
            origin: Position(0),
            open_day: Some(Day(20_000)),
            swept: 3,
            rules: "r".into(),
            state: "s".into(),
        };
        Snapshot { mark, position: Position(position), table: vec![1; 40], standings: vec![2; 9] }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let bytes = snapshot(7).to_bytes();
        assert_eq!(Snapshot::from_bytes(&bytes), Ok(snapshot(7)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Snapshot::from_bytes(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Snapshot::from_bytes(&bytes[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn generations() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::local(directory.path(), 3).unwrap();
        let partition = PartitionId(4);
        assert!(store.positions(partition).unwrap().is_empty());
        for position in [10, 20, 30, 40, 40] {
            store.put(partition, &snapshot(position)).unwrap();
        }
        assert_eq!(store.positions(partition).unwrap(), [20, 30, 40].map(Position));
        assert_eq!(store.get(partition, Position(40)).unwrap(), snapshot(40));
        let file = directory.path().join("partition-00004").join(format!("{:020}.snapshot", 40));
        std::fs::write(&file, b"nothing").unwrap();
        let error = store.get(partition, Position(40)).unwrap_err();
        assert_eq!(error.action(), crate::Action::FallBack);
    }
}
