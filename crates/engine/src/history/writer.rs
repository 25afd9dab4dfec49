//! Who writes the files: a thread of its own, that tries again until the store takes them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use cardlens_model::Day;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{FOLDER, File, Kind, day_of};
use crate::objects::Objects;
use crate::{Error, Metrics};

/// Files on their way at a time.
const FILES_MAX: usize = 16;
/// Wait before a file is tried again; twice as long after each failure, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A file to write.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) file: File,
    /// Its rows; gone when nobody wants the file any more.
    pub(crate) batches: Weak<Vec<RecordBatch>>,
    /// Files of that partition and kind before this day are removed.
    pub(crate) remove_before: Option<Day>,
}

/// A file that is there.
pub(crate) type Done = Job;

/// Writes files beside the worker. It ends when it is dropped; what is under way then is left.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

/// What is shared by all files under way.
struct Desk {
    objects: Objects,
    metrics: Metrics,
    permits: Semaphore,
    /// Files that are there.
    done: Sender<Done>,
}

impl Writer {
    pub(crate) fn start(objects: Objects, metrics: Metrics) -> Result<Self, Error> {
        let failed = |error| Error::caused("start the writer of the history", error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (jobs, mut asked) = mpsc::unbounded_channel::<Job>();
        let (tell, done) = channel();
        let permits = Semaphore::new(FILES_MAX);
        let desk = Arc::new(Desk { objects, metrics, permits, done: tell });
        let run = move || {
            runtime.block_on(async move {
                let mut files = JoinSet::new();
                while let Some(job) = asked.recv().await {
                    files.spawn(Arc::clone(&desk).take(job));
                    while files.try_join_next().is_some() {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("history".into()).spawn(run);
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread.map_err(failed)?) })
    }

    /// Takes a file on. There are never more than partitions hold parts, which is bounded.
    pub(crate) fn take(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Without a thread nothing is written, and parts pile up until they are given up.
            drop(jobs.send(job));
        }
    }

    /// The next file that is there, if one is.
    pub(crate) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Waits for the next file; none when that takes too long.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Done> {
        self.done.recv_timeout(patience).ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong.
            drop(thread.join());
        }
    }
}

impl Desk {
    async fn take(self: Arc<Self>, job: Job) {
        let Ok(_permit) = self.permits.acquire().await else { return };
        let mut pause = PAUSES.0;
        // Nobody wants it any more when its rows are gone.
        while let Some(batches) = job.batches.upgrade() {
            let written = self.write(&job, &batches).await;
            drop(batches);
            match written {
                Ok(()) => return drop(self.done.send(job)),
                Err(error) => {
                    let (file, cause) = (job.file.path(), std::error::Error::source(&error));
                    warn!(file, %error, ?cause, "the history will be tried again");
                    self.metrics.history_failures.with_label_values(&["store"]).inc();
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn write(&self, job: &Job, batches: &[RecordBatch]) -> Result<(), Error> {
        let folder = Path::from(format!("{FOLDER}/{}", job.kind.folder()));
        let bytes = to_parquet(batches, Some("customer_id"))?;
        let size = bytes.len() as u64;
        let key = Path::from(format!("{folder}/{}", job.file.path()));
        self.objects.write(&key, [bytes.into()]).await?;
        let label = [job.kind.folder()];
        self.metrics.history_files.with_label_values(&label).inc();
        self.metrics.history_bytes.with_label_values(&label).inc_by(size);
        debug!(%key, size, "history written");
        if let Some(before) = job.remove_before
            && let Err(error) = self.remove(&folder, job, before).await
        {
            warn!(%folder, %error, "what is older than [history] retention could not be removed");
            self.metrics.history_failures.with_label_values(&["remove"]).inc();
        }
        Ok(())
    }

    /// Removes what is older than it should be; tried again when the next day ends.
    async fn remove(&self, folder: &Path, job: &Job, before: Day) -> object_store::Result<()> {
        let store = &self.objects.store;
        for day in store.list_with_delimiter(Some(folder)).await?.common_prefixes {
            let name = day.filename().unwrap_or_default().to_owned();
            if day_of(&name).is_none_or(|day| day >= before) {
                continue;
            }
            let mut files = store.list(Some(&day));
            while let Some(found) = files.next().await {
                let path = found?.location;
                let file = File::parse(&name, path.filename().unwrap_or_default());
                if file.is_some_and(|file| file.partition == job.file.partition) {
                    store.delete(&path).await?;
                }
            }
        }
        Ok(())
    }
}

/// Batches as a file, with a filter for looking a value of a column up.
pub(super) fn to_parquet(
    batches: &[RecordBatch],
    looked_up: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let failed =
        |e: parquet::errors::ParquetError| Error::Setup(format!("encode the history: {e}"));
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let level = ZstdLevel::try_new(1).map_err(failed)?;
    let mut properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
    if let Some(column) = looked_up {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>().max(1);
        let column = ColumnPath::from(column);
        properties = properties.set_column_bloom_filter_max_ndv(column, rows);
    }
    let writer = ArrowWriter::try_new(Vec::new(), first.schema(), Some(properties.build()));
    let mut writer = writer.map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}
