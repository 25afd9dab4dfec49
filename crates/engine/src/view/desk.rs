//! Where readers and workers meet.
//!
//! A reader asks for a partition to be held still, and waits or is given what somebody else asked
//! for a moment ago. The worker looks once a step whether anybody has asked. Everything here is
//! bounded: readers that wait, pins, and how long a pin may lie unused. When a partition goes, its
//! seat goes with all pins, so what is left of an ownership can never be read by mistake.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cardlens_model::{Day, EventTime, PartitionId, Position};
use tokio::sync::oneshot;

use super::layout::Layout;
use super::notes::Notes;
use super::pinned::Pinned;
use crate::{Clock, Metrics};

/// Readers were here so recently that the view is kept up to date.
const ACTIVE: Duration = Duration::from_secs(10);
/// Without a reader for so long the view is dropped.
const IDLE: Duration = Duration::from_secs(300);
/// A pin expires when it was not used for so long.
const PIN_UNUSED: Duration = Duration::from_secs(60);
/// A view is brought forward at most so often.
const FRESH: Duration = Duration::from_millis(250);
/// And so seldom that all that are read take at most one part in so many of the worker's time:
/// readers are not in the way of ingest. Unless a pin would be older than that, which takes a million
/// customers that all move within the minute.
const SHARE: u32 = 10;
const STALE: Duration = Duration::from_secs(60);
/// Pins of all partitions.
const PINS_MAX: usize = 4_096;
/// Readers that wait for one partition.
const WAITING_MAX: usize = 256;

/// Why a reader is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The partition is not owned here, or not by this ownership any more.
    Moved,
    /// It is still being restored, or was stopped.
    NotRunning,
    /// The pin was not used for a minute, or given back.
    Expired,
    /// Too many pins, or readers that wait.
    Full,
    /// The view would take more memory than `[state] memory_limit` leaves.
    NoRoom,
}

/// How a partition fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Which.
    pub partition: PartitionId,
    /// Which ownership of it this is.
    pub epoch: u64,
    /// `restoring`, `running` or `stopped`.
    pub state: &'static str,
    /// Committed position.
    pub position: Position,
    /// Customers.
    pub customers: usize,
    /// How far event time has come.
    pub watermark: Option<EventTime>,
    /// The first day not closed.
    pub open_day: Option<Day>,
    /// Records not yet committed, of those that were there when last counted.
    pub lag_records: i64,
    /// How long ago the last record taken was appended, when that was counted; zero when none wait.
    pub behind: Duration,
    /// Bytes of state: what snapshots hold, as it lies in memory.
    pub state_bytes: usize,
    /// Bytes of the view; 0 without one.
    pub view_bytes: usize,
    /// The first day whose profiles are not in the history; none where no history is kept.
    pub profiled_before: Option<Day>,
}

impl Seat {
    /// What was committed waits no longer.
    pub(super) fn advance(&mut self, position: Position) {
        let committed = position.0.saturating_sub(self.position.0).max(0);
        self.lag_records = self.lag_records.saturating_sub(committed).max(0);
        if self.lag_records == 0 {
            self.behind = Duration::ZERO;
        }
        self.position = position;
    }
}

struct Place {
    seat: Seat,
    latest: Option<Arc<Pinned>>,
    /// How old the latest may be.
    fresh_for: Duration,
    read_at: Option<Duration>,
    categories_at: Option<Duration>,
    waiting: Vec<Waiting>,
    alive: Arc<AtomicBool>,
}

struct Waiting {
    categories: bool,
    send: oneshot::Sender<Result<Arc<Pinned>, Refusal>>,
}

struct Held {
    pinned: Arc<Pinned>,
    used_at: Duration,
}

#[derive(Default)]
struct State {
    places: BTreeMap<PartitionId, Place>,
    pins: BTreeMap<u64, Held>,
    pin_last: u64,
    epoch_last: u64,
    swept_at: Duration,
    partitions: Option<u32>,
}

struct Inner {
    clock: Box<dyn Clock + Send + Sync>,
    layout: Arc<Layout>,
    recent_max: usize,
    metrics: Metrics,
    /// Somebody has read within [`IDLE`]; the worker's only look while nobody has.
    asked: AtomicBool,
    state: Mutex<State>,
    notes: Mutex<Notes>,
}

/// Shared by a worker and its readers; cloning shares it.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

/// What readers want of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Demand {
    /// Somebody waits, or the latest pin is old and readers are active.
    pub(super) refresh: bool,
    /// Somebody reads categories.
    pub(super) categories: bool,
    /// Nobody has read for so long that the view may go.
    pub(super) idle: bool,
}

impl Desk {
    /// A desk for the partitions of one worker, which keeps so many changes in memory.
    #[must_use]
    pub fn new(
        layout: Layout,
        recent_max: usize,
        clock: Box<dyn Clock + Send + Sync>,
        metrics: Metrics,
    ) -> Self {
        let layout = Arc::new(layout);
        let (asked, state, notes) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { clock, layout, recent_max, metrics, asked, state, notes }))
    }

    /// The columns of its views.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.0.layout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every partition owned, and how many the topic has, where that is known.
    #[must_use]
    pub fn seats(&self) -> (Vec<Seat>, Option<u32>) {
        let state = self.lock();
        (state.places.values().map(|place| place.seat.clone()).collect(), state.partitions)
    }

    /// Holds a partition still, as it is or was a moment ago. Waits while the view is brought
    /// forward, as long as the caller likes.
    ///
    /// # Errors
    /// The partition is elsewhere, or a bound is met.
    pub async fn pin(
        &self,
        partition: PartitionId,
        epoch: u64,
        categories: bool,
    ) -> Result<(u64, Arc<Pinned>), Refusal> {
        let receive = match self.ask(partition, epoch, categories)? {
            Ok(pinned) => return self.hold(pinned),
            Err(receive) => receive,
        };
        let pinned = receive.await.map_err(|_| Refusal::Moved)??;
        self.hold(pinned)
    }

    #[allow(clippy::type_complexity, reason = "what is there, or where to wait for it")]
    fn ask(
        &self,
        partition: PartitionId,
        epoch: u64,
        categories: bool,
    ) -> Result<Result<Arc<Pinned>, oneshot::Receiver<Result<Arc<Pinned>, Refusal>>>, Refusal> {
        let now = self.0.clock.elapsed();
        let mut state = self.lock();
        let place = state.places.get_mut(&partition).filter(|it| it.seat.epoch == epoch);
        let place = place.ok_or(Refusal::Moved)?;
        if place.seat.state != "running" {
            return Err(Refusal::NotRunning);
        }
        place.read_at = Some(now);
        if categories {
            place.categories_at = Some(now);
        }
        self.0.asked.store(true, Ordering::Relaxed);
        let fresh = |pinned: &&Arc<Pinned>| {
            now.saturating_sub(pinned.made_at) <= place.fresh_for
                && (pinned.has_categories() || !categories)
        };
        if let Some(pinned) = place.latest.as_ref().filter(fresh) {
            return Ok(Ok(Arc::clone(pinned)));
        }
        place.waiting.retain(|waiting| !waiting.send.is_closed());
        if place.waiting.len() >= WAITING_MAX {
            return Err(Refusal::Full);
        }
        let (send, receive) = oneshot::channel();
        place.waiting.push(Waiting { categories, send });
        Ok(Err(receive))
    }

    fn hold(&self, pinned: Arc<Pinned>) -> Result<(u64, Arc<Pinned>), Refusal> {
        let used_at = self.0.clock.elapsed();
        let mut state = self.lock();
        if !pinned.alive() {
            return Err(Refusal::Moved);
        }
        state.expire(used_at);
        if state.pins.len() >= PINS_MAX {
            return Err(Refusal::Full);
        }
        state.pin_last += 1;
        let pin = state.pin_last;
        state.pins.insert(pin, Held { pinned: Arc::clone(&pinned), used_at });
        self.count_pins(&state);
        Ok((pin, pinned))
    }

    /// What a pin holds. Using it keeps it from expiring.
    ///
    /// # Errors
    /// The partition moved, or the pin expired.
    pub fn pinned(
        &self,
        pin: u64,
        partition: PartitionId,
        epoch: u64,
    ) -> Result<Arc<Pinned>, Refusal> {
        let now = self.0.clock.elapsed();
        let mut state = self.lock();
        let seat = state.places.get_mut(&partition).filter(|it| it.seat.epoch == epoch);
        seat.ok_or(Refusal::Moved)?.read_at = Some(now);
        let held = state.pins.get_mut(&pin).filter(|held| {
            let (own, of) = (held.pinned.partition, held.pinned.epoch);
            (own, of) == (partition, epoch) && now.saturating_sub(held.used_at) <= PIN_UNUSED
        });
        let held = held.ok_or(Refusal::Expired)?;
        held.used_at = now;
        Ok(Arc::clone(&held.pinned))
    }

    /// Gives a pin back.
    pub fn unpin(&self, pin: u64) {
        let mut state = self.lock();
        state.pins.remove(&pin);
        self.count_pins(&state);
    }

    /// The last snapshots, decisions and dead letters.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pins that readers hold.
    #[must_use]
    pub fn pins(&self) -> usize {
        self.lock().pins.len()
    }

    fn count_pins(&self, state: &State) {
        self.0.metrics.view_pins.set(i64::try_from(state.pins.len()).unwrap_or(i64::MAX));
    }

    // What follows is the worker's side.

    /// Whether somebody reads: one load, and the only cost of a desk that nobody comes to.
    pub(super) fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.0.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn recent_max(&self) -> usize {
        self.0.recent_max
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.clock.elapsed()
    }

    pub(super) fn set_partitions(&self, partitions: Option<u32>) {
        self.lock().partitions = partitions;
    }

    /// A partition was assigned: a new ownership. Epochs grow with time, so that of two owners the
    /// later one has the greater.
    pub(super) fn open(&self, partition: PartitionId) {
        let now = u64::try_from(self.0.clock.now_ms()).unwrap_or(0);
        let mut state = self.lock();
        state.close(partition, Refusal::Moved);
        let epoch = now.max(state.epoch_last + 1);
        state.epoch_last = epoch;
        let seat = Seat {
            partition,
            epoch,
            state: "restoring",
            position: Position(0),
            customers: 0,
            watermark: None,
            open_day: None,
            lag_records: 0,
            behind: Duration::ZERO,
            state_bytes: 0,
            view_bytes: 0,
            profiled_before: None,
        };
        let place = Place {
            seat,
            latest: None,
            fresh_for: FRESH,
            read_at: None,
            categories_at: None,
            waiting: Vec::new(),
            alive: Arc::new(AtomicBool::new(true)),
        };
        state.places.insert(partition, place);
    }

    pub(super) fn close(&self, partition: PartitionId) {
        let mut state = self.lock();
        state.close(partition, Refusal::Moved);
        self.count_pins(&state);
    }

    /// A partition stopped for good, and says so.
    pub(super) fn stop(&self, partition: PartitionId) {
        self.open(partition);
        self.update(partition, |seat| seat.state = "stopped");
    }

    pub(super) fn update(&self, partition: PartitionId, update: impl FnOnce(&mut Seat)) {
        if let Some(place) = self.lock().places.get_mut(&partition) {
            update(&mut place.seat);
        }
    }

    /// What readers want of each partition. Forgets pins that expired.
    pub(super) fn demands(&self) -> BTreeMap<PartitionId, Demand> {
        let now = self.0.clock.elapsed();
        let mut state = self.lock();
        state.expire(now);
        self.count_pins(&state);
        let mut demands = BTreeMap::new();
        for (partition, place) in &mut state.places {
            place.waiting.retain(|waiting| !waiting.send.is_closed());
            let latest = place.latest.as_ref();
            let old = latest.is_none_or(|it| now.saturating_sub(it.made_at) >= place.fresh_for);
            let demand = Demand {
                refresh: !place.waiting.is_empty() || within(place.read_at, now, ACTIVE) && old,
                categories: within(place.categories_at, now, ACTIVE)
                    || place.waiting.iter().any(|waiting| waiting.categories),
                idle: !within(place.read_at, now, IDLE),
            };
            demands.insert(*partition, demand);
        }
        let idle = demands.values().all(|demand| demand.idle && !demand.refresh);
        self.0.asked.store(!idle, Ordering::Relaxed);
        demands
    }

    /// What a pin of a partition made now carries.
    pub(super) fn stamp(&self, partition: PartitionId) -> Option<(u64, Arc<AtomicBool>)> {
        let state = self.lock();
        let place = state.places.get(&partition)?;
        Some((place.seat.epoch, Arc::clone(&place.alive)))
    }

    /// Hands a pin to whoever waits. It took the worker so long to make.
    pub(super) fn publish(&self, pinned: &Arc<Pinned>, took: Duration, view_bytes: usize) {
        let now = self.0.clock.elapsed();
        let mut state = self.lock();
        let read = |place: &&Place| place.latest.is_some() && within(place.read_at, now, ACTIVE);
        let views = state.places.values().filter(read).count();
        let Some(place) = state.places.get_mut(&pinned.partition) else { return };
        place.seat.view_bytes = view_bytes;
        // The first time everybody is made, which says nothing of the next.
        let first = place.latest.is_none();
        place.fresh_for = if first { FRESH } else { fresh_for(took, views) };
        place.latest = Some(Arc::clone(pinned));
        let categories = pinned.has_categories();
        let (served, rest) = std::mem::take(&mut place.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|waiting| categories || !waiting.categories);
        place.waiting = rest;
        served.into_iter().for_each(|waiting| drop(waiting.send.send(Ok(Arc::clone(pinned)))));
    }

    /// Turns away whoever waits for a partition, and forgets its view.
    pub(super) fn refuse(&self, partition: PartitionId, refusal: Refusal) {
        if let Some(place) = self.lock().places.get_mut(&partition) {
            place.forget(refusal);
        }
    }
}

/// Whether something was no longer ago than that.
fn within(at: Option<Duration>, now: Duration, span: Duration) -> bool {
    at.is_some_and(|at| now.saturating_sub(at) <= span)
}

/// How old a view may grow that took so long to bring forward, of so many that are read.
pub(super) fn fresh_for(took: Duration, views: usize) -> Duration {
    let views = u32::try_from(views).unwrap_or(u32::MAX).max(1);
    took.saturating_mul(SHARE.saturating_mul(views)).clamp(FRESH, STALE)
}

impl Place {
    fn forget(&mut self, refusal: Refusal) {
        self.latest = None;
        self.seat.view_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().for_each(|waiting| drop(waiting.send.send(Err(refusal))));
    }
}

impl State {
    fn close(&mut self, partition: PartitionId, refusal: Refusal) {
        if let Some(mut place) = self.places.remove(&partition) {
            place.alive.store(false, Ordering::Relaxed);
            place.forget(refusal);
        }
        self.pins.retain(|_, held| held.pinned.partition != partition);
    }

    /// Lets go of pins that were not used, looking once a second.
    fn expire(&mut self, now: Duration) {
        if now.saturating_sub(self.swept_at) >= Duration::from_secs(1) {
            self.swept_at = now;
            self.pins.retain(|_, held| now.saturating_sub(held.used_at) <= PIN_UNUSED);
        }
    }
}
