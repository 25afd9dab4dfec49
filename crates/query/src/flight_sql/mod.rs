//! Flight SQL: results as Arrow, for clients that want columns.
//!
//! Stateless but for logins and running statements: a query and its parameters travel in the
//! handle, so that any gateway can serve a ticket of another. A statement ends when its stream is
//! dropped, or when a client cancels it by the ticket it was given.

mod answers;
mod gaps;
mod handle;
mod login;
mod peer;
mod service;

pub(crate) use gaps::{PARTIAL, gaps};
pub use login::Tokens;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::SqlInfo;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use futures::StreamExt;
use peer::Socket;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tracing::info;

use crate::budget::guard::Stop;
use crate::front::{Fault, Front, State};
use crate::scan::without_delay;

/// Largest message that a client may send: a query with parameters.
const MESSAGE_BYTES: usize = 4 << 20;
/// Longest silence of a connection before it is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// How Flight connections are taken.
#[derive(Clone)]
pub struct Options {
    /// Certificate and key as PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Whoever is on this machine comes in without a password.
    pub loopback_without_password: bool,
    /// Takes passwords from other machines without encryption.
    pub insecure: bool,
    /// Requests that one connection may have open.
    pub requests: u32,
    /// Places of connections, those of other protocols among them.
    pub places: Arc<Semaphore>,
}

/// The service.
#[derive(Clone)]
pub struct Service {
    front: Arc<Front>,
    tokens: Arc<Tokens>,
    running: Arc<Running>,
    info: Arc<SqlInfoData>,
    options: Arc<Options>,
}

/// Statements that run, by the number in their ticket.
#[derive(Default)]
struct Running(Mutex<BTreeMap<u64, Arc<Stop>>>);

impl Running {
    fn enter(self: &Arc<Self>, number: u64, stop: &Arc<Stop>) -> Entry {
        self.lock().insert(number, Arc::clone(stop));
        Entry { running: Arc::clone(self), number }
    }

    fn cancel(&self, number: u64) -> bool {
        let stop = self.lock().get(&number).map(Arc::clone);
        stop.inspect(|stop| stop.cancel()).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Stop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the map when its stream ends.
struct Entry {
    running: Arc<Running>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.number);
    }
}

impl Service {
    /// A service over a front.
    ///
    /// # Errors
    /// What it tells of itself cannot be written down.
    pub fn new(front: Arc<Front>, options: Options) -> Result<Self, Fault> {
        let mut info = SqlInfoDataBuilder::new();
        info.append(SqlInfo::FlightSqlServerName, "cardlens");
        info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
        info.append(SqlInfo::FlightSqlServerReadOnly, true);
        info.append(SqlInfo::FlightSqlServerSql, true);
        info.append(SqlInfo::FlightSqlServerSubstrait, false);
        info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
        info.append(SqlInfo::FlightSqlServerCancel, true);
        info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
        let info = info.build().map_err(|e| Fault::new(State::Internal, e.to_string()))?;
        let (tokens, running) = (Arc::default(), Arc::default());
        Ok(Self { front, tokens, running, info: Arc::new(info), options: Arc::new(options) })
    }
}

/// Serves Flight SQL until told to stop.
///
/// # Errors
/// The certificate is none, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    // An answer is open until it was read: a bound of the calls alone would end with its first word.
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(service.options.requests);
    if let Some((certificate, key)) = &service.options.identity {
        let identity = Identity::from_pem(certificate, key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .map_err(io::Error::other)?;
    }
    let (places, metrics) = (Arc::clone(&service.options.places), service.front.metrics.clone());
    let accepted = TcpListenerStream::new(listener).inspect(without_delay);
    let incoming = accepted.filter_map(move |accepted| {
        let taken = accepted.map(|socket| match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Some(Socket::new(socket, place, metrics.clone())),
            Err(_) => {
                let peer = socket.peer_addr().ok().map(tracing::field::display);
                info!(peer, "connection refused: the limit `max_connections` is reached");
                None
            }
        });
        std::future::ready(taken.transpose())
    });
    let service = FlightServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX);
    let asked = async move { drop(stop.wait_for(|stop| *stop).await) };
    server
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, asked)
        .await
        .map_err(io::Error::other)
}
