//! The listener, and the loop over the messages of one connection.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::{
    ClientInfo, NoopHandler, PgWireConnectionState, RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::PgWireError;
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::server::{negotiate_tls, process_error, process_message};
use futures::{SinkExt, Stream};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::login::{Door, Login, Proofs, Tls};
use super::{Handler, Parsed};
use crate::front::{Fault, Front, LOGIN, Protocol, State};
use crate::session::Session;

/// Largest message of a client: a text at its limit and parameters.
const MESSAGE_BYTES: usize = 4 << 20;
/// How often a client that waits is looked after.
const LOOK: Duration = Duration::from_millis(250);
/// Time for the word of refusal to a client too many.
const REFUSE: Duration = Duration::from_secs(2);

/// How connections are taken.
#[derive(Clone)]
pub struct Options {
    /// Places of connections, those of other protocols among them.
    pub places: Arc<Semaphore>,
    /// Encrypts connections that ask for it.
    pub tls: Option<Tls>,
    /// Whoever is on this machine comes in without a password.
    pub loopback_without_password: bool,
    /// Takes passwords from other machines without encryption.
    pub insecure: bool,
}

/// Connections by the number and secret with which a client cancels.
#[derive(Default)]
pub struct Registry {
    sessions: Mutex<BTreeMap<(i32, Bytes), Arc<Session>>>,
}

impl Registry {
    pub(super) fn enter(
        self: &Arc<Self>,
        number: i32,
        secret: Bytes,
        session: &Arc<Session>,
    ) -> Entry {
        let key = (number, secret);
        self.lock().insert(key.clone(), Arc::clone(session));
        Entry { registry: Arc::clone(self), key }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(i32, Bytes), Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that have logged in.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().len()
    }
}

/// Leaves the registry with its connection.
pub(super) struct Entry {
    registry: Arc<Registry>,
    key: (i32, Bytes),
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.key);
    }
}

struct Cancels(Arc<Registry>);

#[async_trait]
impl CancelHandler for Cancels {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let key = (request.pid, request.secret_key.to_bytes());
        let session = self.0.lock().get(&key).map(Arc::clone);
        if let Some(session) = session {
            session.cancel();
        }
    }
}

/// Serves connections until told to stop; then ends those that are left.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    options: Options,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let door = Arc::new(Door {
        roles: front.roles.clone(),
        proofs: Arc::new(Proofs::new(&front.roles)),
        tls: options.tls,
        loopback_without_password: options.loopback_without_password,
        insecure: options.insecure,
        registry,
        numbers: RandomPidSecretKeyGenerator::default(),
    });
    let places = options.places;
    // Refusals take a few places of their own, so that they cannot be used to fill memory.
    let refusals = Arc::new(Semaphore::new(16));
    let mut connections = JoinSet::new();
    loop {
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = asked(&mut stop) => break,
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (door, handler) = (Arc::clone(&door), Handler { front: Arc::clone(&front) });
            let stop = stop.clone();
            let metrics = front.metrics.clone();
            metrics.connected(Protocol::Postgres, true);
            connections.spawn(async move {
                if let Err(error) = connection(socket, door, handler, stop).await {
                    debug!(%peer, %error, "connection ended");
                }
                metrics.connected(Protocol::Postgres, false);
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            connections.spawn(async move {
                drop(tokio::time::timeout(REFUSE, refuse(socket, peer)).await);
                drop(place);
            });
        }
    }
    info!(connections = connections.len(), "closing connections");
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Waits until the server is to stop; forgotten is stopped.
async fn asked(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Tells a client that there is no place for it. It may ask for encryption first.
async fn refuse(mut socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
    info!(%peer, "connection refused: too many");
    let mut head = [0_u8; 8];
    loop {
        tokio::io::AsyncReadExt::read_exact(&mut socket, &mut head).await?;
        let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        // The requests for TLS and for GSSAPI.
        if code != 80_877_103 && code != 80_877_104 {
            break;
        }
        socket.write_all(b"N").await?;
    }
    let code = State::TooManyConnections.code();
    let body = format!(
        "SFATAL\0VFATAL\0C{code}\0Msorry, too many clients already: the limit \
         `max_connections` is reached\0\0"
    );
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    socket.write_all(b"E").await?;
    socket.write_all(&length.to_be_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}

type Connection<S> = tokio_util::codec::Framed<
    datafusion_postgres::pgwire::tokio::server::MaybeTls,
    datafusion_postgres::pgwire::tokio::server::PgWireMessageServerCodec<S>,
>;

async fn connection(
    socket: TcpStream,
    door: Arc<Door>,
    handler: Handler,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // The second handle on the socket only looks whether the first one's peer is still there.
    let socket = socket.into_std()?;
    let look = TcpStream::from_std(socket.try_clone()?)?;
    let socket = TcpStream::from_std(socket)?;
    let login = tokio::time::sleep(LOGIN);
    tokio::pin!(login);
    let acceptor = door.tls.as_ref().map(|tls| tls.acceptor.clone());
    let negotiated = tokio::select! {
        () = &mut login => return Ok(()),
        negotiated = negotiate_tls::<Parsed>(socket, acceptor) => negotiated?,
    };
    let Some(mut socket) = negotiated else { return Ok(()) };
    let startup = Arc::new(Login::new(Arc::clone(&door)));
    let cancel = Arc::new(Cancels(Arc::clone(&door.registry)));
    let handler = Arc::new(handler);
    loop {
        let before = matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup
                | PgWireConnectionState::AuthenticationInProgress
        );
        let received = tokio::select! {
            () = &mut login, if before => return Ok(()),
            () = asked(&mut stop) => return farewell(&mut socket).await,
            received = receive(&mut socket) => received,
        };
        let message = match received {
            None => return Ok(()),
            Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(error)) => return process_error(&mut socket, fatal(&error), false).await,
        };
        let extended = message.is_extended_query();
        let copy = Arc::new(NoopHandler);
        let (login, simple) = (Arc::clone(&startup), Arc::clone(&handler));
        let work = process_message(
            message,
            &mut socket,
            login,
            simple,
            Arc::clone(&handler),
            copy,
            Arc::clone(&cancel),
        );
        let Some(worked) = until_gone(work, &look).await else { return Ok(()) };
        if let Err(error) = worked {
            process_error(&mut socket, error, extended).await?;
        }
    }
}

/// The next message, or an error when a client sends one that is too large.
async fn receive<S>(
    socket: &mut Connection<S>,
) -> Option<Result<PgWireFrontendMessage, PgWireError>> {
    poll_fn(|context| match std::pin::Pin::new(&mut *socket).poll_next(context) {
        Poll::Pending if socket.read_buffer().len() > MESSAGE_BYTES => {
            Poll::Ready(Some(Err(Fault::fatal(
                State::ProtocolViolation,
                format!("message passes the limit `message`: at most {MESSAGE_BYTES} bytes"),
            )
            .into())))
        }
        other => other,
    })
    .await
}

/// An error after which the stream of messages cannot be trusted.
fn fatal(error: &PgWireError) -> PgWireError {
    let message = match error {
        PgWireError::UserError(told) => told.message.clone(),
        other => other.to_string(),
    };
    Fault::fatal(State::ProtocolViolation, message).into()
}

/// Works until done, or until the client has gone: then what it asked for ends too.
async fn until_gone<T>(work: impl Future<Output = T>, look: &TcpStream) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            worked = &mut work => return Some(worked),
            () = tokio::time::sleep(LOOK) => {}
        }
        // Bytes that wait to be read are no news: only a closed end is.
        let ready = tokio::time::timeout(Duration::ZERO, look.ready(Interest::READABLE)).await;
        if let Ok(Ok(ready)) = ready
            && ready.is_read_closed()
        {
            return None;
        }
    }
}

async fn farewell<S>(socket: &mut Connection<S>) -> io::Result<()>
where
    S: Send + Sync + Clone + 'static,
{
    let fault = Fault::fatal(State::Shutdown, "terminating connection: the server shuts down");
    let told: datafusion_postgres::pgwire::error::ErrorInfo = PgWireError::from(fault).into();
    socket.send(PgWireBackendMessage::ErrorResponse(told.into())).await?;
    socket.close().await
}
