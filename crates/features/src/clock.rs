//! The watermark of a partition and its open day.
//!
//! Owns event time as a partition sees it: the watermark is the greatest event time seen, less
//! `settle`, and the open day is the watermark's. Records and the closing of days move it, nothing
//! else does. Knows nothing of customers.

use cardlens_model::{Calendar, Day, EventTime};

/// What bounds lateness and disorder.
pub(crate) struct Clock {
    calendar: Calendar,
    settle_ms: i64,
    allowed_lateness_ms: i64,
    state: ClockState,
    /// First instant after the open day.
    end: EventTime,
    /// From which watermark on `remembered` is another day.
    stale_at: EventTime,
    remembered: Day,
}

/// What a snapshot keeps of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClockState {
    /// The watermark and the open day, once there was a record.
    pub(crate) now: Option<(EventTime, Day)>,
    /// The day that was open first.
    pub(crate) first_open: Day,
}

impl Clock {
    pub(crate) fn new(calendar: Calendar, settle_ms: i64, allowed_lateness_ms: i64) -> Self {
        Self {
            calendar,
            settle_ms: settle_ms.max(0),
            allowed_lateness_ms: allowed_lateness_ms.max(0),
            state: ClockState::default(),
            end: EventTime(i64::MAX),
            stale_at: EventTime(i64::MIN),
            remembered: Day(i32::MIN),
        }
    }

    pub(crate) fn state(&self) -> ClockState {
        self.state
    }

    /// Goes on from a snapshot.
    pub(crate) fn restore(&mut self, state: ClockState) {
        self.state = state;
        if let Some((watermark, open)) = state.now {
            self.set(watermark, open);
        }
    }

    pub(crate) fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub(crate) fn open_day(&self) -> Option<Day> {
        self.state.now.map(|(_, open)| open)
    }

    pub(crate) fn watermark(&self) -> Option<EventTime> {
        self.state.now.map(|(watermark, _)| watermark)
    }

    /// The last closed day, for customers that were there before any day was open too.
    pub(crate) fn last_closed(&self) -> Day {
        self.state.now.map_or(Day(i32::MIN), |(_, open)| open.plus(-1))
    }

    /// The day before the first open one: where customers begin that are older than the watermark.
    pub(crate) fn before_first_open(&self) -> Day {
        self.state.first_open.plus(-1)
    }

    /// Whether a record of that time carries the watermark past the end of the open day.
    pub(crate) fn closes(&self, time: EventTime) -> bool {
        time.0.saturating_sub(self.settle_ms) >= self.end.0
    }

    /// Whether a record of that time is later than allowed.
    pub(crate) fn too_late(&self, time: EventTime) -> bool {
        let bound = self.watermark().map(|now| now.0.saturating_sub(self.allowed_lateness_ms));
        bound.is_some_and(|bound| time.0 < bound)
    }

    /// First day whose records are remembered by id. A day before the one that lateness reaches,
    /// because a zone that turns its clock back over midnight repeats part of a day.
    pub(crate) fn remembered(&self) -> Day {
        self.remembered
    }

    /// Takes a record's time into account.
    pub(crate) fn observe(&mut self, time: EventTime) {
        let seen = EventTime(time.0.saturating_sub(self.settle_ms));
        match self.state.now {
            Some((watermark, _)) if seen <= watermark => {}
            Some((_, open)) => self.advance(seen, open),
            None => {
                let open = self.calendar.local(seen).0;
                self.state.first_open = open;
                self.set(seen, open);
            }
        }
    }

    /// Closes a day and all before it; nothing when it is closed already.
    pub(crate) fn close(&mut self, day: Day) {
        let open = day.plus(1);
        match self.state.now {
            Some((_, already)) if already >= open => return,
            Some(_) => {}
            None => self.state.first_open = open,
        }
        let start = self.calendar.start_of(open);
        let watermark = self.watermark().map_or(start, |watermark| watermark.max(start));
        self.set(watermark, open);
    }

    fn set(&mut self, watermark: EventTime, open: Day) {
        self.end = self.calendar.start_of(open.plus(1));
        self.stale_at = EventTime(i64::MIN);
        self.advance(watermark, open);
    }

    fn advance(&mut self, watermark: EventTime, open: Day) {
        self.state.now = Some((watermark, open));
        if watermark >= self.stale_at {
            let reach = EventTime(watermark.0.saturating_sub(self.allowed_lateness_ms));
            let day = self.calendar.local(reach).0;
            self.remembered = day.plus(-1);
            let next = self.calendar.start_of(day.plus(1));
            self.stale_at = EventTime(next.0.saturating_add(self.allowed_lateness_ms));
        }
    }
}
