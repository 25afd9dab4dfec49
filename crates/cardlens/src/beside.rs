//! The gateway beside the demo: this program once more, watched and started again when it dies.
//!
//! A process of its own for the reason that makes it one everywhere: no statement can touch the
//! stream, and one that brings it down brings down nothing else. It is told where the engine is by
//! environment variables, over whatever configuration the demo was given. It ends with its
//! standard input, which this process holds: so it never outlives the demo, however that ends.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How often the process and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for the right moment to start.
const MOMENT: Duration = Duration::from_secs(2);
/// Wait before it is started again; twice as long after each failure, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Starts in a row that come to nothing before it is given up.
const STARTS: u32 = 4;
/// Longest that it takes to end.
const LEAVE: Duration = Duration::from_secs(2);
/// Lines of its log that are kept, and bytes of one.
const LOG: (usize, u64) = (50, 4_096);

/// What the gateway says on standard output once it answers.
pub const READY: &str = "ready";

/// A gateway to start and to watch.
#[derive(Debug, Clone)]
pub struct Beside {
    /// The scan endpoint of the engine.
    pub engine: SocketAddr,
    /// Configuration of the demo.
    pub config: Vec<PathBuf>,
    /// Where the Postgres wire should listen; a free port when that one is taken.
    pub pgwire: Option<String>,
    /// Where Flight SQL should listen; the same.
    pub flight: Option<String>,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, Default)]
struct Addresses {
    pgwire: Option<SocketAddr>,
    flight: Option<SocketAddr>,
}

/// How one life of it ended.
struct Ended {
    /// Whether it ever answered.
    answered: bool,
    why: String,
}

impl Beside {
    /// Starts the gateway once it is `time` for that, and again when it dies, until told to stop;
    /// `notes` gets a line for everything that people should know.
    pub fn watch(&self, time: impl Fn() -> bool, notes: &Sender<String>, stop: &AtomicBool) {
        let asked = || stop.load(Ordering::Relaxed);
        wait(MOMENT, || time() || asked());
        let note = |text: String| drop(notes.send(text));
        let mut addresses = Addresses::default();
        let (mut pause, mut failures) = (PAUSES.0, 0);
        while !asked() {
            let ended = self.live(&mut addresses, &note, stop);
            if asked() {
                return;
            }
            let Ended { answered, why } =
                ended.unwrap_or_else(|error| Ended { answered: false, why: format!("{error:#}") });
            if answered {
                (pause, failures) = (PAUSES.0, 0);
            }
            failures += u32::from(!answered);
            if failures == STARTS {
                return note(format!("  sql     none: the gateway does not start: {why}"));
            }
            note(format!("  sql     the gateway ended ({why}); started again in {pause:?}"));
            wait(pause, asked);
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// One life of the process, from its start until nothing of it is left.
    fn live(
        &self,
        addresses: &mut Addresses,
        note: &impl Fn(String),
        stop: &AtomicBool,
    ) -> Result<Ended> {
        *addresses = self.choose(*addresses)?;
        let mut child = self.command(*addresses)?.spawn().context("start the gateway")?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            let lines = hear(scope, &mut child);
            let mut heard = Heard { lines, answered: false, log: Vec::new() };
            let status = loop {
                if heard.listen() {
                    note(addresses.told());
                }
                if let Some(status) = child.try_wait().context("wait for the gateway")? {
                    break status;
                }
                if stop.load(Ordering::Relaxed) {
                    drop(stdin);
                    break end(&mut child)?;
                }
            };
            while heard.next().is_some() {}
            Ok(Ended { answered: heard.answered, why: heard.why(status) })
        })
    }

    /// Addresses that are free: those of before, those that were asked for, or any.
    fn choose(&self, before: Addresses) -> Result<Addresses> {
        // Each is held until all are found, so that no two are the same.
        let mut held = Vec::new();
        let mut choose = |wanted: &Option<String>, before: Option<SocketAddr>| {
            let Some(wanted) = wanted else { return Ok(None) };
            let wanted = before.map_or_else(|| wanted.clone(), |before| before.to_string());
            let host = wanted.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            let listener = TcpListener::bind(&wanted)
                .or_else(|_| TcpListener::bind(format!("{host}:0")))
                .with_context(|| format!("find a free port at `{host}`"))?;
            let address = listener.local_addr().context("find a free port")?;
            held.push(listener);
            anyhow::Ok(Some(address))
        };
        let pgwire = choose(&self.pgwire, before.pgwire)?;
        Ok(Addresses { pgwire, flight: choose(&self.flight, before.flight)? })
    }

    fn command(&self, addresses: Addresses) -> Result<Command> {
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        let text = |address: Option<SocketAddr>| address.map_or(String::new(), |at| at.to_string());
        let words: [OsString; 4] =
            ["gateway", "--attended", "--shutdown-timeout", "1s"].map(OsString::from);
        command
            .args(words)
            .args(self.config.iter().flat_map(|path| [OsString::from("-c"), path.into()]))
            // Nobody reads its log but for the reason of its end.
            .args(["-qq", "--log-format", "text", "--color", "never"])
            .env("CARDLENS__GATEWAY__ENGINES", self.engine.to_string())
            .env("CARDLENS__SQL__PGWIRE", text(addresses.pgwire))
            .env("CARDLENS__SQL__FLIGHT", text(addresses.flight))
            .env("CARDLENS__HTTP__GATEWAY", "")
            // The demo keeps nothing.
            .env("CARDLENS__HISTORY__ENABLED", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is meant for the demo, which then ends it.
            .process_group(0);
        Ok(command)
    }
}

impl Addresses {
    /// How to reach it.
    fn told(self) -> String {
        let host = |at: SocketAddr| match at.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let psql =
            self.pgwire.map(|at| format!("psql -h {} -p {} -U demo cardlens", host(at), at.port()));
        let own = self
            .flight
            .map(|at| format!("cardlens sql --at {}", SocketAddr::new(host(at), at.port())));
        let ways: Vec<String> = [psql, own].into_iter().flatten().collect();
        format!("  sql     {}", ways.join("\n          "))
    }
}

/// A line of the process.
enum Line {
    Said(String),
    Logged(String),
}

/// What was heard of the process.
struct Heard {
    lines: Receiver<Line>,
    answered: bool,
    log: Vec<String>,
}

impl Heard {
    /// Listens for a moment; whether the process has just said that it answers.
    fn listen(&mut self) -> bool {
        match self.lines.recv_timeout(LOOK) {
            Ok(line) => self.take(line),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                // It says nothing any more: what is left is its end.
                std::thread::park_timeout(LOOK);
                false
            }
        }
    }

    /// Takes what is left when the process has ended.
    fn next(&mut self) -> Option<bool> {
        self.lines.recv().ok().map(|line| self.take(line))
    }

    fn take(&mut self, line: Line) -> bool {
        match line {
            Line::Said(line) if line == READY => {
                self.answered = true;
                return true;
            }
            Line::Logged(line) if self.log.len() < LOG.0 => self.log.push(line),
            Line::Said(_) | Line::Logged(_) => {}
        }
        false
    }

    /// Why it ended: its own words if it has any, or how the system has it.
    fn why(&self, status: ExitStatus) -> String {
        let words = self.log.iter().skip_while(|line| !line.starts_with("failed to "));
        let words: Vec<&str> = words.map(|line| line.trim()).collect();
        if words.is_empty() { status.to_string() } else { words.join(", ") }
    }
}

/// Reads what a process writes, until nothing of it is left.
fn hear<'scope>(scope: &'scope Scope<'scope, '_>, child: &mut Child) -> Receiver<Line> {
    let (told, heard) = channel();
    if let Some(out) = child.stdout.take() {
        let told = told.clone();
        scope.spawn(move || lines(out, &|line| told.send(Line::Said(line)).is_ok()));
    }
    if let Some(log) = child.stderr.take() {
        scope.spawn(move || lines(log, &|line| told.send(Line::Logged(line)).is_ok()));
    }
    heard
}

/// Reads lines until there are no more, or nobody wants them.
fn lines(from: impl Read, take: &dyn Fn(String) -> bool) {
    let mut from = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match (&mut from).take(LOG.1).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {
                if !take(String::from_utf8_lossy(&line).trim_end().to_owned()) {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Waits for the end of a process whose standard input is closed; ends it when that takes long.
fn end(child: &mut Child) -> Result<ExitStatus> {
    let mut ended = None;
    wait(LEAVE, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    });
    if let Some(status) = ended {
        return Ok(status);
    }
    child.kill().context("end the gateway")?;
    child.wait().context("wait for the gateway")
}

/// Waits for something, but not for ever.
fn wait(most: Duration, mut done: impl FnMut() -> bool) {
    let steps = most.as_millis() / LOOK.as_millis().max(1);
    for _ in 0..steps {
        if done() {
            return;
        }
        std::thread::park_timeout(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(pgwire: Option<String>) -> Beside {
        let engine = SocketAddr::from(([127, 0, 0, 1], 1));
        Beside { engine, config: Vec::new(), pgwire, flight: Some("127.0.0.1:0".into()) }
    }

    #[test]
    fn a_port_that_is_taken_is_replaced_and_a_free_one_kept() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let beside = beside(Some(address.to_string()));
        let chosen = beside.choose(Addresses::default()).unwrap();
        assert_ne!(chosen.pgwire, Some(address));
        assert_ne!(chosen.pgwire, chosen.flight);
        drop(taken);
        let again = beside.choose(chosen).unwrap();
        assert_eq!((again.pgwire, again.flight), (chosen.pgwire, chosen.flight));
        let first = beside.choose(Addresses::default()).unwrap();
        assert_eq!(first.pgwire, Some(address));
    }

    #[test]
    fn people_are_told_how_to_ask() {
        let addresses = Addresses {
            pgwire: Some(SocketAddr::from(([0, 0, 0, 0], 5432))),
            flight: Some(SocketAddr::from(([127, 0, 0, 1], 32010))),
        };
        assert_eq!(
            addresses.told(),
            "  sql     psql -h 127.0.0.1 -p 5432 -U demo cardlens\n          \
             cardlens sql --at 127.0.0.1:32010"
        );
        let none = beside(None).choose(Addresses::default()).unwrap();
        assert!(none.told().starts_with("  sql     cardlens sql --at 127.0.0.1:"), "{none:?}");
    }

    #[test]
    fn the_end_is_told_in_its_own_words() {
        let (_, lines) = channel();
        let log = ["noise", "failed to start: listen on `x`", "  in use"].map(str::to_owned);
        let mut heard = Heard { lines, answered: false, log: log.to_vec() };
        let status = ExitStatus::default();
        assert_eq!(heard.why(status), "failed to start: listen on `x`, in use");
        heard.log.truncate(1);
        assert_eq!(heard.why(status), "exit status: 0");
        assert!(heard.take(Line::Said(READY.into())) && heard.answered);
    }
}
