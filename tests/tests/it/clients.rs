//! The clients that people have against the gateway's own process, over an engine at work. The
//! scripts are those that `query` runs over customers in memory, and the customers are the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cardlens_tests::broker::free_ports;
use cardlens_tests::clocked;
use cardlens_tests::live::{Gateway, now, pause};
use cardlens_tests::readers::{Engine, Stage};
use cardlens_tests::sample::{CUSTOMERS, OPEN_DAY, PARTITIONS, WINDOWS, records};
use postgres::{Client, NoTls};

const SCRIPTS: [&str; 7] = [
    "with_psycopg.py",
    "with_psycopg2.py",
    "with_asyncpg.py",
    "with_sqlalchemy.py",
    "with_adbc_postgresql.py",
    "with_polars.py",
    "with_flightsql.py",
];
/// Longest run of a script, in seconds.
const SCRIPT: &str = "110";
const WAIT: Duration = Duration::from_secs(60);

/// The folder that cargo builds in, where `cargo xtask setup` installs the clients.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join(".rustc_info.json").exists());
    target.expect("the test lies in a target folder of cargo").to_owned()
}

/// Waits until everybody is brought to the open day.
fn ready(port: u16, gateway: &Gateway) {
    let url = format!("host=127.0.0.1 port={port} user=somebody dbname=cardlens");
    let sql = format!("SELECT count(*) FROM customers WHERE as_of = DATE '{OPEN_DAY}'");
    let started = now();
    loop {
        let count = Client::connect(&url, NoTls).and_then(|mut it| it.query_one(&sql, &[]));
        if count.is_ok_and(|row| row.get::<_, i64>(0) == CUSTOMERS) {
            return;
        }
        assert!(started.elapsed() < WAIT, "the customers are not there\n{}", gateway.log());
        pause(Duration::from_millis(50));
    }
}

/// How many checks a script made.
fn checks(script: &str, [port, flight]: [u16; 2], gateway: &Gateway) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/query/tests/clients");
    let pins = std::fs::read_to_string(folder.join("requirements.txt")).unwrap();
    let installed = target().join("tools/clients");
    let there = std::fs::read_to_string(installed.join("pins")).unwrap_or_default();
    assert!(there == pins, "the clients of requirements.txt are missing: cargo xtask setup");
    let mut python = Command::new("timeout");
    python.args(["--kill-after=5", SCRIPT]).arg(installed.join("bin/python"));
    python.arg("-B").arg(folder.join(script)).stdin(Stdio::null());
    python.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
    python.env("PGUSER", "somebody").env("PGDATABASE", "cardlens").env("PGCONNECT_TIMEOUT", "20");
    python.env("FLIGHT_PORT", flight.to_string());
    let said = said(&python.output().unwrap(), script, gateway);
    said.lines().filter(|line| line.starts_with("ok: ")).count()
}

/// What a client that succeeded has said.
#[track_caller]
fn said(output: &Output, who: &str, gateway: &Gateway) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{who}: {said}\n{error}\n{}", gateway.log());
    said
}

fn psql(port: u16, gateway: &Gateway) {
    let columns = ["customer_id|text||not null|", "spend_yoy|double precision|", "portfolio|text|"];
    for (command, expected) in [
        (r"\d", &["public|customers|table", "public|value_need_matrix|view"][..]),
        (r"\d+ customers", &columns),
        (r"\df", &["public|as_of_lag|SETOF record||func"]),
        ("select count(*), min(customer_id) from customers", &["1000|C00000"]),
        ("copy (select customer_id from customers order by 1 limit 2) to stdout", &["C00001"]),
        ("select count(*) from as_of_lag() where watermark > '2026-02-16'", &["4"]),
        ("select count(*) from ops.partitions where state_bytes > 0", &["4"]),
    ] {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
        psql.args(["-p", &port.to_string(), "-U", "somebody", "-d", "cardlens", "-c", command]);
        psql.env("PGCONNECT_TIMEOUT", "20").stdin(Stdio::null());
        let said = said(&psql.output().unwrap(), command, gateway);
        for part in expected {
            assert!(said.contains(part), "{command} says nothing of `{part}`:\n{said}");
        }
    }
}

#[test]
fn clients_are_answered_by_a_gateway_of_its_own_over_an_engine() {
    let stage = Stage { windows: WINDOWS.to_vec(), ..Stage::new(PARTITIONS) };
    let engine = Engine::start(&stage, "one");
    stage.log.assign(&[&[0, 1, 2, 3]]);
    drop(clocked::run(&stage.log, &records(), u64::MAX));
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports().unwrap();
    let gateway = Gateway::start_with_flight(folder.path(), &[engine.address()], ports);
    ready(ports[0], &gateway);
    psql(ports[0], &gateway);
    let mut made = 0;
    for script in SCRIPTS {
        let checks = checks(script, ports, &gateway);
        assert!(checks > 0, "{script} checked nothing");
        made += checks;
    }
    println!("proved: {made} checks of {} clients over an engine", SCRIPTS.len());
}
