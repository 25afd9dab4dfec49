//! A proxy that understands the frames of Kafka's protocol just enough to delay one of them.
//!
//! It holds one request back and drops the connection that it came on, as a network might: the
//! client connects again and repeats the request. The held copy reaches the broker later, in the
//! midst of another transaction, over a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::broker::free_ports;

/// Requests by their number in the protocol.
pub mod api {
    /// Adds the group's offsets to a transaction.
    pub const ADD_OFFSETS_TO_TXN: i16 = 25;
    /// Ends a transaction.
    pub const END_TXN: i16 = 26;
    /// Writes offsets in a transaction.
    pub const TXN_OFFSET_COMMIT: i16 = 28;
}

/// What to hold and when to let it go.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    /// The next request of this kind is held.
    pub hold: i16,
    /// It is delivered just before a request of this kind …
    pub before: i16,
    /// … which is the n-th of them since, the first being 1.
    pub nth: usize,
}

#[derive(Default)]
struct State {
    delay: Option<Delay>,
    held: Option<Vec<u8>>,
    passed: usize,
    /// The error codes, or what else the broker answered to delivered copies.
    answers: Vec<Vec<u8>>,
    streams: Vec<TcpStream>,
}

/// A proxy in front of one broker.
pub struct Proxy {
    port: u16,
    to: Arc<AtomicU16>,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    frozen: Arc<Mutex<Option<String>>>,
}

impl Proxy {
    /// Listens, and refuses until it is told where the broker is.
    ///
    /// # Errors
    /// There is no port left.
    pub fn start() -> Result<Self> {
        let [port, _] = free_ports()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, frozen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let to = Arc::new(AtomicU16::new(0));
        let proxy = Self { port, to: Arc::clone(&to), state, stop, frozen };
        let (state, stop) = (Arc::clone(&proxy.state), Arc::clone(&proxy.stop));
        let frozen = Arc::clone(&proxy.frozen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // A broker that is away refuses; so does the proxy then.
                let to = to.load(Ordering::Relaxed);
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let pipe = Pipe { to, state: Arc::clone(&state), frozen: Arc::clone(&frozen) };
                drop(pipe.spawn(client, broker));
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads to the broker at this port.
    pub fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::Relaxed);
    }

    /// Holds the next request of a kind.
    pub fn delay(&self, delay: Delay) {
        let mut state = self.state.lock().unwrap();
        *state = State {
            delay: Some(delay),
            streams: std::mem::take(&mut state.streams),
            ..State::default()
        };
    }

    /// What the broker answered to the copy, if it was delivered: everything behind the
    /// correlation id.
    #[must_use]
    pub fn answer(&self) -> Option<Vec<u8>> {
        self.state.lock().unwrap().answers.first().map(|answer| answer[4..].to_vec())
    }

    /// Keeps requests of a client with this id back, without closing anything, until another one
    /// is named or none.
    pub fn freeze(&self, client: Option<&str>) {
        *self.frozen.lock().unwrap() = client.map(str::to_owned);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        for stream in &self.state.lock().unwrap().streams {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

struct Pipe {
    to: u16,
    state: Arc<Mutex<State>>,
    frozen: Arc<Mutex<Option<String>>>,
}

impl Pipe {
    fn spawn(self, client: TcpStream, broker: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (mut from, mut to) = (broker.try_clone()?, client.try_clone()?);
        self.state.lock().unwrap().streams.extend([client.try_clone()?, broker.try_clone()?]);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            drop(to.shutdown(Shutdown::Both));
        });
        thread::spawn(move || {
            drop(self.requests(&client, &broker));
            drop(client.shutdown(Shutdown::Both));
            drop(broker.shutdown(Shutdown::Both));
        });
        Ok(())
    }

    /// Passes requests on until one is held back, which ends the connection.
    fn requests(&self, mut client: &TcpStream, mut broker: &TcpStream) -> std::io::Result<()> {
        loop {
            let frame = frame(&mut client)?;
            self.thaw(&frame);
            if self.holds(&frame) {
                return Ok(());
            }
            broker.write_all(&frame)?;
        }
    }

    fn thaw(&self, frame: &[u8]) {
        let len = usize::from(u16::from_be_bytes([frame[12], frame[13]]));
        let client = String::from_utf8_lossy(frame.get(14..14 + len).unwrap_or_default());
        while self.frozen.lock().unwrap().as_deref() == Some(&*client) {
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn holds(&self, frame: &[u8]) -> bool {
        let kind = i16::from_be_bytes([frame[4], frame[5]]);
        let mut state = self.state.lock().unwrap();
        let Some(delay) = state.delay else { return false };
        if state.held.is_none() {
            if kind == delay.hold {
                state.held = Some(frame.to_vec());
                return true;
            }
            return false;
        }
        if kind == delay.before {
            state.passed += 1;
            if state.passed == delay.nth {
                state.delay = None;
                let held = state.held.take().unwrap_or_default();
                let answer = deliver(self.to, &held).unwrap_or_default();
                state.answers.push(answer);
            }
        }
        false
    }
}

/// Gives the copy to the broker and returns the answer.
fn deliver(to: u16, held: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut broker = TcpStream::connect(("127.0.0.1", to))?;
    broker.write_all(held)?;
    Ok(frame(&mut broker)?.split_off(4))
}

/// One frame with its length in front.
fn frame(from: &mut impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut frame = len.to_vec();
    let size = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    frame.resize(4 + size, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}
