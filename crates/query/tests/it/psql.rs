//! psql, as it comes, against a running gateway.

use std::process::{Command, Output, Stdio};

use cardlens_query::budget::Limits;

use crate::support::{CUSTOMERS, Gateway};

struct Psql<'a> {
    gateway: &'a Gateway,
    user: &'static str,
    password: &'static str,
}

impl Psql<'_> {
    fn output(&self, options: &[&str], commands: &[&str]) -> Output {
        let port = self.gateway.address.port().to_string();
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", self.user, "-d", "cardlens"]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]).args(options);
        for command in commands {
            psql.args(["-c", command]);
        }
        psql.env("PGPASSWORD", self.password).env("PGCONNECT_TIMEOUT", "20");
        psql.stdin(Stdio::null()).output().unwrap()
    }

    /// What it prints, bare rows, and nothing may go wrong.
    #[track_caller]
    fn rows(&self, commands: &[&str]) -> String {
        let output = self.output(&["-A", "-t"], commands);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains of.
    #[track_caller]
    fn fails(&self, command: &str, with: &str) {
        let output = self.output(&[], &[command]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{command} succeeded");
        assert!(error.contains(with), "{command}: {error}");
    }
}

fn open(gateway: &Gateway) -> Psql<'_> {
    Psql { gateway, user: "somebody", password: "" }
}

#[test]
fn statements() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    let count = CUSTOMERS.to_string() + "\n";
    assert_eq!(psql.rows(&["select count(*) from customers"]), count);
    assert_eq!(psql.rows(&["select 1; select 'it''s'"]), "1\nit's\n");
    let header = psql.output(&["-A"], &["select count(*), sum(1), 1, count(1) from customers"]);
    let header = String::from_utf8(header.stdout).unwrap();
    assert_eq!(header.lines().next(), Some("count|sum|?column?|count"));
    assert!(psql.rows(&["select version()"]).starts_with("PostgreSQL 16"));
    assert_eq!(psql.rows(&["show transaction_read_only"]), "on\n");
    let cursor = "begin; declare c cursor for select customer_id from customers order by 1; \
                  fetch 2 from c; move 1 in c; fetch c; close c; commit";
    assert_eq!(psql.rows(&[cursor]), "C0\nC1\nC100\n");
    let copy =
        "copy (select customer_id, null from customers order by 1 limit 2) to stdout csv header";
    assert_eq!(psql.rows(&[copy]).lines().skip(1).collect::<Vec<_>>(), ["C0,", "C1,"]);
    assert!(!psql.rows(&["select count(*) from features", "show cardlens.position"]).is_empty());
}

#[test]
fn descriptions() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    for command in [
        r"\d",
        r"\dt",
        r"\dv",
        r"\dn",
        r"\di",
        r"\l",
        r"\df",
        r"\du",
        r"\dT",
        r"\d customers",
        r"\d+ customers",
        r"\d ops.partitions",
        r"\conninfo",
    ] {
        psql.rows(&[command]);
    }
    assert!(psql.rows(&[r"\dt"]).contains("customers"));
    let described = psql.rows(&[r"\d+ customers"]);
    assert!(described.contains("customer_id|text"), "{described}");
}

#[test]
fn refusals_have_their_codes() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    psql.fails("create table a (b int)", "25006");
    psql.fails("copy customers from stdin", "25006");
    psql.fails("select * from no_such_table", "42P01");
    psql.fails("select no_such_column from customers", "42703");
    psql.fails("select selec from from", "42601");
    psql.fails("set no_such to 1", "42704");
    psql.fails("begin; select nothing; select 1", "42703");
    psql.fails(
        "set statement_timeout to '300ms'; select count(*) from generate_series(1, 100000000000)",
        "57014",
    );
    psql.fails("select repeat('x', 2000000000)", "54000");
    let other = Psql { gateway: &gateway, user: "analyst", password: "" };
    let port = gateway.address.port().to_string();
    let elsewhere = Command::new("psql")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            other.user,
            "-d",
            "elsewhere",
            "-c",
            "select 1",
        ])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("does not exist"));
}

#[test]
fn passwords() {
    let gateway = Gateway::start(Limits::default(), 20, false);
    let analyst = Psql { gateway: &gateway, user: "analyst", password: "s3cret" };
    assert_eq!(analyst.rows(&["select session_user"]), "analyst\n");
    let told = |user, password| {
        let output = Psql { gateway: &gateway, user, password }.output(&[], &["select 1"]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap().replace(user, "*")
    };
    // Nobody learns from the words whether a name exists.
    assert_eq!(told("analyst", "wrong"), told("nobody", "wrong"));
}

#[test]
fn one_connection_too_many_is_told_so() {
    let gateway = Gateway::start(Limits::default(), 0, true);
    open(&gateway).fails("select 1", "too many clients");
}
