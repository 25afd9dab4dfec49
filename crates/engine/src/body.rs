//! A snapshot as it is read: by pieces, so that a large one is never there as a whole, and checked
//! when it has been read.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use crate::Error;
use crate::objects::Objects;

/// Bytes of the checksum behind everything else.
const CHECKSUM: usize = 4;

/// What stands before the checksum. Whoever reads it may use what it read only after
/// [`Body::finish`].
pub(crate) struct Body<'a> {
    key: String,
    input: Box<dyn Read + 'a>,
    /// Bytes before the checksum that are still to be read.
    left: u64,
    checksum: u32,
    /// Why the store could not go on: no damage, it may be asked again.
    failed: Option<Error>,
}

impl<'a> Body<'a> {
    /// Opens an object.
    pub(crate) fn open(objects: &Objects, runtime: &'a Runtime, key: &Path) -> Result<Self, Error> {
        let found = runtime
            .block_on(objects.store.get(key))
            .map_err(|e| Error::caused(format!("read snapshot `{key}`"), e))?;
        let size = found.meta.size;
        let key = key.as_ref();
        Ok(match found.payload {
            GetResultPayload::File(file, _) => Self::new(key, file, size),
            GetResultPayload::Stream(stream) => {
                Self::new(key, Chunks { runtime, stream, chunk: Bytes::new() }, size)
            }
        })
    }

    /// What an input of so many bytes holds.
    pub(crate) fn new(key: &str, input: impl Read + 'a, size: u64) -> Self {
        let left = size.saturating_sub(CHECKSUM as u64);
        let input = Box::new(input);
        Self { key: key.to_owned(), input, left, checksum: 0, failed: None }
    }

    /// So many bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes).map_err(|_| "it is cut off")?;
        Ok(bytes)
    }

    /// A part behind its length. Nothing is allocated beyond what is there.
    pub(crate) fn part(&mut self) -> Result<Vec<u8>, String> {
        let len = u64::from_le_bytes(self.array()?);
        let mut bytes = Vec::new();
        let read = self.take(len).read_to_end(&mut bytes);
        if read.is_ok_and(|read| read as u64 == len) {
            Ok(bytes)
        } else {
            Err("it is cut off".into())
        }
    }

    /// What was read, unless it is damaged ([`crate::Action::FallBack`]) or the store did not answer
    /// ([`crate::Action::Retry`]).
    pub(crate) fn usable<T>(&mut self, read: Result<T, String>) -> Result<T, Error> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        read.map_err(|detail| Error::Snapshot { key: self.key.clone(), detail })
    }

    /// What was read to the end, if the checksum says so.
    pub(crate) fn finish<T>(mut self, read: Result<T, String>) -> Result<T, Error> {
        let read = self.usable(read)?;
        let mut checksum = [0; CHECKSUM];
        let whole = self.left == 0 && self.input.read_exact(&mut checksum).is_ok();
        let right = whole && u32::from_le_bytes(checksum) == self.checksum;
        self.usable(if right { Ok(read) } else { Err("the checksum does not match".to_owned()) })
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let into = &mut into[..most];
        match self.input.read(into) {
            Ok(len) => {
                self.checksum = crc32c::crc32c_append(self.checksum, &into[..len]);
                self.left -= len as u64;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let what = format!("read snapshot `{}`", self.key);
                self.failed = Some(Error::caused(what, error));
                Err(io::Error::other("the store does not answer"))
            }
        }
    }
}

/// An object as a store sends it.
struct Chunks<'a> {
    runtime: &'a Runtime,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Chunks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let len = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}
