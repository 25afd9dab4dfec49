//! The gateway as one thing: a front over engines, and the protocols that it is asked by.
//!
//! Protocols share the runtime that calls [`serve`]; statements have one of their own. Until the
//! engines have been heard of nothing is accepted, so that a client never meets a gateway that
//! knows no relation. Limits keep what statements may ask of the planner; should it nevertheless
//! never return, the gateway ends itself for its supervisor to start anew: it holds nothing.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use cardlens_engine::history::Files;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::budget::Limits;
use crate::front::{Fault, Front, Metrics, Roles, surroundings};
use crate::relations::Catalog;
use crate::{flight_sql, pg};

/// Wait between two attempts to hear of the engines.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest time between two lines of the log that say so.
const SAID_AGAIN: Duration = Duration::from_secs(30);

/// Longest time that the threads for statements may take nothing up: far more than planning within
/// the limits takes, or a step of a plan.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a gateway is made of.
pub struct Setup {
    /// `host:port` of scan endpoints.
    pub engines: Vec<String>,
    /// Files of what was, where they are read.
    pub history: Option<Files>,
    /// What statements may cost.
    pub limits: Limits,
    /// Who may ask.
    pub roles: Roles,
    /// What is counted.
    pub metrics: Metrics,
    /// Where the Postgres wire listens.
    pub pgwire: Option<TcpListener>,
    /// Where Flight SQL listens.
    pub flight: Option<TcpListener>,
    /// Most connections, of both protocols together.
    pub connections: usize,
    /// Encrypts both.
    pub tls: Option<pg::Tls>,
    /// Whoever is on this machine comes in without a password.
    pub loopback_without_password: bool,
    /// Takes passwords from other machines without encryption.
    pub insecure: bool,
}

/// Serves until told to stop. `heard` is told why the gateway is not ready, and of its being so.
///
/// # Errors
/// A listener fails, or statements do not come to an end.
pub async fn serve(
    setup: Setup,
    mut stop: watch::Receiver<bool>,
    heard: impl Fn(Option<String>),
) -> io::Result<()> {
    let (config, runtime) = surroundings(&setup.limits).map_err(io::Error::other)?;
    let catalog = Catalog::new(setup.engines.clone()).with_session(config, runtime);
    let catalog = catalog.with_history(setup.history.clone());
    let catalog = Arc::new(catalog);
    let mut reminder = Reminder::default();
    let front = loop {
        let made = Front::new(
            Arc::clone(&catalog),
            setup.limits.clone(),
            setup.roles.clone(),
            setup.metrics.clone(),
        );
        match made.await {
            Ok(front) => break Arc::new(front),
            Err(Fault { message, .. }) => {
                if reminder.is_due(Instant::now()) {
                    warn!(reason = message, "waiting for the engines");
                }
                heard(Some(message));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    };
    if reminder.last.is_some() {
        info!("the engines answer");
    }
    heard(None);
    let places = Arc::new(Semaphore::new(setup.connections));
    let wire = postgres(&setup, Arc::clone(&front), Arc::clone(&places), stop.clone());
    let flight = flight(&setup, Arc::clone(&front), places, stop);
    tokio::select! {
        served = async { tokio::try_join!(wire, flight) } => served.map(drop),
        () = front.stuck(PATIENCE) => Err(io::Error::other(format!(
            "statements have kept every thread busy for {} s without a pause",
            PATIENCE.as_secs()
        ))),
    }
}

/// When to say again what has been said: after twice the time each time, up to [`SAID_AGAIN`].
#[derive(Debug, Default)]
struct Reminder {
    /// When it was said last.
    last: Option<Instant>,
    pause: Duration,
}

impl Reminder {
    /// Whether to say it now, which counts as said.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.last.is_some_and(|last| now < last + self.pause) {
            return false;
        }
        self.last = Some(now);
        self.pause = (self.pause * 2).clamp(AGAIN * 2, SAID_AGAIN);
        true
    }
}

async fn postgres(
    setup: &Setup,
    front: Arc<Front>,
    places: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Some(listener) = &setup.pgwire else { return Ok(()) };
    let options = pg::Options {
        places,
        tls: setup.tls.clone(),
        loopback_without_password: setup.loopback_without_password,
        insecure: setup.insecure,
    };
    pg::serve(listening(listener)?, front, options, Arc::default(), stop).await
}

async fn flight(
    setup: &Setup,
    front: Arc<Front>,
    places: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Some(listener) = &setup.flight else { return Ok(()) };
    let options = flight_sql::Options {
        identity: setup.tls.as_ref().map(pg::Tls::identity),
        loopback_without_password: setup.loopback_without_password,
        insecure: setup.insecure,
        requests: 64,
        places,
    };
    let service = flight_sql::Service::new(front, options).map_err(io::Error::other)?;
    flight_sql::serve(listening(listener)?, service, stop).await
}

fn listening(listener: &TcpListener) -> io::Result<tokio::net::TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_at_once_and_then_more_seldom() {
        let start = Instant::now();
        let mut reminder = Reminder::default();
        let due = |second: &u64| reminder.is_due(start + Duration::from_secs(*second));
        let said: Vec<u64> = (0..150).filter(due).collect();
        assert_eq!(said, [0, 2, 6, 14, 30, 60, 90, 120]);
    }
}
