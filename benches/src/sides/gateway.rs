//! A gateway over one engine, with the default bounds, for the Postgres wire alone.

use std::io::BufRead as _;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use cardlens_query::budget::Limits;
use cardlens_query::front::{Metrics, Roles};
use cardlens_query::gateway::{Setup, serve};
use tokio::sync::watch;

use super::say;
use crate::measure::spent;

/// Longest time until it has heard of the engine.
const WAIT: Duration = Duration::from_secs(60);
/// Threads for protocols, as the product has them.
const THREADS: usize = 2;
/// Most connections.
const CONNECTIONS: usize = 10;

/// Serves until nobody asks any more. Says the port that it listens on, then, whenever it is asked,
/// how many CPU seconds it has spent.
///
/// # Errors
/// It does not hear of the engine, or stops for a reason of its own.
pub fn run(engine: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let port = listener.local_addr()?.port();
    let setup = Setup {
        engines: vec![engine.to_owned()],
        history: None,
        limits: Limits::default(),
        roles: Roles::default(),
        metrics: Metrics::register(&prometheus::Registry::new())?,
        pgwire: Some(listener),
        flight: None,
        connections: CONNECTIONS,
        tls: None,
        loopback_without_password: true,
        insecure: false,
    };
    let (stop, stopped) = watch::channel(false);
    let (tell, told) = channel();
    let serving = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .context("start the gateway")?;
        let heard = |why: Option<String>| {
            // Nobody listens any more once it was ready for the first time.
            drop(tell.send(why));
        };
        runtime.block_on(serve(setup, stopped, heard)).context("serve SQL")
    });
    let mut why = Some(String::new());
    while why.is_some() {
        let silent =
            format!("the gateway has not heard of the engine: {}", why.unwrap_or_default());
        why = told.recv_timeout(WAIT).context(silent)?;
    }
    say(&port)?;
    for question in std::io::stdin().lock().lines() {
        question?;
        say(&spent()?)?;
    }
    stop.send_replace(true);
    serving.join().map_err(|_| anyhow!("the gateway panicked"))?
}
