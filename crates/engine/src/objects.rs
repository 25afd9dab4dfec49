//! Objects in a store, in a folder or at what a URL names: each is there whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

use crate::Error;

/// Larger ones go in parts: in one piece they have a limit at a URL, a lost connection costs all of
/// them, and they are in memory as a whole.
pub(crate) const PART_BYTES: usize = 16 << 20;
pub(crate) const WHOLE_BYTES_MAX: usize = 64 << 20;
/// Parts on their way at a time.
const PARTS_MAX: usize = 4;

/// Where objects are; cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where files are, of a store in a local directory, which does not see to their being on the
    /// disk itself.
    pub(crate) directory: Option<PathBuf>,
}

impl Objects {
    /// Writes an object from its pieces, in place of one of that name, and returns its bytes. Of a
    /// large one, only the parts that are on their way are in memory.
    pub(crate) async fn write(
        &self,
        key: &Path,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, Error> {
        let written = self.put(key, pieces.into_iter()).await;
        let written = written.map_err(|e| Error::caused(format!("write `{key}`"), e))?;
        self.sync(key)?;
        Ok(written)
    }

    async fn put(
        &self,
        key: &Path,
        mut pieces: impl Iterator<Item = Bytes>,
    ) -> object_store::Result<u64> {
        let (mut first, mut bytes) = (Vec::new(), 0);
        while bytes <= WHOLE_BYTES_MAX {
            let Some(piece) = pieces.next() else {
                self.store.put(key, PutPayload::from_iter(first)).await?;
                return Ok(bytes as u64);
            };
            bytes += piece.len();
            first.push(piece);
        }
        let upload = self.store.put_multipart(key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut written = 0;
        for mut piece in first.into_iter().chain(pieces) {
            written += piece.len() as u64;
            while !piece.is_empty() {
                if let Err(error) = upload.wait_for_capacity(PARTS_MAX).await {
                    upload.abort().await?;
                    return Err(error);
                }
                upload.put(piece.split_to(piece.len().min(PART_BYTES)));
            }
        }
        upload.finish().await?;
        Ok(written)
    }

    /// Removes what a process that was killed had begun to write into a folder that nobody writes
    /// to now. At a URL such parts never become an object, and the store's own rules remove them.
    pub(crate) fn remove_unfinished(&self, folder: &Path) -> Result<(), Error> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let folder = directory.join(folder.as_ref());
        let unfinished = |name: &std::ffi::OsStr| {
            // As object_store names them: behind the object's name, `#` and a number.
            name.to_str().is_some_and(|name| name.contains('#'))
        };
        let removed = std::fs::read_dir(&folder).and_then(|mut entries| {
            entries.try_for_each(|entry| {
                let entry = entry?;
                if unfinished(&entry.file_name()) {
                    std::fs::remove_file(entry.path())
                } else {
                    Ok(())
                }
            })
        });
        removed.map_err(|e| Error::caused(format!("clean `{}`", folder.display()), e))
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
}
