//! Clients of Python, as their users install them, against a running gateway.
//!
//! Each has a script in `tests/clients`, which says what it checked and ends at the first wrong
//! answer. `cargo xtask setup` installs them at the versions of `requirements.txt` there.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::papers::Papers;
use crate::support::{Gateway, Start, target};

/// Longest run of a script, in seconds.
const SCRIPT: &str = "110";

/// Runs a script against a gateway.
#[track_caller]
fn run(script: &str, gateway: &Gateway, more: &[(&str, &str)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let pins = std::fs::read_to_string(folder.join("requirements.txt")).unwrap();
    let installed = target().join("tools/clients");
    let there = std::fs::read_to_string(installed.join("pins")).unwrap_or_default();
    assert!(there == pins, "the clients of requirements.txt are missing: cargo xtask setup");
    let mut python = Command::new("timeout");
    python.args(["--kill-after=5", SCRIPT]).arg(installed.join("bin/python"));
    python.arg("-B").arg(folder.join(script)).stdin(Stdio::null());
    python.env("PGHOST", "127.0.0.1").env("PGPORT", gateway.address.port().to_string());
    python.env("PGUSER", "somebody").env("PGDATABASE", "cardlens").env("PGCONNECT_TIMEOUT", "20");
    python.env("FLIGHT_PORT", gateway.flight.port().to_string());
    python.envs(more.iter().copied());
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{script}: {}\n{said}\n{error}", output.status);
    let checks = said.lines().filter(|line| line.starts_with("ok: ")).count();
    assert!(checks > 0, "{script} checked nothing");
    println!("proved: {checks} checks of {script}");
}

#[test]
fn psycopg() {
    run("with_psycopg.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn psycopg2() {
    run("with_psycopg2.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn asyncpg() {
    run("with_asyncpg.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn sqlalchemy() {
    run("with_sqlalchemy.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn adbc_postgresql() {
    run("with_adbc_postgresql.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn polars_and_connectorx() {
    run("with_polars.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn adbc_flightsql() {
    run("with_flightsql.py", &Gateway::open(Start::default()), &[]);
}

#[test]
fn adbc_flightsql_with_passwords_and_encryption() {
    let papers = Papers::new();
    let authority = papers.authority.to_str().unwrap().to_owned();
    let start =
        Start { without_password: false, tls: Some(papers.tls.clone()), ..Start::default() };
    run("with_flightsql_secure.py", &Gateway::open(start), &[("AUTHORITY", &authority)]);
}
