//! Asking the process to end, once politely.
//!
//! The first SIGTERM or SIGINT sets a flag that loops look at; a second one, or the end of the time
//! allowed, ends the process where it stands. That is safe: what is not committed is done again by
//! the next owner. It ends without running exit handlers, which could wait for threads of the
//! Kafka client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::exit::Code;

/// Whether the process was asked to end; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
}

impl Stop {
    /// Nobody asks but [`Stop::request`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens to signals from now on. After the first the process has `timeout` to end.
    ///
    /// # Errors
    /// The system does not let signals be caught, or has no thread left.
    pub fn on_signals(timeout: Duration) -> std::io::Result<Self> {
        let stop = Self::new();
        let asked = stop.clone();
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut deadline: Option<Sender<()>> = None;
            for signal in &mut signals {
                let name = low_level::signal_name(signal).unwrap_or("signal");
                if deadline.is_some() {
                    tracing::warn!(signal = name, "asked to end again, leaving at once");
                    low_level::exit(128 + signal);
                }
                tracing::info!(signal = name, ?timeout, "asked to end");
                asked.request();
                deadline = leave_after(timeout);
            }
        })?;
        Ok(stop)
    }

    /// Asks the process to end.
    pub fn request(&self) {
        self.flag.store(true, Ordering::Release);
    }

    /// Asks the process to end, and ends it when that takes longer than `timeout`. For a thread
    /// that has nothing else to do: it does not come back.
    pub fn leave_within(&self, timeout: Duration) -> ! {
        self.request();
        let _deadline = leave_after(timeout);
        loop {
            std::thread::park();
        }
    }

    /// Whether it was asked.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// The flag itself, for those who want nothing else.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }
}

/// Ends the process when the time is over. The sender only holds the other end open.
fn leave_after(timeout: Duration) -> Option<Sender<()>> {
    let (sender, receiver): (Sender<()>, Receiver<()>) = channel();
    let wait = move || {
        if receiver.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(?timeout, "not done in time, leaving the rest to the next owner");
            low_level::exit(i32::from(Code::Failed as u8));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("deadline".to_owned()).spawn(wait) {
        tracing::error!(%error, "start the deadline of the shutdown");
    }
    Some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag() {
        let stop = Stop::on_signals(Duration::from_secs(600)).unwrap();
        assert!(!stop.requested());
        low_level::raise(SIGTERM).unwrap();
        while !stop.requested() {
            std::thread::yield_now();
        }
        assert!(stop.flag().load(Ordering::Acquire));
    }
}
