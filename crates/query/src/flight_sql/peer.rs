//! Connections of Flight: they take the places of those of the Postgres wire, and have as long to
//! log in.

use std::future::Future as _;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TlsConnectInfo};

use crate::front::{LOGIN, Metrics, Protocol};

/// The other end of a connection, as each of its requests knows it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: Option<IpAddr>,
    /// Held while a password is proved: nobody guesses faster by asking at once.
    pub(super) proving: Arc<Mutex<()>>,
    entered: Arc<AtomicBool>,
}

impl Peer {
    /// The peer of a request, and whether it is encrypted.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> (Option<Self>, bool) {
        let tls = request.extensions().get::<TlsConnectInfo<Self>>();
        let peer = tls.map(TlsConnectInfo::get_ref).or_else(|| request.extensions().get::<Self>());
        (peer.cloned(), tls.is_some())
    }

    /// Somebody was let in.
    pub(super) fn enter(&self) {
        self.entered.store(true, Ordering::Relaxed);
    }
}

/// A connection, which leaves its place when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    inner: TcpStream,
    peer: Peer,
    login: Pin<Box<Sleep>>,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
}

impl Socket {
    pub(super) fn new(inner: TcpStream, place: OwnedSemaphorePermit, metrics: Metrics) -> Self {
        let address = inner.peer_addr().ok().map(|address| address.ip().to_canonical());
        let peer = Peer { address, proving: Arc::default(), entered: Arc::default() };
        let login = Box::pin(tokio::time::sleep(LOGIN));
        metrics.connected(Protocol::FlightSql, true);
        Self { inner, peer, login, metrics, _place: place }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.metrics.connected(Protocol::FlightSql, false);
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let entered = self.peer.entered.load(Ordering::Relaxed);
        if !entered && self.login.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
