//! `/metrics`, `/livez` and `/readyz`.
//!
//! One thread with a runtime of its own, so that answers do not wait for the engine and the engine
//! never for answers. Every connection has limits in time, size and number: this port is often
//! reachable for more than those it is meant for. Nothing is changed over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::health::Health;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Longest a request line with its headers may take, and a connection stay silent.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest a connection is kept, however busy.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a request line with its headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Longest that open answers are waited for at the end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen on `{address}` (`{key}`)")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// As configured.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The thread or its runtime could not be made.
    #[error("start the HTTP thread")]
    Start(#[source] std::io::Error),
}

/// A listener that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    registry: Registry,
    health: Health,
}

impl Server {
    /// Listens on `address`, a `host:port` by the configuration's `key`, and serves from a thread of
    /// its own.
    ///
    /// # Errors
    /// The address is taken, not of this machine or not allowed; or there is no thread to be had.
    pub fn start(
        (key, address): (&'static str, &str),
        registry: Registry,
        health: Health,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Listen { key, address: address.to_owned(), source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Error::Start)?;
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let (stop, stopped) = watch::channel(false);
        let router = router(Shared { registry, health });
        let serve = move || runtime.block_on(serve(listener, router, stopped));
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(serve);
        Ok(Self { address: bound, stop: Some(stop), thread: Some(thread.map_err(Error::Start)?) })
    }

    /// Where it really listens: port 0 was replaced by one that was free.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, lets open answers finish for a moment, and ends the thread.
    pub fn stop(mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("http thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leave();
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is /metrics, /livez and /readyz\n") })
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match TextEncoder::new().encode_to_string(&shared.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "encode metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n").into_response()
        }
    }
}

async fn livez(State(shared): State<Shared>) -> Response {
    match shared.health.why_dead() {
        None => "alive\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let report = shared.health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.unwrap_or_default().split('&').any(|part| {
        part == "verbose" || part.strip_prefix("verbose=").is_some_and(|value| value != "false")
    });
    if verbose {
        let body = serde_json::to_vec(&report).expect("a report has text keys and finite values");
        return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let text = if report.ready { "ready".to_owned() } else { report.reasons.join("\n") };
    (status, text + "\n").into_response()
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Those that ended are let go, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            // An error is the sender's end, which means the same.
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    connection(stream, router, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Most often too many open files: others have to close some first.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LEAVE_TIMEOUT, all).await.is_err() {
        tracing::debug!("http connections left open");
    }
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = tokio::time::sleep(CONNECTION_TIMEOUT) => {
            connection.as_mut().graceful_shutdown();
            return;
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "http connection");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::health::PartitionHealth;

    const FREE: (&str, &str) = ("http.engine", "127.0.0.1:0");

    /// Sends a request as it is and reads until the other end closes.
    fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn get(server: &Server, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        exchange(server.address(), &request)
    }

    #[test]
    fn answers() {
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("cardlens_things_total", "Things.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let health = Health::starting();
        let server = Server::start(FREE, registry, health.clone()).unwrap();

        let metrics = get(&server, "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("\ncardlens_things_total 1\n"), "{metrics}");

        let ready = get(&server, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("\r\nstarting\n"), "{ready}");
        assert!(get(&server, "/livez").starts_with("HTTP/1.1 200"));
        health.met("start");
        health.partition(4, Some(PartitionHealth::Running));
        assert!(get(&server, "/readyz").ends_with("\r\nready\n"));
        health.partition(7, Some(PartitionHealth::Stopped("input gap".into())));
        let verbose = get(&server, "/readyz?verbose");
        let (head, body) = verbose.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = serde_json::json!({
            "ready": false,
            "reasons": ["partition 7 is stopped: input gap"],
            "partitions": {
                "4": {"state": "running"},
                "7": {"state": "stopped", "why": "input gap"},
            },
        });
        assert_eq!(body, expected);
        health.dead("worker is gone");
        assert!(get(&server, "/livez").ends_with("\r\nworker is gone\n"));

        assert!(get(&server, "/").starts_with("HTTP/1.1 404"));
        let request = "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(exchange(server.address(), request).starts_with("HTTP/1.1 405"));
        let long = format!("/{}", "a".repeat(2 * HEADER_BYTES_MAX));
        assert!(get(&server, &long).starts_with("HTTP/1.1 4"));
        let address = server.address();
        server.stop();
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn leaving_does_not_wait_for_idle_connections() {
        let server = Server::start(FREE, Registry::new(), Health::starting()).unwrap();
        let mut open = std::net::TcpStream::connect(server.address()).unwrap();
        open.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        open.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        server.stop();
        let mut rest = Vec::new();
        open.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"alive\n"));
    }

    #[test]
    fn a_taken_address_says_so() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let place = ("http.gateway", address.as_str());
        let error = Server::start(place, Registry::new(), Health::starting()).unwrap_err();
        assert_eq!(error.to_string(), format!("listen on `{address}` (`http.gateway`)"));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("in use"), "{cause}");
    }
}
