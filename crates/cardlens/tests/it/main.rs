//! The binary as people and scripts meet it: what it prints and how it ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs the binary with words and an environment of its own.
fn cardlens(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardlens"));
    command.env_clear().envs(variables.iter().copied()).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cardlens-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[track_caller]
fn check(words: &[&str], variables: &[(&str, &str)], code: i32, stderr: &str) -> String {
    let output = cardlens(words, variables);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    assert!(error.contains(stderr), "{words:?}: {error}");
    text(&output.stdout)
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_is() {
    let folder = Folder::new("codes");
    check(&[], &[], 64, "Usage: cardlens");
    check(&["fly"], &[], 64, "unrecognized subcommand 'fly'");
    assert!(check(&["--version"], &[], 0, "").starts_with("cardlens 0."));
    assert!(check(&["--help"], &[], 0, "").contains("backtest"));
    let wrong = folder.write("wrong.toml", "[kafka]\ncomit_interval = \"1s\"\n");
    let run = check(&["run", "-c", &wrong], &[], 78, "failed to load the configuration\n");
    assert_eq!(run, "");
    let variable = [("CARDLENS__TIME__SETTLE", "soon")];
    let named = "environment variable CARDLENS__TIME__SETTLE: `time.settle` is no duration: `soon`";
    check(&["validate"], &variable, 78, named);
    check(&["run", "-c", "none.toml"], &[], 78, "none.toml: read the file: No such file");
    let out = folder.0.join("out").display().to_string();
    check(&["backtest", "--from", "none.csv", "--out", &out], &[], 65, "none.csv");
    let eval = ["eval", "--changes", "c", "--truth", "t", "--customers", "u", "--map", "m"];
    check(&eval, &[], 65, "m: read the file: No such file");
}

#[test]
fn a_taken_port_is_unavailable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables = [
        ("CARDLENS__HTTP__ENGINE", address.as_str()),
        ("CARDLENS__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("CARDLENS__INPUT__0__TOPIC", "card.transactions"),
    ];
    let message = format!("failed to start: listen on `{address}` (`http.engine`)");
    check(&["run"], &variables, 69, &message);
}

#[test]
fn validate_finds_faults_of_configuration_and_rules_at_once() {
    let folder = Folder::new("validate");
    let rules = folder.0.join("rules");
    std::fs::create_dir_all(&rules).unwrap();
    std::fs::write(rules.join("rules.toml"), "version = 1\nname = \"x\"\nnmae = 2\n").unwrap();
    let config = folder.write(
        "cardlens.toml",
        "[kafka]\nbootstrap_servers = \"a:1\"\ncommit_interval = \"1h\"\n[[input]]\ntopic = \"t\"\n",
    );
    let rules = rules.display().to_string();
    let words = ["validate", config.as_str(), "--rules", &rules, "--no-environment"];
    let output = cardlens(&words, &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains("cardlens.toml:3:19: `kafka.commit_interval` is 1h"), "{error}");
    assert!(error.contains("rules.toml:3:1: "), "{error}");

    let json = cardlens(&[&words[..], &["--format", "json"]].concat(), &[]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &found["valid"]), (Some(78), &false.into()));
    assert!(found["problems"].as_array().is_some_and(|problems| problems.len() >= 2), "{found}");

    assert!(check(&["validate"], &[], 0, "").contains("valid: rule set `default`"));
    let open = [("CARDLENS__HTTP__ENGINE", "0.0.0.0:8080")];
    let warned = check(&["validate"], &open, 0, "");
    assert!(warned.contains("warning: configuration: `http.engine` is reachable"), "{warned}");
    check(&["validate", "--deny-warnings"], &open, 78, "`http.engine` is reachable");
    let secret = [("CARDLENS__KAFKA__SASL_PASSWORD_FILE", "none.secret")];
    check(&["validate"], &secret, 78, "none.secret: read the SASL password");
    check(&["validate", "--no-environment"], &secret, 0, "");
}

#[test]
fn pages_and_scripts_are_printed() {
    assert!(check(&["reference", "config"], &[], 0, "").starts_with("# Configuration\n"));
    assert!(check(&["reference", "metrics"], &[], 0, "").starts_with("# Metrics\n"));
    assert!(check(&["reference", "features"], &[], 0, "").starts_with("# Features\n"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(check(&["completion", shell], &[], 0, "").contains("cardlens"), "{shell}");
    }
    assert!(check(&["man"], &[], 0, "").contains(".TH cardlens 1"));
    let folder = Folder::new("man");
    let out = folder.0.join("pages").display().to_string();
    check(&["man", "--out", &out], &[], 0, "");
    assert!(folder.0.join("pages/cardlens-run.1").exists());
}
