//! psql, as it comes, against a running gateway.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use cardlens_query::budget::Limits;

use crate::papers::Papers;
use crate::support::{CUSTOMERS, Gateway, Start};

struct Psql<'a> {
    gateway: &'a Gateway,
    user: &'static str,
    password: &'static str,
}

impl Psql<'_> {
    fn command(&self, options: &[&str], commands: &[&str]) -> Command {
        let port = self.gateway.address.port().to_string();
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", self.user, "-d", "cardlens"]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]).args(options);
        for command in commands {
            psql.args(["-c", command]);
        }
        psql.env("PGPASSWORD", self.password).env("PGCONNECT_TIMEOUT", "20");
        psql.stdin(Stdio::null());
        psql
    }

    fn output(&self, options: &[&str], commands: &[&str]) -> Output {
        self.command(options, commands).output().unwrap()
    }

    /// What it prints, bare rows, and nothing may go wrong.
    #[track_caller]
    fn rows(&self, commands: &[&str]) -> String {
        let output = self.output(&["-A", "-t"], commands);
        assert!(output.status.success(), "{commands:?}: {}", error(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains of.
    #[track_caller]
    fn fails(&self, command: &str, with: &str) {
        let output = self.output(&[], &[command]);
        assert!(!output.status.success(), "{command} succeeded");
        assert!(error(&output).contains(with), "{command}: {}", error(&output));
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
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
    assert_eq!(said(&header).lines().next(), Some("count|sum|?column?|count"));
    assert!(psql.rows(&["select version()"]).starts_with("PostgreSQL 16"));
    assert_eq!(psql.rows(&["show transaction_read_only"]), "on\n");
    let cursor = "begin; declare c cursor for select customer_id from customers order by 1; \
                  fetch 2 from c; move 1 in c; fetch c; close c; commit";
    assert_eq!(psql.rows(&[cursor]), "C00000\nC00001\nC00003\n");
    assert!(!psql.rows(&["select count(*) from features", "show cardlens.position"]).is_empty());
    // As psql reads in parts by itself: DECLARE, FETCH FORWARD, CLOSE.
    let ids = "select customer_id from customers order by 1";
    let output = psql.output(&["-A", "-t", "-v", "FETCH_COUNT=300"], &[ids]);
    assert_eq!(said(&output).lines().count(), CUSTOMERS as usize, "{}", error(&output));
}

/// Commands that describe, and what must be in the answer.
const DESCRIBED: &[(&str, &[&str])] = &[
    (r"\d", &["public|customers|table", "public|segment_flows|view"]),
    (r"\d+", &["public|customers|table", "One row a customer"]),
    (r"\dt", &["public|customers|table", "public|rules|table"]),
    (r"\dt+", &["public|segments|table", "Value tiers, needs and lifecycle"]),
    (r"\dt ops.*", &["ops|partitions|table", "ops|queries|table", "ops|settings|table"]),
    (r"\dv", &["public|value_need_matrix|view", "public|segment_flows|view"]),
    (r"\dv+", &["public|value_need_matrix|view", "How many customers of each"]),
    (r"\dn", &["public|", "ops|"]),
    (r"\dn+", &["public|", "ops|"]),
    (r"\di", &[]),
    (r"\di+", &[]),
    (r"\dm", &[]),
    (r"\ds", &[]),
    (
        r"\df",
        &[
            "public|explain_customer|SETOF record|customer_id text, day date DEFAULT NULL|func",
            "public|as_of_lag|SETOF record||func",
            "public|to_amount|numeric|minor bigint|func",
        ],
    ),
    (r"\df+", &["mcc_category"]),
    (r"\du", &["analyst"]),
    (r"\du+", &["analyst"]),
    (r"\dT", &[]),
    (r"\dT+", &[]),
    (r"\dx", &[]),
    (r"\dp", &["public|customers|table"]),
    (r"\l", &["cardlens|"]),
    (r"\l+", &["cardlens|"]),
    (r"\d customers", &["customer_id|text||not null|", "needs|text[]|", "|numeric(18,2)|"]),
    (r"\d+ customers", &["customer_id|text||not null|", "The customer.", "with time zone"]),
    (r"\d+ customers", &["portfolio|text|", "spend_yoy|double precision|", "engines remember 400"]),
    (r"\d+ customer_needs", &["nearest_exit|text|", "What the need would be left by"]),
    (
        r"\d+ ops.partitions",
        &[
            "lag_records|bigint|",
            "lag_seconds|double precision|",
            "state_bytes|bigint|",
            "Memory of",
        ],
    ),
    (r"\d+ segment_flows", &["day|date|", "What tipped the changes."]),
    (r"\conninfo", &["You are connected to database \"cardlens\" as user \"somebody\""]),
];

#[test]
fn descriptions() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    for (command, expected) in DESCRIBED {
        let said = psql.rows(&[command]);
        for part in *expected {
            assert!(said.contains(part), "{command} says nothing of `{part}`:\n{said}");
        }
    }
    println!("proved: {} descriptions of psql", DESCRIBED.len());
}

#[test]
fn prepared_statements() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    let prepare = "prepare near (text, bigint) as select customer_id from customers \
                   where customer_id like $1 and sequence >= $2 order by 1 limit 3";
    let some = psql.rows(&[prepare, "execute near('C0000%', 0)", "execute near('C0001%', 0)"]);
    assert_eq!(some, "C00000\nC00001\nC00002\nC00010\nC00011\nC00012\n");
    let again = "deallocate near";
    let again = format!("{prepare}; {again}; {prepare}; execute near('C0099' || '9', 1 - 1)");
    assert_eq!(psql.rows(&[&again]), "C00999\n");
    psql.fails("execute nobody(1)", "26000");
    psql.fails(&format!("{prepare}; {prepare}"), "42P05");
    psql.fails(&format!("{prepare}; execute near('a')"), "42601");
    psql.fails(&format!("{prepare}; deallocate all; execute near('a', 1)"), "26000");
}

#[test]
fn copies() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    let query = "select customer_id, null as none, E'a\\tb, \"c\"' as text, needs, as_of \
                 from customers where customer_id = 'C00005'";
    let text = psql.rows(&[&format!("copy ({query}) to stdout")]);
    assert_eq!(text, "C00005\t\\N\ta\\tb, \"c\"\t{}\t2026-02-16\n");
    let csv = psql.rows(&[&format!("copy ({query}) to stdout with (format csv, header)")]);
    let head = "customer_id,none,text,needs,as_of";
    assert_eq!(csv, format!("{head}\nC00005,,\"a\tb, \"\"c\"\"\",{{}},2026-02-16\n"));
    let other = "with csv delimiter ';' null 'none' quote ''''";
    let csv = psql.rows(&[&format!("copy ({query}) to stdout {other}")]);
    assert_eq!(csv, "C00005;none;a\tb, \"c\";{};2026-02-16\n");
    let whole = psql.rows(&["copy customers (customer_id) to stdout"]);
    assert_eq!(whole.lines().count(), CUSTOMERS as usize);
    let meta = psql.rows(&[r"\copy (select count(*) from customers) to stdout csv"]);
    assert_eq!(meta, "1000\n");
    psql.fails("copy customers to '/tmp/customers.csv'", "25006");
    psql.fails("copy (select nothing) to stdout", "42703");
}

#[test]
fn control_c_cancels() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let endless = "select count(*) from generate_series(1, 100000000000)";
    let mut psql = open(&gateway).command(&["-A", "-t"], &[r"\! echo ready", endless]);
    let mut psql = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(psql.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let number = psql.id().to_string();
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || told.send(psql.wait_with_output().unwrap()));
    // It may come before the statement is sent, and then there is nothing to be cancelled.
    let output = loop {
        match ended.recv_timeout(Duration::from_millis(200)) {
            Ok(output) => break output,
            Err(_) => drop(Command::new("kill").args(["-INT", &number]).status().unwrap()),
        }
    };
    assert!(error(&output).contains("57014"), "{}", error(&output));
    let told = "canceling statement due to user request";
    assert!(error(&output).contains(told), "{}", error(&output));
}

#[test]
fn refusals_have_their_codes() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let psql = open(&gateway);
    psql.fails("create table a (b int)", "25006");
    psql.fails("insert into customers values ('C')", "25006");
    psql.fails("begin read write; create table a (b int)", "25006");
    psql.fails("copy customers from stdin", "25006");
    psql.fails("select * from no_such_table", "42P01");
    psql.fails("select no_such_column from customers", "42703");
    psql.fails("select * from partitions", "HINT:  did you mean ops.partitions?");
    psql.fails("select from where where", "42601");
    psql.fails("selct 1", "42601");
    psql.fails("select no_such(1)", "42883");
    psql.fails("set no_such to 1", "42704");
    psql.fails("begin; select nothing; select 1", "42703");
    psql.fails(
        "set statement_timeout to '300ms'; select count(*) from generate_series(1, 100000000000)",
        "57014",
    );
    psql.fails("select repeat('x', 2000000000)", "54000");
    let mut elsewhere = Psql { gateway: &gateway, user: "analyst", password: "" }
        .command(&["-d", "elsewhere"], &["select 1"]);
    let elsewhere = elsewhere.output().unwrap();
    assert!(error(&elsewhere).contains("does not exist"), "{}", error(&elsewhere));
}

#[test]
fn passwords() {
    let gateway = Gateway::start(Limits::default(), 20, false);
    let analyst = Psql { gateway: &gateway, user: "analyst", password: "s3cret" };
    assert_eq!(analyst.rows(&["select session_user"]), "analyst\n");
    assert_eq!(analyst.rows(&["select current_user"]), "analyst\n");
    let told = |user, password| {
        let output = Psql { gateway: &gateway, user, password }.output(&[], &["select 1"]);
        assert!(!output.status.success());
        error(&output).replace(user, "*")
    };
    let wrong = told("analyst", "wrong");
    assert!(wrong.contains("password authentication failed for user \"*\""), "{wrong}");
    // Nobody learns from the words whether a name exists.
    assert_eq!(wrong, told("nobody", "wrong"));
}

#[test]
fn encryption() {
    let papers = Papers::new();
    let tls = Some(papers.tls.clone());
    let gateway = Gateway::open(Start { without_password: false, tls, ..Start::default() });
    let connect = |authority: &Path, host: &str, more: &[(&str, &str)]| {
        let psql = Psql { gateway: &gateway, user: "analyst", password: "s3cret" };
        let mut psql = psql.command(&["-A", "-t"], &["select session_user", r"\conninfo"]);
        psql.args(["-h", host]).env("PGHOSTADDR", "127.0.0.1").env("PGSSLMODE", "verify-full");
        psql.env("PGSSLROOTCERT", authority).envs(more.iter().copied());
        psql.output().unwrap()
    };
    // The password is proved over the very certificate that was shown.
    let bound = connect(&papers.authority, "localhost", &[("PGCHANNELBINDING", "require")]);
    assert!(bound.status.success(), "{}", error(&bound));
    assert!(said(&bound).starts_with("analyst\n"), "{}", said(&bound));
    assert!(said(&bound).contains("TLSv1.3"), "{}", said(&bound));
    let older = [("PGSSLMAXPROTOCOLVERSION", "TLSv1.2"), ("PGCHANNELBINDING", "disable")];
    let older = connect(&papers.authority, "localhost", &older);
    assert!(said(&older).contains("TLSv1.2"), "{}{}", said(&older), error(&older));
    let stranger = connect(&Papers::new().authority, "localhost", &[]);
    assert!(error(&stranger).contains("SSL error"), "{}", error(&stranger));
    let elsewhere = connect(&papers.authority, "elsewhere", &[]);
    assert!(error(&elsewhere).contains("does not match host name"), "{}", error(&elsewhere));
    let wrong = connect(&papers.authority, "localhost", &[("PGPASSWORD", "wrong")]);
    assert!(error(&wrong).contains("password authentication failed"), "{}", error(&wrong));
    // On this machine itself nobody listens on the way.
    let plain = connect(&papers.authority, "localhost", &[("PGSSLMODE", "disable")]);
    assert!(said(&plain).starts_with("analyst\n"), "{}", error(&plain));
}

#[test]
fn one_connection_too_many_is_told_so() {
    let gateway = Gateway::start(Limits::default(), 0, true);
    open(&gateway).fails("select 1", "too many clients");
}
