//! The worker: one thread between a source and a sink, with the partitions it owns.
//!
//! Its loop is the whole engine in a few lines: take what the source has, let the partition it
//! belongs to work on it, bring some customers to the last closed day, and commit when it is time.
//! Between two commits outputs are only collected, so what is committed is always whole.

mod idle;
mod ownership;
mod past;
mod watch;

use self::idle::Others;
use self::past::Keeper;
use self::watch::Watch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cardlens_model::{Day, PartitionId, Position, Record};
use tracing::{debug, warn};

use crate::partition::{Partition, SLICE, Shared};
use crate::progress::Mark;
use crate::publish::{Publisher, SharedClock};
use crate::setup::{Health, HealthReport, MakeDecoding, News, Observer, Pace, WorkerSetup};
use crate::snapshot::SnapshotStore;
use crate::view::{Readers, Room};
use crate::{Action, Error, Metrics, Polled, Progress, Sink, Source};

/// A setup without its clock, which the publisher reads too.
struct Parts {
    shared: Arc<Shared>,
    pace: Pace,
    store: Option<SnapshotStore>,
    history: Option<Keeper>,
    metrics: Metrics,
    decoding: MakeDecoding,
    observer: Option<Observer>,
    health: HealthReport,
    readers: Option<Readers>,
}

struct Owned {
    partition: Partition,
    /// What was committed last: position and what stood beside it.
    committed: Option<(Position, Mark)>,
    /// When the log took the last record.
    appended_at: Option<i64>,
    /// Clock reading of the last input, and of the last snapshot or the restore.
    last_input: Duration,
    last_snapshot: Duration,
    snapshot_at: Option<Position>,
    watch: Watch,
}

/// A worker, with the partitions it owns.
pub struct Worker<S, K> {
    source: S,
    sink: K,
    clock: SharedClock,
    setup: Parts,
    owned: BTreeMap<PartitionId, Owned>,
    /// Assigned and not yet restored.
    restoring: BTreeSet<PartitionId>,
    publisher: Publisher,
    /// Records taken since the last commit, and when the log took the oldest of them.
    records: usize,
    oldest_append: Option<i64>,
    last_commit: Duration,
    /// When to look again how everything stands.
    look_at: Duration,
    /// A commit failed and must be repeated before anything else is taken.
    blocked: bool,
    /// Bytes of state by part, when last counted.
    state_bytes: BTreeMap<&'static str, usize>,
    /// State takes more than it may: nothing is taken, and nothing restored.
    full: bool,
    /// What others own, for partitions without traffic.
    others: Others,
}

impl<S: Source, K: Sink> Worker<S, K> {
    /// A worker that owns nothing yet.
    #[must_use]
    pub fn new(source: S, sink: K, setup: WorkerSetup) -> Self {
        let WorkerSetup { clock, shared, pace, names, store, history, metrics, .. } = setup;
        let (observer, health) = (setup.observer, setup.health);
        let readers = setup.desk.map(Readers::new);
        let clock: SharedClock = Arc::from(clock);
        let now = clock.elapsed();
        metrics.start_topic(&shared.topic);
        metrics.start_rules(shared.lens.rules());
        let history = Keeper::start(store.as_ref(), history, &metrics);
        let decoding = setup.decoding;
        let setup =
            Parts { shared, pace, store, history, metrics, decoding, observer, health, readers };
        Self {
            publisher: Publisher::new(names, Arc::clone(&clock)),
            source,
            sink,
            clock,
            setup,
            owned: BTreeMap::new(),
            restoring: BTreeSet::new(),
            records: 0,
            oldest_append: None,
            last_commit: now,
            look_at: now,
            blocked: false,
            state_bytes: BTreeMap::new(),
            full: false,
            others: Others::default(),
        }
    }

    /// Works until told to stop or the source ends; then commits, takes snapshots and leaves.
    ///
    /// # Errors
    /// A newer owner has taken over, or the rules fail on the data. What was not committed is
    /// gone with the worker, and nothing is lost: another one restores it.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        let mut more = true;
        while more && !stop.load(Ordering::Relaxed) {
            more = self.step()?;
        }
        self.finish()
    }

    /// Does what there is to do, once; false when the source has ended.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn step(&mut self) -> Result<bool, Error> {
        if self.blocked {
            self.commit()?;
            self.watch()?;
            return Ok(true);
        }
        let ended = self.poll()?;
        self.restore_next()?;
        self.sweep()?;
        self.follow_idle()?;
        self.serve_readers();
        if self.due() {
            self.commit()?;
        }
        self.watch()?;
        Ok(!ended || self.busy())
    }

    /// Whether there is work left that needs no further input.
    fn busy(&self) -> bool {
        let restoring = !self.restoring.is_empty() && !self.full;
        restoring || self.owned.values().any(|owned| owned.partition.sweeping())
    }

    /// Brings views forward that somebody reads, by a slice each.
    fn serve_readers(&mut self) {
        let Some(readers) = &mut self.setup.readers else { return };
        let limit = self.setup.pace.memory_limit;
        let room = Room { state_bytes: self.state_bytes.values().sum(), limit };
        readers.step(self.owned.values_mut().map(|owned| &mut owned.partition), room);
        // A quiet partition has nothing to wait for.
        if readers.near() && self.records == 0 && self.publisher.outputs.is_empty() {
            readers.boundary(self.owned.values_mut().map(|owned| &mut owned.partition));
        }
    }

    /// Lets readers see what has just been committed.
    fn show_readers(&mut self) {
        let Some(readers) = &mut self.setup.readers else { return };
        let owned = self.owned.len();
        for owned_one in self.owned.values_mut() {
            readers.committed(&mut owned_one.partition, owned);
        }
        readers.boundary(self.owned.values_mut().map(|owned| &mut owned.partition));
    }

    fn poll(&mut self) -> Result<bool, Error> {
        let wait = if self.busy() { Duration::ZERO } else { self.until_due() };
        let wait = self.setup.readers.as_ref().map_or(wait, |readers| readers.pause(wait));
        let now = self.clock.elapsed();
        match self.source.poll(wait) {
            Ok(Polled::Records { partition, records, next }) => {
                let Some(owned) = self.owned.get_mut(&partition) else { return Ok(false) };
                owned.last_input = now;
                owned.appended_at = records.last().and_then(|record| record.appended_at);
                self.publisher.now_ms = self.clock.now_ms();
                if self.records == 0 {
                    self.oldest_append = records.first().and_then(|record| record.appended_at);
                }
                self.records += records.len();
                count_records(&self.setup, partition, &records, self.publisher.now_ms);
                let before = self.publisher.outputs.len();
                let taken = owned.partition.take(&records, next, &mut self.publisher);
                if let Err(error) = taken {
                    self.publisher.outputs.truncate(before);
                    self.failed(error)?;
                }
            }
            Ok(Polled::Assigned(partitions)) => self.assigned(partitions),
            Ok(Polled::Revoked { partitions, lost }) => self.revoked(&partitions, lost)?,
            Ok(Polled::Idle) => {}
            Ok(Polled::Ended) => return Ok(true),
            Err(error) => self.failed(error)?,
        }
        Ok(false)
    }

    /// Time left until the next commit is due, at most the interval.
    fn until_due(&self) -> Duration {
        let since = self.clock.elapsed().saturating_sub(self.last_commit);
        self.setup.pace.commit_interval.saturating_sub(since).max(Duration::from_millis(1))
    }

    /// One slice for each partition that is behind the last closed day.
    fn sweep(&mut self) -> Result<(), Error> {
        for owned in self.owned.values_mut() {
            if owned.partition.sweeping() {
                self.publisher.now_ms = self.clock.now_ms();
                owned.partition.sweep(SLICE, &mut self.publisher)?;
            }
        }
        Ok(())
    }

    fn due(&self) -> bool {
        let since = self.clock.elapsed().saturating_sub(self.last_commit);
        since >= self.setup.pace.commit_interval
            || self.records >= self.setup.pace.transaction_records_max
            || self.publisher.outputs.len() >= self.setup.pace.transaction_records_max
    }

    /// Commits what was collected and how far every partition has come.
    fn commit(&mut self) -> Result<(), Error> {
        let mut progress = Vec::new();
        let mut marks = Vec::new();
        for (id, owned) in &self.owned {
            let mark = owned.partition.mark();
            let now = (owned.partition.position, mark);
            if owned.committed.as_ref() != Some(&now) {
                let metadata = now.1.to_text();
                progress.push(Progress { partition: *id, position: now.0, metadata });
                marks.push((*id, now));
            }
        }
        let started = self.clock.elapsed();
        self.last_commit = started;
        if progress.is_empty() && self.publisher.outputs.is_empty() {
            self.keep_history()?;
            self.show_readers();
            return Ok(());
        }
        match self.sink.commit(&self.publisher.outputs, &progress) {
            Ok(()) => self.blocked = false,
            Err(error) if error.action() == Action::Retry => {
                warn!(error = %chain(&error), "commit will be tried again");
                self.blocked = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for (id, now) in marks {
            if let Some(owned) = self.owned.get_mut(&id) {
                owned.committed = Some(now);
            }
        }
        self.committed(started);
        self.keep_history()?;
        self.show_readers();
        self.snapshots(false);
        Ok(())
    }

    /// Metrics and observers after a commit.
    fn committed(&mut self, started: Duration) {
        let metrics = &self.setup.metrics;
        let now = self.clock.elapsed();
        let took = now.saturating_sub(started).as_secs_f64();
        metrics.batch_duration.with_label_values(&["commit"]).observe(took);
        if let Some(appended) = self.oldest_append.take() {
            let age = self.clock.now_ms().saturating_sub(appended).max(0);
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            metrics.end_to_end_latency.observe(age.as_secs_f64());
        }
        metrics.transactions.with_label_values(&["committed"]).inc();
        debug!(records = self.records, outputs = self.publisher.outputs.len(), "committed");
        if let Some(observer) = &mut self.setup.observer {
            observer(&self.publisher.outputs);
        }
        let now_ms = self.clock.now_ms();
        if let Some(readers) = &self.setup.readers {
            readers.wrote(&self.publisher.outputs, now_ms);
        }
        self.publisher.outputs.clear();
        self.records = 0;
        for owned in self.owned.values_mut() {
            owned.partition.count_state();
        }
        self.count_owned();
    }

    /// Snapshots of partitions that are due, or of all. A failure is counted, and all are tried again
    /// when the next one is due; the older snapshots stay.
    fn snapshots(&mut self, all: bool) {
        let (Some(store), Some(interval)) = (&self.setup.store, self.setup.pace.snapshot_interval)
        else {
            return;
        };
        let mut failed = None;
        for (id, owned) in &mut self.owned {
            let started = self.clock.elapsed();
            let elapsed = started.saturating_sub(owned.last_snapshot) >= interval;
            let due = all || elapsed || owned.partition.chain.full();
            if !due || owned.snapshot_at == Some(owned.partition.position) {
                continue;
            }
            owned.last_snapshot = started;
            let metrics = &self.setup.metrics;
            let snapshot = owned.partition.snapshot();
            let stored = snapshot.and_then(|snapshot| store.put(*id, &snapshot));
            owned.partition.stored(stored.as_ref().ok().copied());
            match stored {
                Ok(stored) => {
                    let bytes = stored.bytes;
                    let took = self.clock.elapsed().saturating_sub(started).as_secs_f64();
                    owned.snapshot_at = Some(owned.partition.position);
                    metrics.snapshot_duration.observe(took);
                    metrics.snapshot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                    let now = self.clock.now_ms();
                    metrics
                        .snapshot_last_success
                        .set(Duration::from_millis(u64::try_from(now).unwrap_or(0)).as_secs_f64());
                    if let Some(readers) = &self.setup.readers {
                        readers.stored(*id, stored, now);
                    }
                    debug!(partition = id.0, bytes, took, "snapshot stored");
                }
                Err(error) => {
                    metrics.snapshot_failures.with_label_values(&["store"]).inc();
                    warn!(partition = id.0, error = %chain(&error), "snapshot failed");
                    failed = Some(self.clock.elapsed());
                    break;
                }
            }
        }
        // One wait for a store that does not answer is enough.
        if let Some(failed) = failed {
            self.owned.values_mut().for_each(|owned| owned.last_snapshot = failed);
        }
    }

    /// Commits, takes snapshots and gives everything back.
    fn finish(&mut self) -> Result<(), Error> {
        self.commit()?;
        if !self.blocked {
            self.snapshots(true);
        }
        self.source.close();
        Ok(())
    }

    /// Commits what was collected, without leaving.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn settle(&mut self) -> Result<(), Error> {
        self.commit()
    }

    /// Where outputs go.
    #[must_use]
    pub fn sink(&self) -> &K {
        &self.sink
    }

    /// Closes every day up to and including `last` in all partitions, and commits.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn close_through(&mut self, last: Day) -> Result<(), Error> {
        for owned in self.owned.values_mut() {
            owned.partition.close_until(last.plus(1), &mut self.publisher)?;
        }
        self.commit()
    }

    /// The partitions owned, for writing tables.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.owned.values().map(|owned| &owned.partition)
    }
}

fn count_records(setup: &Parts, id: PartitionId, records: &[Record<'_>], now_ms: i64) {
    let topic = [setup.shared.topic.as_str()];
    let metrics = &setup.metrics;
    metrics.records_consumed.with_label_values(&topic).inc_by(records.len() as u64);
    let bytes: usize = records.iter().map(|record| record.value.len()).sum();
    metrics.consumed_bytes.with_label_values(&topic).inc_by(bytes as u64);
    metrics.batch_records.observe(f64::from(u32::try_from(records.len()).unwrap_or(u32::MAX)));
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let labels = [topic[0], &id.0.to_string()];
    metrics.last_record_processed.with_label_values(&labels).set(now.as_secs_f64());
}

/// An error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
