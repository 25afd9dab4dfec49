//! Objects in a store, in a folder or at what a URL names: each is there whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

use crate::Error;

/// A store at a URL takes larger ones in parts: in one piece they have a limit, and a lost
/// connection costs all of them.
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
    /// Writes an object, in place of one of that name.
    pub(crate) async fn write(&self, key: &Path, payload: PutPayload) -> Result<(), Error> {
        let put = self.put(key, payload).await;
        put.map_err(|e| Error::caused(format!("write `{key}`"), e))?;
        self.sync(key)
    }

    async fn put(&self, key: &Path, payload: PutPayload) -> object_store::Result<()> {
        if self.directory.is_some() || payload.content_length() <= WHOLE_BYTES_MAX {
            return self.store.put(key, payload).await.map(drop);
        }
        let upload = self.store.put_multipart(key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for mut piece in payload {
            while !piece.is_empty() {
                upload.wait_for_capacity(PARTS_MAX).await?;
                upload.put(piece.split_to(piece.len().min(PART_BYTES)));
            }
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
}
