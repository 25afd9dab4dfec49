//! The wire as drivers of other languages use it, through Rust's own client.

use std::time::Duration;

use cardlens_query::budget::Limits;
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

use crate::support::{CUSTOMERS, Gateway};

/// A connection to a gateway.
pub fn connect(gateway: &Gateway) -> Result<Client, postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(gateway.address.port());
    config.user("somebody").dbname("cardlens").connect_timeout(Duration::from_secs(20));
    config.connect(NoTls)
}

#[test]
fn a_connection_too_many_waits_for_none() {
    let gateway = Gateway::start(Limits::default(), 2, true);
    let first = connect(&gateway).unwrap();
    let mut second = connect(&gateway).unwrap();
    let refused = connect(&gateway).err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::TOO_MANY_CONNECTIONS), "{refused}");
    assert_eq!(second.query_one("select 1::int", &[]).unwrap().get::<_, i32>(0), 1);
    drop(first);
    // Its place is free once the gateway has seen it go.
    let mut third = loop {
        match connect(&gateway) {
            Ok(third) => break third,
            Err(error) => assert_eq!(error.code(), Some(&SqlState::TOO_MANY_CONNECTIONS)),
        }
    };
    assert_eq!(third.query_one("select 2::int", &[]).unwrap().get::<_, i32>(0), 2);
}

/// The way of pgjdbc with `fetchSize`: a portal that is read in parts, over several round trips.
#[test]
fn portals_live_as_long_as_their_transaction() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let mut client = connect(&gateway).unwrap();
    let mut transaction = client.build_transaction().read_only(true).start().unwrap();
    let query = "select customer_id from customers where customer_id >= $1 order by 1";
    let portal = transaction.bind(query, &[&"C00000"]).unwrap();
    let mut seen = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 300).unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 300);
        seen.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        // Something else between two parts.
        let other = transaction.query_one("select count(*) from customers", &[]).unwrap();
        assert_eq!(other.get::<_, i64>(0), i64::from(CUSTOMERS));
    }
    let expected: Vec<String> = (0..CUSTOMERS).map(|n| format!("C{n:05}")).collect();
    assert_eq!(seen, expected);
    transaction.commit().unwrap();
}

#[test]
fn statements_are_described_before_they_run() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let mut client = connect(&gateway).unwrap();
    let statement = client
        .prepare(
            "select customer_id, needs, margin_365d, last_txn_at, as_of, sequence from customers \
             where sequence > $1 and customer_id = any($2) and margin_365d > $3 and as_of >= $4",
        )
        .unwrap();
    let types: Vec<&str> = statement.columns().iter().map(|column| column.type_().name()).collect();
    assert_eq!(types, ["text", "_text", "numeric", "timestamptz", "date", "int8"]);
    let types: Vec<&str> = statement.params().iter().map(|kind| kind.name()).collect();
    assert_eq!(types, ["int8", "_text", "numeric", "date"]);
    let wrong = client.query("select $1::bigint", &[&"text"]);
    assert!(wrong.is_err(), "a text is no number");
    let fault = client.query("select customer_id from customers where nothing = $1", &[&1_i64]);
    assert_eq!(fault.err().unwrap().code(), Some(&SqlState::UNDEFINED_COLUMN));
    assert_eq!(client.query_one("select 1::int", &[]).unwrap().get::<_, i32>(0), 1);
}
