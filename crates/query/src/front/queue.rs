//! Who works, and who waits to: so many statements at one time, and a queue before them.
//!
//! Planning takes a turn as running does. Nothing here knows what a turn is used for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Fault, State};
use crate::budget::Limits;
use crate::budget::guard::Stop;

/// Leave to work; dropping it gives it to whoever waits longest.
pub(super) type Turn = OwnedSemaphorePermit;

/// The turns of a gateway.
#[derive(Debug)]
pub(super) struct Queue {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// `running` and `waiting`, for the messages.
    most: (usize, usize),
}

impl Queue {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(limits.running)),
            waiting: AtomicUsize::new(0),
            most: (limits.running, limits.waiting),
        }
    }

    /// A turn, unless others have all of them or wait for one.
    pub(super) fn at_once(&self) -> Option<Turn> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    /// Waits for a turn, until `deadline` at most.
    ///
    /// # Errors
    /// As many wait as may, or the time is over.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<Turn, Fault> {
        if let Some(turn) = self.at_once() {
            return Ok(turn);
        }
        let (running, waiting) = self.most;
        let _place = Place::enter(&self.waiting, waiting)?;
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(Fault::new(State::Shutdown, "the server is shutting down")),
            Err(_) => Err(Fault::new(
                State::Canceled,
                format!(
                    "canceling statement due to statement timeout while it waited for its turn: \
                     the limit `running` is {running}"
                ),
            )),
        }
    }

    /// As [`Queue::turn`], for a statement that may be stopped meanwhile.
    pub(super) async fn turn_unless(&self, stop: &Stop, deadline: Instant) -> Result<Turn, Fault> {
        tokio::select! {
            biased;
            fault = stop.asked() => Err(fault),
            turn = self.turn(deadline) => turn,
        }
    }
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn enter(waiting: &'a AtomicUsize, most: usize) -> Result<Self, Fault> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::AcqRel) >= most {
            return Err(Fault::new(
                State::TooManyConnections,
                format!("too many statements wait: the limit `waiting` is {most}"),
            ));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
