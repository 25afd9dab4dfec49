//! `cardlens demo` as people start it: its first change, its gateway, and the gateway's death.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use cardlens_tests::live::{binary, now, pause};

/// Longest wait for any line.
const WAIT: Duration = Duration::from_secs(60);

/// A demo; it ends when it is dropped.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(binary())
            .args(["demo", "--customers", "200"])
            .env("CARDLENS__HTTP__ENGINE", "")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                if told.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that a test wants.
    fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let started = now();
        loop {
            let left = WAIT.saturating_sub(started.elapsed());
            let line = self.lines.recv_timeout(left).expect("the line did not come");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Where its gateway answers: the port of psql, and the address of Flight SQL.
    fn ready(&self) -> (u16, String) {
        let psql = self.line(|line| line.starts_with("  sql     psql -h 127.0.0.1 -p "));
        let port = psql.split(' ').skip_while(|word| *word != "-p").nth(1).unwrap().parse();
        let own = self.line(|line| line.trim_start().starts_with("cardlens sql --at "));
        (port.unwrap(), own.rsplit(' ').next().unwrap().to_owned())
    }

    /// Processes that it started and that are not yet gone.
    fn children(&self) -> Vec<String> {
        let id = self.child.id();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let children = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
        children
            .flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn kill(signal: &str, id: &str) {
    assert!(Command::new("kill").args([signal, id]).status().unwrap().success());
}

fn customers(at: &str) -> u64 {
    let sql = ["sql", "-f", "csv", "--at", at, "SELECT count(*) AS n FROM customers"];
    let output = Command::new(binary()).args(sql).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{error:?}");
    out.unwrap().trim_start_matches("n\n").trim().parse().unwrap()
}

fn gone(id: &str) {
    let started = now();
    while std::fs::exists(format!("/proc/{id}")).unwrap() {
        assert!(started.elapsed() < WAIT, "the gateway is still there");
        pause(Duration::from_millis(10));
    }
}

#[test]
fn a_gateway_beside_it_is_started_again_and_ends_with_it() {
    let mut demo = Demo::start();
    let (port, at) = demo.ready();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(customers(&at) > 0);
    let [first] = &demo.children()[..] else { panic!("one gateway: {:?}", demo.children()) };
    kill("-KILL", first);
    let ended = demo.line(|line| line.contains("the gateway ended"));
    assert!(ended.contains("(signal: 9 (SIGKILL)); started again in 1s"), "{ended}");
    assert_eq!(demo.ready(), (port, at.clone()), "where it was before");
    assert!(customers(&at) > 0);
    let [second] = &demo.children()[..] else { panic!("no zombies: {:?}", demo.children()) };
    assert_ne!(first, second);
    kill("-INT", &demo.child.id().to_string());
    assert!(demo.child.wait().unwrap().success());
    gone(second);
}

#[test]
fn a_demo_that_is_killed_takes_its_gateway_along() {
    let demo = Demo::start();
    demo.ready();
    let [gateway] = &demo.children()[..] else { panic!("one gateway: {:?}", demo.children()) };
    drop(demo);
    gone(gateway);
}
