//! How simulated time runs against the wall.

use std::time::Duration;

use cardlens_model::DAY_MS;

/// History at full speed up to some instant, and from there on a simulated day in a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    live_from_ms: i64,
    day: Duration,
}

impl Pace {
    /// Full speed before `live_from_ms`, then one day in `day`; with zero, full speed for ever.
    #[must_use]
    pub fn new(live_from_ms: i64, day: Duration) -> Self {
        Self { live_from_ms, day }
    }

    /// How long after the beginning of live time a record of `time_ms` is due; zero for history.
    #[must_use]
    pub fn due(&self, time_ms: i64) -> Duration {
        let live_ms = time_ms.saturating_sub(self.live_from_ms).max(0).unsigned_abs();
        let nanos = u128::from(live_ms) * self.day.as_nanos() / u128::from(DAY_MS.unsigned_abs());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether a record of `time_ms` belongs to the history.
    #[must_use]
    pub fn is_history(&self, time_ms: i64) -> bool {
        time_ms < self.live_from_ms
    }
}
