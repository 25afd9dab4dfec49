//! A gateway over customers in memory, on a free port of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use cardlens_query::budget::Limits;
use cardlens_query::front::{Front, Role, Roles, surroundings};
use cardlens_query::pg;
use cardlens_query::relations::{Catalog, Fixed};
use tokio::sync::{oneshot, watch};

/// Customers of every test.
pub const CUSTOMERS: u32 = 1_000;

/// A front whose customers are in memory.
pub async fn front(limits: Limits) -> Front {
    let (config, runtime) = surroundings(&limits).unwrap();
    let fixed = Fixed::sample(CUSTOMERS, 4).unwrap();
    let catalog = Catalog::fixed(fixed).with_session(config, runtime);
    let mut roles = Roles::default();
    roles.add(Role { name: "analyst".into(), ..Role::default() }, "s3cret".into());
    Front::new(Arc::new(catalog), limits, roles).await.unwrap()
}

/// A running gateway; it ends when it is dropped.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts one that lets whoever is on this machine in, or asks everybody for a password.
    pub fn start(limits: Limits, connections: usize, without_password: bool) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (told, address) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let front = Arc::new(front(limits).await);
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let options = pg::Options {
                    connections,
                    tls: None,
                    loopback_without_password: without_password,
                    insecure: false,
                };
                pg::serve(listener, front, options, Arc::default(), stopped).await.unwrap();
            });
        };
        let thread = std::thread::spawn(run);
        let address = address.blocking_recv().unwrap();
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
