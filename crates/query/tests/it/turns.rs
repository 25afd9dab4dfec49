//! Whose turn it is: statements work so many at a time, and one that nobody reads is none of them.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use cardlens_query::budget::Limits;
use cardlens_query::budget::guard::Stop;
use cardlens_query::client::{Client, Options};
use cardlens_query::front::{Caller, Front, Role, Rows, State};
use tokio::time::Instant;

use crate::drivers::connect;
use crate::support::{Gateway, ask, begin, caller, everything, front};

/// Far more rows than lie between a statement and whoever reads it.
const MANY: &str = "select * from generate_series(1, 100000)";
const COUNT: usize = 100_000;
const ENDLESS: &str = "select count(*) from generate_series(1, 100000000000)";
/// More than any of these takes.
const WAIT: Duration = Duration::from_secs(30);

async fn count(mut rows: Rows) -> usize {
    let mut count = 0;
    while let Some(batch) = rows.next(usize::MAX).await.unwrap() {
        count += batch.num_rows();
    }
    count
}

/// Begins a statement once it may; it may be refused before.
async fn begun(front: &Front, caller: &Caller, sql: &str) -> Rows {
    let started = Instant::now();
    loop {
        match begin(front, caller, sql).await {
            Ok(rows) => return rows,
            Err(fault) => assert!(started.elapsed() < WAIT, "{fault}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_nobody_reads_gives_its_turn_back() {
    let front = front(Limits { running: 1, waiting: 1, ..Limits::default() }).await;
    let somebody = caller(&everything(), WAIT);
    let mut unread = Vec::new();
    for _ in 0..5 {
        unread.push(begin(&front, &somebody, MANY).await.unwrap());
    }
    ask(&front, &everything(), "select count(*) from customers").await.unwrap();
    let told = "select count(*) as n from ops.queries where state = 'paused'";
    let started = Instant::now();
    while !ask(&front, &everything(), told).await.unwrap().contains("| 5 |") {
        assert!(started.elapsed() < WAIT, "not told of");
    }
    for rows in unread {
        assert_eq!(count(rows).await, COUNT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_on_waits_for_a_turn_and_no_longer_than_it_may() {
    let front = front(Limits { running: 1, waiting: 1, ..Limits::default() }).await;
    let somebody = caller(&everything(), WAIT);
    let mut paused =
        begin(&front, &caller(&everything(), Duration::from_secs(4)), MANY).await.unwrap();
    let busy = begin(&front, &somebody, ENDLESS).await.unwrap();
    let mut read = 0;
    let fault = loop {
        match paused.next(usize::MAX).await {
            Ok(batch) => read += batch.unwrap().num_rows(),
            Err(fault) => break fault,
        }
    };
    // What lay there needed none.
    assert!(read > 0 && read < COUNT, "{read}");
    assert_eq!(fault.state, State::Canceled);
    assert!(fault.message.contains("the limit `running` is 1"), "{fault}");
    drop(busy);
    assert_eq!(count(begin(&front, &somebody, MANY).await.unwrap()).await, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_may_wait_planning_and_reading_on_are_refused() {
    let front = front(Limits { running: 1, waiting: 0, ..Limits::default() }).await;
    let somebody = caller(&everything(), WAIT);
    let mut paused = begun(&front, &somebody, MANY).await;
    let _busy = begun(&front, &somebody, ENDLESS).await;
    let planned = front.prepare("select 1", &somebody, &Stop::new(WAIT)).await.unwrap_err();
    let read = loop {
        if let Err(fault) = paused.next(usize::MAX).await {
            break fault;
        }
    };
    for fault in [planned, read] {
        assert_eq!(fault.state, State::TooManyConnections);
        assert!(fault.message.contains("the limit `waiting` is 0"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planning_that_waits_can_be_cancelled_and_has_its_time() {
    let front = front(Limits { running: 1, ..Limits::default() }).await;
    let _busy = begun(&front, &caller(&everything(), WAIT), ENDLESS).await;
    let patient = caller(&everything(), WAIT);
    let stop = Stop::new(WAIT);
    let (planned, ()) =
        tokio::join!(front.prepare("select 1", &patient, &stop), async { stop.cancel() });
    let fault = planned.unwrap_err();
    assert!(fault.message.contains("user request"), "{fault}");
    let hasty = caller(&everything(), Duration::from_millis(50));
    let fault = front.prepare("select 1", &hasty, &Stop::new(WAIT)).await.unwrap_err();
    assert!(fault.message.contains("the limit `running` is 1"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_let_go() {
    let limits = Limits { idle_timeout: Duration::from_secs(1), ..Limits::default() };
    let front = front(limits).await;
    let somebody = caller(&everything(), WAIT);
    // One that pauses in the middle, and one that has nothing more to do.
    let few = "select value_tier, count(*) from customers group by value_tier";
    let mut unread = Vec::new();
    for sql in [MANY, few] {
        unread.push(begin(&front, &somebody, sql).await.unwrap());
    }
    let operator = Arc::new(Role { operator: true, ..Role::default() });
    let told = "select count(*) as n from ops.queries where state = 'slow_client'";
    let started = Instant::now();
    while !ask(&front, &operator, told).await.unwrap().contains("| 2 |") {
        assert!(started.elapsed() < WAIT, "still held");
    }
    for mut rows in unread {
        let fault = rows.next(usize::MAX).await.unwrap_err();
        assert_eq!(fault.state, State::Canceled);
        assert!(fault.message.contains("the limit `idle_timeout` is 1000 ms"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_memory_and_results_are_named() {
    let limits = Limits { memory_bytes: 1 << 20, result_rows: 50_000, ..Limits::default() };
    let front = front(limits).await;
    let sorted = format!("{MANY} order by 1 desc");
    let fault = ask(&front, &everything(), &sorted).await.unwrap_err();
    assert_eq!(fault.state, State::OutOfMemory);
    let message = "out of memory: the limit `memory_limit` is 1048576 bytes for all statements \
                   together";
    assert_eq!(fault.message, message);
    let fault = ask(&front, &everything(), MANY).await.unwrap_err();
    assert_eq!(fault.message, "result passes the limit `result_rows`: at most 50000 rows");
}

#[test]
fn cursors_and_streams_that_nobody_reads_keep_nobody_waiting() {
    let limits = Limits { running: 1, ..Limits::default() };
    let gateway = Gateway::start(limits, 20, true);
    let mut cursors: Vec<_> = (0..3).map(|_| connect(&gateway).unwrap()).collect();
    for client in &mut cursors {
        client
            .batch_execute(&format!("begin; declare c cursor for {MANY}; fetch 10 from c"))
            .unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { at: gateway.flight.to_string(), ..Options::default() };
    // Far more than the connection itself takes up.
    let stream = "select * from generate_series(1, 10000000)";
    let _streams = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect(&options).await.unwrap();
            streams.push((client.query(stream).await.unwrap(), client));
        }
        streams
    });
    let mut other = connect(&gateway).unwrap();
    let count: i64 = other.query_one("select count(*) from customers", &[]).unwrap().get(0);
    assert!(count > 0);
    for client in &mut cursors {
        let rest = client.simple_query("fetch all from c").unwrap();
        let row = |message: &&postgres::SimpleQueryMessage| {
            matches!(message, postgres::SimpleQueryMessage::Row(_))
        };
        assert_eq!(rest.iter().filter(row).count(), COUNT - 10);
    }
}

#[test]
fn both_protocols_share_the_places() {
    let gateway = Gateway::start(Limits::default(), 1, true);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { at: gateway.flight.to_string(), ..Options::default() };
    let asked = || {
        runtime.block_on(async {
            let mut client = Client::connect(&options).await.ok()?;
            client.query("select 1").await.ok()?;
            Some(client)
        })
    };
    let wire = connect(&gateway).unwrap();
    assert!(asked().is_none(), "a second connection");
    drop(wire);
    let started = Instant::now();
    // Its place is free once the gateway has seen it go.
    let flight = loop {
        match asked() {
            Some(client) => break client,
            None => assert!(started.elapsed() < WAIT),
        }
    };
    assert!(connect(&gateway).is_err(), "a second connection");
    drop(flight);
    while connect(&gateway).is_err() {
        assert!(started.elapsed() < WAIT);
    }
}

#[test]
fn a_wrong_password_takes_its_time_by_flight_too() {
    let gateway = Gateway::start(Limits::default(), 20, false);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let with = |password: &str| Options {
            at: gateway.flight.to_string(),
            login: Some(("analyst".to_owned(), password.to_owned())),
            ..Options::default()
        };
        let wrong = Client::connect(&with("wrong")).await.unwrap();
        let started = Instant::now();
        let guess = || {
            let mut client = wrong.clone();
            async move { client.query("select 1").await.err().unwrap() }
        };
        // At once, on one connection.
        let (first, second) = tokio::join!(guess(), guess());
        assert!(first.to_string().contains("do not match"), "{first}");
        assert_eq!(first.to_string(), second.to_string());
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        Client::connect(&with("s3cret")).await.unwrap().query("select 1").await.unwrap();
    });
}

#[test]
fn places_are_not_for_those_that_do_not_log_in() {
    let gateway = Gateway::start(Limits::default(), 2, false);
    let silent = [gateway.address, gateway.flight].map(|at| TcpStream::connect(at).unwrap());
    for mut socket in silent {
        socket.set_read_timeout(Some(WAIT)).unwrap();
        // Whatever it is told, it is the end.
        match socket.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
