//! Customers behind a gateway, asked by `cardlens sql` as people and scripts use it.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::live::{binary, now, pause};
use crate::readers::{Engine, Gateway, Stage};

/// Longest time until everything is read.
const WAIT: Duration = Duration::from_secs(300);

/// Engines that have read everything, and a gateway over them. The log keeps them at work.
pub struct Place {
    gateway: Gateway,
    /// Each has two partitions.
    pub engines: [Engine; 2],
    _stage: Stage,
}

impl Place {
    /// Of some records, as [`crate::readers::records`] gives them. With a password the gateway lets
    /// `analyst` in and nobody else.
    #[must_use]
    pub fn new(records: &[(Vec<u8>, Vec<u8>)], password: Option<&str>) -> Self {
        let stage = Stage::new(4);
        records.iter().for_each(|record| stage.append(record));
        let engines = [Engine::start(&stage, "one"), Engine::start(&stage, "two")];
        stage.log.assign(&[&[0, 1], &[2, 3]]);
        let started = now();
        while stage.log.lag() > 0 {
            assert!(started.elapsed() < WAIT, "the log is not read");
            pause(Duration::from_millis(5));
        }
        let place = Self { gateway: Gateway::start(&engines, password), engines, _stage: stage };
        let running = "SELECT count(*) FROM ops.partitions WHERE state = 'running'";
        // Without a name nobody can ask whether they are.
        while password.is_none() && !said(&place.sql(&[running], None).stdout).contains(" 4\n") {
            assert!(started.elapsed() < WAIT, "the engines are not ready");
        }
        place
    }

    /// Starts `cardlens sql` with some words.
    #[must_use]
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("CARDLENS_SQL", self.gateway.address())
            .arg("sql")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs it to its end, with something to read.
    #[must_use]
    pub fn sql(&self, words: &[&str], input: Option<&str>) -> Output {
        let mut child = self.start(words);
        let mut stdin = child.stdin.take().unwrap();
        // It may have ended without reading.
        drop(stdin.write_all(input.unwrap_or_default().as_bytes()));
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What it answers.
    ///
    /// # Panics
    /// It fails, or has something to say beside the answer.
    #[must_use]
    #[track_caller]
    pub fn answer(&self, words: &[&str], input: Option<&str>) -> String {
        let output = self.sql(words, input);
        let error = said(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "{words:?}: {error}");
        said(&output.stdout)
    }

    /// What it answers before it fails in this way.
    ///
    /// # Panics
    /// It does not fail so.
    #[track_caller]
    pub fn refused(&self, words: &[&str], code: i32, message: &str) -> String {
        let output = self.sql(words, None);
        let error = said(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.starts_with("failed to ") && error.contains(message), "{words:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// What a process said.
#[must_use]
pub fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
