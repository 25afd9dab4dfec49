//! What a worker does for readers, between live batches.
//!
//! A view is brought forward in slices, so that no batch waits for more than one of them, and then
//! caught up and pinned where everything taken has been committed. Catching up waits until few rows
//! are out of date; how many that is doubles with every commit that comes too early, so that it
//! happens however busy the partition is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cardlens_model::PartitionId;
use tracing::warn;

use super::desk::{Demand, Desk, Refusal};
use super::live::LiveView;
use super::pages::Pages;
use super::pinned::Pinned;
use crate::Outputs;
use crate::history::Past;
use crate::partition::{Partition, SLICE};
use crate::snapshot::Stored;

/// Longest wait for records while somebody reads: the next look-up may wait as long for the worker.
const ATTENDED: Duration = Duration::from_millis(2);

/// A view under way.
struct Kept {
    view: LiveView,
    /// Being brought forward: time spent so far, and how few rows may be left to catch up.
    round: Option<(Duration, usize)>,
    /// So few are left.
    near: bool,
}

/// The readers of a worker's partitions.
pub(crate) struct Readers {
    desk: Desk,
    kept: BTreeMap<PartitionId, Kept>,
}

/// What a view may take of the memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes of state.
    pub(crate) state_bytes: usize,
    /// Most bytes of all.
    pub(crate) limit: Option<u64>,
}

impl Readers {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { desk, kept: BTreeMap::new() }
    }

    /// How many partitions there are to read.
    pub(crate) fn set_partitions(&self, partitions: Option<u32>) {
        self.desk.set_partitions(partitions);
    }

    /// A partition is being restored.
    pub(crate) fn assigned(&mut self, partition: PartitionId) {
        self.desk.open(partition);
    }

    /// A partition was restored.
    pub(crate) fn restored(&mut self, partition: &mut Partition, owned: usize) {
        self.desk.update(partition.id, |seat| seat.state = "running");
        self.committed(partition, owned);
    }

    /// A partition was given up or failed.
    pub(crate) fn gone(&mut self, partition: PartitionId, failed: bool) {
        self.kept.remove(&partition);
        self.count_bytes();
        if failed {
            self.desk.stop(partition);
        } else {
            self.desk.close(partition);
        }
    }

    /// A transaction has committed: what readers may see of a partition.
    pub(crate) fn committed(&mut self, partition: &mut Partition, owned: usize) {
        partition.recent.keep(self.desk.recent_max() / owned.max(1));
        partition.recent.commit();
        let (position, customers) = (partition.position, partition.table.customers());
        let (watermark, open_day) = (partition.table.watermark(), partition.table.open_day());
        let profiled = partition.past.as_ref().and_then(Past::profiled_before);
        let state_bytes = partition.memory().into_iter().map(|(_, bytes)| bytes).sum();
        self.desk.update(partition.id, |seat| {
            seat.advance(position);
            seat.profiled_before = profiled;
            (seat.customers, seat.state_bytes) = (customers, state_bytes);
            (seat.watermark, seat.open_day) = (watermark, open_day);
        });
    }

    /// A transaction has written these.
    pub(crate) fn wrote(&self, outputs: &Outputs, now_ms: i64) {
        self.desk.note(|notes| notes.wrote(outputs, now_ms));
    }

    /// A snapshot was stored.
    pub(crate) fn stored(&self, id: PartitionId, stored: Stored, now_ms: i64) {
        self.desk.note(|notes| notes.stored(id, stored, now_ms));
    }

    /// How far behind its log a partition is, in records and in time.
    pub(crate) fn lag(&self, partition: PartitionId, records: i64, behind: Duration) {
        self.desk.update(partition, |seat| (seat.lag_records, seat.behind) = (records, behind));
    }

    /// How long the worker may wait for records, of a time: not at all while a view has more to do
    /// than to wait for the next commit, and not long while somebody reads.
    pub(crate) fn pause(&self, most: Duration) -> Duration {
        if self.kept.values().any(|kept| kept.round.is_some() && !kept.near) {
            Duration::ZERO
        } else if self.kept.is_empty() {
            most
        } else {
            most.min(ATTENDED)
        }
    }

    /// Whether a view waits for the next commit.
    pub(crate) fn near(&self) -> bool {
        self.kept.values().any(|kept| kept.round.is_some() && kept.near)
    }

    /// A slice for each view that readers want brought forward.
    pub(crate) fn step<'a>(
        &mut self,
        partitions: impl Iterator<Item = &'a mut Partition>,
        room: Room,
    ) {
        if !self.desk.asked() && self.kept.is_empty() {
            return;
        }
        let demands = self.desk.demands();
        for partition in partitions {
            let demand = demands.get(&partition.id).copied().unwrap_or_default();
            self.serve(partition, demand, room);
        }
    }

    fn serve(&mut self, partition: &mut Partition, demand: Demand, room: Room) {
        let id = partition.id;
        if demand.idle && !demand.refresh {
            if self.kept.remove(&id).is_some() {
                partition.dirty.keep(false);
                self.desk.refuse(id, Refusal::NoRoom);
                self.count_bytes();
            }
            return;
        }
        if demand.refresh && !self.kept.contains_key(&id) {
            if !self.fits(partition, room) {
                self.desk.refuse(id, Refusal::NoRoom);
                return;
            }
            let view = LiveView::new(self.desk.layout(), partition);
            self.kept.insert(id, Kept { view, round: None, near: false });
        }
        let Some(kept) = self.kept.get_mut(&id) else { return };
        if demand.refresh {
            kept.view.keep_categories(demand.categories, partition);
            kept.round.get_or_insert((Duration::ZERO, SLICE));
        }
        let Some((spent, few)) = kept.round else { return };
        kept.near = kept.view.behind(partition) <= few;
        if !kept.near {
            let started = self.desk.elapsed();
            let advanced = kept.view.advance(partition, SLICE);
            let took = self.desk.elapsed().saturating_sub(started);
            kept.round = Some((spent + took, few));
            self.count(id, advanced.map(|(rows, _)| rows), took);
        }
    }

    /// Whether there is memory for a partition's view beside the state of all.
    fn fits(&self, partition: &Partition, room: Room) -> bool {
        let Some(limit) = room.limit else { return true };
        let width = self.desk.layout().columns().len();
        let views: usize = self.kept.values().map(|kept| kept.view.bytes()).sum();
        let more = Pages::bytes_of(width, partition.table.customers());
        u64::try_from(room.state_bytes + views + more).is_ok_and(|bytes| bytes <= limit)
    }

    /// Everything taken has been committed: views that are nearly there catch up and are pinned.
    pub(crate) fn boundary<'a>(&mut self, partitions: impl Iterator<Item = &'a mut Partition>) {
        for partition in partitions {
            let Some(kept) = self.kept.get_mut(&partition.id) else { continue };
            let Some((spent, few)) = kept.round else { continue };
            if kept.view.behind(partition) > few {
                kept.round = Some((spent, few.saturating_mul(2)));
                continue;
            }
            let started = self.desk.elapsed();
            let advanced = kept.view.advance(partition, usize::MAX);
            let took = self.desk.elapsed().saturating_sub(started);
            kept.round = None;
            let caught_up = advanced.is_ok();
            self.count(partition.id, advanced.map(|(rows, _)| rows), took);
            if caught_up {
                self.publish(partition, spent + took);
            }
        }
    }

    fn publish(&mut self, partition: &Partition, took: Duration) {
        let Some(kept) = self.kept.get_mut(&partition.id) else { return };
        let Some((epoch, alive)) = self.desk.stamp(partition.id) else { return };
        let view = &kept.view;
        let pinned = Pinned {
            partition: partition.id,
            epoch,
            position: partition.position,
            watermark: partition.table.watermark(),
            open_day: partition.table.open_day(),
            made_at: self.desk.elapsed(),
            layout: Arc::clone(self.desk.layout()),
            customers: view.customers,
            pages: view.pages.clone(),
            ids: view.ids.clone(),
            categories: view.categories.clone(),
            changes: partition.recent.pieces(),
            past: partition.past.as_ref().map(Past::shown),
            alive,
        };
        self.desk.publish(&Arc::new(pinned), took, view.bytes());
        self.count_bytes();
    }

    /// Counts rows that were made anew; a view that cannot be made is dropped.
    fn count(&mut self, id: PartitionId, rows: Result<usize, crate::Error>, took: Duration) {
        let metrics = self.desk.metrics();
        metrics.view_seconds.inc_by(took.as_secs_f64());
        match rows {
            Ok(rows) => {
                metrics.view_rows.inc_by(rows as u64);
                if let Some(kept) = self.kept.get_mut(&id) {
                    metrics.view_pages_copied.inc_by(kept.view.take_copied());
                }
            }
            Err(error) => {
                warn!(partition = id.0, %error, "the view is dropped");
                self.kept.remove(&id);
                self.desk.refuse(id, Refusal::NotRunning);
            }
        }
    }

    fn count_bytes(&self) {
        let bytes: usize = self.kept.values().map(|kept| kept.view.bytes()).sum();
        self.desk.metrics().view_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Drop for Readers {
    /// What a worker leaves behind is nobody's: the next one owns anew what it is given.
    fn drop(&mut self) {
        for seat in self.desk.seats().0 {
            self.desk.close(seat.partition);
        }
    }
}
