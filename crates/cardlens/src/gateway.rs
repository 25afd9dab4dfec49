//! `cardlens gateway`: SQL over running engines.
//!
//! A process of its own, so that no statement can touch the stream. It holds nothing but what
//! statements need while they run, and can be killed and started at will.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cardlens_engine::history::Files;
use cardlens_query::budget::Limits;
use cardlens_query::front::{Metrics, Role, Roles};
use cardlens_query::gateway::{Setup, serve};
use cardlens_query::pg::Tls;
use tokio::sync::watch;

use crate::config::{Config, Sql, Store};
use crate::health::Health;

/// How often the wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Threads for protocols.
const THREADS: usize = 2;

/// Reads what the configuration names: secrets, certificate and key. Nothing is served without
/// them, and nothing listens yet.
///
/// # Errors
/// A file that cannot be read.
pub fn setup(config: &Config, registry: &prometheus::Registry) -> Result<Setup> {
    let sql = &config.sql;
    let tls = match &sql.tls {
        Some((cert, key)) => {
            let read = Tls::read(cert, key).map_err(anyhow::Error::msg);
            Some(read.context("open the certificate and the key of [tls]")?)
        }
        None => None,
    };
    Ok(Setup {
        engines: sql.engines.clone(),
        history: config.history.map(|_| history(&config.state.store)).transpose()?,
        limits: limits(sql),
        roles: roles(sql)?,
        metrics: Metrics::register(registry).context("register the metrics")?,
        pgwire: None,
        flight: None,
        connections: usize::try_from(sql.max_connections).unwrap_or(usize::MAX),
        tls,
        loopback_without_password: sql.loopback_without_password,
        insecure: sql.insecure,
    })
}

fn history(store: &Store) -> Result<Files> {
    let files = match store {
        Store::Folder(folder) => Files::in_folder(folder),
        Store::Remote(remote) => Files::at(remote),
    };
    files.context("open the history")
}

fn limits(sql: &Sql) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        result_rows: u64::from(sql.result_rows),
        result_bytes: sql.result_bytes,
        memory_bytes: sql.memory_limit,
        statement_timeout: sql.statement_timeout,
        idle_timeout: sql.idle_timeout,
        running: count(sql.running),
        waiting: count(sql.waiting),
        ..Limits::default()
    }
}

fn roles(sql: &Sql) -> Result<Roles> {
    let mut roles = Roles::default();
    for role in &sql.roles {
        let secret = secret(&role.secret_file)
            .with_context(|| format!("read the secret of the role `{}`", role.name))?;
        let (name, mask) = (role.name.clone(), role.mask.clone());
        let relations = role.relations.clone();
        let (min_group, operator) = (role.min_group, role.operator);
        roles.add(Role { name, mask, relations, min_group, operator }, secret);
    }
    Ok(roles)
}

/// Reads a password; a line end at its end is dropped.
///
/// # Errors
/// The file cannot be read, or holds nothing.
pub(crate) fn secret(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let secret = text.trim_end_matches(['\r', '\n']).to_owned();
    anyhow::ensure!(!secret.is_empty(), "{} is empty", path.display());
    Ok(secret)
}

/// Listens where the configuration says.
///
/// # Errors
/// An address that is taken, or not of this machine.
pub fn listen(setup: &mut Setup, sql: &Sql) -> Result<()> {
    let bind = |key: &str, address: Option<&String>| {
        let bound = address.map(|address| {
            TcpListener::bind(address).with_context(|| format!("listen on `{address}` (`{key}`)"))
        });
        bound.transpose()
    };
    setup.pgwire = bind("sql.pgwire", sql.pgwire.as_ref())?;
    setup.flight = bind("sql.flight", sql.flight.as_ref())?;
    Ok(())
}

/// Serves until told to stop; says once that it is `ready`.
///
/// # Errors
/// A listener fails.
pub fn run(setup: Setup, health: &Health, stop: &Arc<AtomicBool>, ready: impl Fn()) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("protocol")
        .enable_all()
        .build()
        .context("start the runtime of the protocols")?;
    let (told, stopped) = watch::channel(false);
    health.waits_for("engines", "the engines were not heard of yet");
    let heard = |why: Option<String>| match why {
        Some(why) => health.waits_for("engines", why),
        None => {
            health.met("engines");
            ready();
        }
    };
    runtime.block_on(async {
        let asked = async {
            while !stop.load(Ordering::Acquire) {
                tokio::time::sleep(LOOK).await;
            }
            told.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = serve(setup, stopped, heard) => served.context("serve SQL"),
            () = asked => Ok(()),
        }
    })
}
