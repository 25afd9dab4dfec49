//! SQL: what statements over everybody cost beside `DuckDB`, what the way to the gateway adds, and how
//! long a look-up takes.
//!
//! An engine's worker on the in-process log makes the customers. The same statements are answered
//! over pins of its pages in its own process, by a gateway that scans its endpoint, and by `DuckDB`
//! over the same rows exported, in turn; all answers have to agree. What counts is the time until
//! the last row, with as many threads as a gateway has for statements.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cardlens_query::front::threads;
use cardlens_tests::clocked::quantile;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use serde::Deserialize;
use serde_json::json;

use super::{Bench, Outcome, Round, Run};
use crate::measure::{Cost, Live, available, median, now};
use crate::rivals::duckdb::Duckdb;
use crate::sides::{Answered, Cell, Stocked, WIDE};

/// Customers that the goal speaks of.
const CUSTOMERS: u32 = 1_000_000;
/// Bytes that a customer takes at most, `DuckDB`'s copy and the export under way included.
const CUSTOMER_BYTES: u64 = 9_000;
/// Look-ups of a round.
const LOOK_UPS: u64 = 2_000;
/// Before those, so that everything has been done once.
const FIRST: u64 = 50;

/// The statement of few columns.
const FEW: &str = "SELECT value_tier, count(*), sum(spend_365d), \
    avg(CAST(spend_365d AS DOUBLE PRECISION)), max(txn_30d) \
    FROM customers GROUP BY value_tier ORDER BY value_tier";

/// Who answers beside the product, with how many threads.
#[derive(Debug, Clone, Copy)]
struct Way {
    over: &'static str,
    threads: usize,
}

/// A statement, and what its lines are called.
struct Statement<'a> {
    lines: [&'static str; 2],
    what: String,
    sql: &'a str,
    /// Stored columns that it reads, of 8 bytes each.
    columns: u32,
}

/// What `DuckDB` answers.
#[derive(Debug, Deserialize)]
struct Told {
    cost: Cost,
    rows: Vec<Vec<String>>,
}

struct Place {
    stock: Stocked,
    rival: Live,
    client: Client,
    gateway: Live,
    engine: Live,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Outcome>> {
    let customers = enough(bench)?;
    let duckdb = Duckdb::install(&bench.directory).context("prepare DuckDB")?;
    let directory = bench.directory.join("sql");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let mut place = Place::new(customers, &directory, &duckdb)?;
    let wide = place.stock.wide.clone();
    let few = Statement {
        lines: ["SQL scan", "SQL transport"],
        what: "count, sum and average of spend by value tier".to_owned(),
        sql: FEW,
        columns: 3,
    };
    let many = Statement {
        lines: ["SQL scan wide", "SQL transport wide"],
        what: format!("sums of {WIDE} columns"),
        sql: &wide,
        columns: u32::try_from(WIDE)?,
    };
    let mut outcomes = Vec::new();
    for statement in [few, many] {
        outcomes.extend(place.compare(bench, &statement)?);
    }
    outcomes.push(place.look_ups(bench, customers)?);
    std::fs::remove_dir_all(&directory)?;
    Ok(outcomes)
}

/// Customers to measure with, for whom there is memory.
pub(super) fn enough(bench: &Bench) -> Result<u32> {
    let customers = bench.customers.unwrap_or(CUSTOMERS);
    let room = available()? / CUSTOMER_BYTES;
    ensure!(u64::from(customers) <= room, "there is memory for {room} customers only: --customers");
    Ok(customers)
}

/// A run that counts by the time until the last row.
#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn timed(events: u64, cost: Cost) -> Run {
    Run { events, cost, ns: cost.wall_s * 1e9 / events as f64 }
}

impl Place {
    fn new(customers: u32, directory: &Path, duckdb: &Duckdb) -> Result<Self> {
        let place = directory.to_string_lossy();
        let mut engine = Live::start("customers", &[&customers.to_string(), &place])?;
        let stock: Stocked = engine.answer()?;
        let mut rival = duckdb.over(directory)?;
        let exported: u64 = rival.answer()?;
        ensure!(exported == stock.customers, "{exported} of {} exported", stock.customers);
        let mut gateway = Live::start("gateway", &[&stock.scan])?;
        let port: u16 = gateway.answer()?;
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user("bench").dbname("cardlens");
        let client = config.connect(NoTls).context("connect to the gateway")?;
        Ok(Self { stock, rival, client, gateway, engine })
    }

    /// CPU seconds of engine and gateway so far.
    fn spent(&mut self) -> Result<f64> {
        Ok(self.engine.ask::<f64>("cpu")? + self.gateway.ask::<f64>("cpu")?)
    }

    /// Does something by the gateway; what it cost both processes.
    fn by_gateway<T>(&mut self, work: impl FnOnce(&mut Client) -> Result<T>) -> Result<(T, Cost)> {
        let before = self.spent()?;
        let started = now();
        let done = work(&mut self.client)?;
        let wall_s = started.elapsed().as_secs_f64();
        Ok((done, Cost { cpu_s: self.spent()? - before, wall_s }))
    }

    /// Answers a statement in every way, and compares the answers.
    fn round(&mut self, sql: &str, ways: &[Way]) -> Result<Vec<Run>> {
        let customers = self.stock.customers;
        let own: Answered = self.engine.ask(&format!("sql {sql}"))?;
        let mut runs = vec![timed(customers, own.cost)];
        let (rows, cost) = self.by_gateway(|client| asked(client, sql))?;
        agree(&own.rows, &rows, "the gateway")?;
        runs.push(timed(customers, cost));
        for way in ways {
            let Way { over, threads } = *way;
            let question = json!({ "over": over, "threads": threads, "sql": sql });
            let told: Told = self.rival.ask(&question.to_string())?;
            agree(&own.rows, &told.rows, "DuckDB")?;
            runs.push(timed(customers, told.cost));
        }
        Ok(runs)
    }

    fn compare(&mut self, bench: &Bench, statement: &Statement<'_>) -> Result<[Outcome; 2]> {
        let (threads, cores) = (threads(), std::thread::available_parallelism()?.get());
        let way = |over, threads| Way { over, threads };
        let ways =
            [way("arrow", threads), way("parquet", threads), way("arrow", 1), way("arrow", cores)];
        // The first time is not counted.
        self.round(statement.sql, &ways)?;
        let mut rounds = Vec::new();
        for _ in 0..bench.rounds {
            rounds.push(self.round(statement.sql, &ways)?);
        }
        let pairs = |a: usize, b: usize| -> Vec<Round> {
            rounds.iter().map(|round| [round[a], round[b]]).collect()
        };
        let all = |at: usize, of: fn(&Run) -> f64| {
            median(&rounds.iter().map(|round| of(&round[at])).collect::<Vec<_>>())
        };
        let Stocked { customers, columns, view_bytes, first_pin_s, .. } = &self.stock;
        let ns = |run: &Run| run.ns;
        let cpu_s = |run: &Run| run.cost.cpu_s;
        let what = format!("{}, {customers} customers of {columns} columns", statement.what);
        let sides = ["over a pinned view, in process", "DuckDB on Arrow in memory"];
        let scan = Outcome::new(statement.lines[0], &*what, None, sides, pairs(0, 2))
            .at_most(1.5)
            .counted_in("ns until answered, a customer")
            .remark(format!(
                "{threads} threads each; DuckDB with one: {:.0} ns, with {cores}: {:.0} ns; on \
                 Parquet with {threads}: {:.0} ns",
                all(4, ns),
                all(5, ns),
                all(3, ns)
            ))
            .remark(format!(
                "{} bytes of pages a customer; the first pins took {first_pin_s:.2} s",
                view_bytes / customers
            ))
            .remark("all answers are equal: money and counts by the digit".to_owned());
        let more = all(1, ns) - all(0, ns);
        let bytes = f64::from(statement.columns * 8);
        let sides = ["through endpoint and gateway", "over a pinned view, in process"];
        let transport = Outcome::new(statement.lines[1], what, None, sides, pairs(1, 0))
            .less_is_better()
            .counted_in("ns until answered, a customer")
            .figure(format!(
                "{more:.1} ns a customer for {bytes} bytes, x{:.2}",
                all(1, ns) / all(0, ns)
            ))
            .remark(format!("{:.0} MB/s of stored numbers", bytes * 1e3 / more))
            .remark(format!(
                "{:.3} s of CPU in engine and gateway, {:.3} s in process",
                all(1, cpu_s),
                all(0, cpu_s)
            ));
        Ok([scan, transport])
    }

    fn look_ups(&mut self, bench: &Bench, customers: u32) -> Result<Outcome> {
        let mut rounds: Vec<Round> = Vec::new();
        for round in 0..u64::try_from(bench.rounds)? {
            let (times, cost) = self.by_gateway(|client| {
                look_up(client, customers, (round * (LOOK_UPS + FIRST), FIRST))?;
                look_up(client, customers, (round * (LOOK_UPS + FIRST) + FIRST, LOOK_UPS))
            })?;
            let at = |thousandths| Run {
                events: LOOK_UPS,
                cost,
                ns: quantile(&times, thousandths).as_secs_f64() * 1e9,
            };
            rounds.push([at(990), at(500)]);
        }
        let ms = |side: usize| {
            median(&rounds.iter().map(|round| round[side].ns / 1e6).collect::<Vec<_>>())
        };
        let figure = format!("p99 {:.2} ms, p50 {:.2} ms", ms(0), ms(1));
        let what = format!(
            "SELECT * FROM customers by customer_id, {LOOK_UPS} at random of {customers}, prepared, \
             by the Postgres wire, one after the other"
        );
        let outcome = Outcome::new("SQL look-up", what, None, ["p99", "p50"], rounds);
        Ok(outcome.less_is_better().counted_in("ns until answered").figure(figure))
    }
}

/// The rows that a gateway answers, as text.
fn asked(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for message in client.simple_query(sql).context("ask the gateway")? {
        if let SimpleQueryMessage::Row(row) = message {
            let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

fn agree(own: &[Vec<Cell>], rows: &[Vec<String>], who: &str) -> Result<()> {
    ensure!(own.len() == rows.len(), "{who}: {} rows, not {}", rows.len(), own.len());
    for (row, (expected, found)) in own.iter().zip(rows).enumerate() {
        let same = expected.len() == found.len()
            && expected.iter().zip(found).all(|(cell, text)| cell.agrees(text));
        let expected: Vec<_> = expected.iter().map(Cell::text).collect();
        ensure!(same, "{who}: row {row} is {found:?}, not {expected:?}");
    }
    Ok(())
}

/// Looks customers up, drawn by their number; how long each took, sorted.
fn look_up(
    client: &mut Client,
    customers: u32,
    (from, count): (u64, u64),
) -> Result<Vec<Duration>> {
    let statement = client.prepare("SELECT * FROM customers WHERE customer_id = $1")?;
    let mut times = Vec::new();
    for number in from..from + count {
        let drawn = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let id = format!("C{:09}", (drawn * u64::from(customers)) >> 32);
        let started = now();
        let rows = client.query(&statement, &[&id]).context("look a customer up")?;
        times.push(started.elapsed());
        let found: Vec<&str> = rows.iter().map(|row| row.get("customer_id")).collect();
        ensure!(found == [id.as_str()], "`{id}` was looked up, and {found:?} found");
    }
    times.sort_unstable();
    Ok(times)
}
