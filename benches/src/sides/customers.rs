//! An engine with many customers that stays alive: read in place, exported, fed on the clock.

use std::fs::File;
use std::io::{BufRead as _, BufWriter};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use cardlens_engine::Deployment;
use cardlens_engine::view::Desk;
use cardlens_query::budget::Limits;
use cardlens_query::front::{surroundings, threads};
use cardlens_query::relations::Catalog;
use cardlens_query::scan::{Description, Endpoint, Setup, describe};
use cardlens_tests::clocked::Line;
use datafusion::arrow::ipc::writer::FileWriter;
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::answers::{Answered, cells};
use super::ingest::{self, line};
use super::running::{Running, WINDOWS};
use super::say;
use crate::load::population::{Population, pioneer};
use crate::load::rules::{faults, without_midnights};
use crate::load::w1::{DAYS, Drawn};
use crate::measure::{Stopwatch, spent};

/// Records of each customer before anything is measured.
pub const RECORDS: u32 = 12;
/// Columns of the statement that reads many.
pub const WIDE: usize = 60;

const PARTITIONS: u32 = 4;
/// Days after those records that have a place before the first midnight.
const AHEAD: i64 = 100;
/// Most records in the log while it is filled.
const LAG_MAX: i64 = 100_000;
const RUN: usize = 4_096;
/// Rows of a row group: what DuckDB hands to a thread at a time.
const ROW_GROUP: usize = 122_880;
/// Stack of threads that plan, as a gateway has it.
const STACK_BYTES: usize = 32 << 20;
/// Decimal digits of the generator's dollars.
const EXPONENT: u8 = 2;

/// What there is to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stocked {
    /// Customers.
    pub customers: u64,
    /// Columns that are kept of each.
    pub columns: usize,
    /// Bytes of those.
    pub view_bytes: u64,
    /// Seconds from asking for the first pins to having them.
    pub first_pin_s: f64,
    /// `host:port` of the endpoint for scans.
    pub scan: String,
    /// A statement over [`WIDE`] columns.
    pub wide: String,
}

struct Stock {
    population: Population,
    running: Running,
    scan: Endpoint,
    /// What is read in place: gone before records stream in, since held pages have to be copied.
    held: Option<Arc<Catalog>>,
    runtime: Runtime,
}

/// Makes the customers, exports them into a directory, and answers until nobody asks any more:
/// `sql <statement>` over the pins taken first, `ingest <day> <records> <a second>`, and `cpu`.
///
/// # Errors
/// The worker fails, a file cannot be written, or a statement is refused.
pub fn live(customers: u32, directory: &Path) -> Result<()> {
    let (mut stock, stocked) = Stock::new(Population { customers, records: RECORDS }, directory)?;
    say(&stocked)?;
    for question in std::io::stdin().lock().lines() {
        let question = question?;
        match question.split_once(' ').unwrap_or((&question, "")) {
            ("sql", statement) => say(&stock.answer(statement)?)?,
            ("ingest", run) => {
                let numbers = run.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
                let [day, records, rate] = numbers[..] else { bail!("three numbers, not `{run}`") };
                stock.held = None;
                let lines = stock.later(u32::try_from(day)?, u32::try_from(records)?)?;
                say(&ingest::run(&stock.running, &lines, rate)?)?;
            }
            ("cpu", _) => say(&spent()?)?,
            _ => bail!("no such question: `{question}`"),
        }
    }
    drop(stock.scan);
    stock.running.end()
}

impl Stock {
    fn new(population: Population, directory: &Path) -> Result<(Self, Stocked)> {
        let rules = cardlens::wiring::rule_set(None).map_err(faults)?;
        let deployment = without_midnights(Deployment::new(rules));
        let running = Running::start(deployment, PARTITIONS, true)?;
        fill(&running, population)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads())
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .context("start the reader")?;
        let watch = Stopwatch::own()?;
        let pins = runtime.block_on(running.pins())?;
        let first_pin_s = watch.read()?.wall_s;
        let customers: usize = pins.iter().map(|pinned| pinned.customers()).sum();
        let expected = population.customers as usize + PARTITIONS as usize;
        ensure!(customers == expected, "{customers} customers, not {expected}");
        let desk = running.desk.clone().context("there is a desk")?;
        let description = description(&running, &desk);
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let (told, instance) = (Arc::new(description.clone()), "bench".to_owned());
        let setup = Setup { desk: desk.clone(), description: told, instance };
        let scan = Endpoint::start(listener, setup).context("answer scans")?;
        let (config, memory) = surroundings(&Limits::default())?;
        let held = Arc::new(Catalog::held(description, pins).with_session(config, memory));
        runtime.block_on(async {
            export(&held, "customers", directory).await?;
            export(&held, "features", directory).await
        })?;
        let bytes: usize = desk.seats().0.iter().map(|seat| seat.view_bytes).sum();
        let stocked = Stocked {
            customers: customers as u64,
            columns: desk.layout().columns().len(),
            view_bytes: bytes as u64,
            first_pin_s,
            scan: scan.address().to_string(),
            wide: runtime.block_on(wide(&held))?,
        };
        Ok((Self { population, running, scan, held: Some(held), runtime }, stocked))
    }

    /// Runs a statement over the pins, with the threads that a gateway has.
    fn answer(&self, statement: &str) -> Result<Answered> {
        let held = self.held.clone().context("the pins were given back before records came in")?;
        let text = statement.to_owned();
        let watch = Stopwatch::own()?;
        let asked = self.runtime.spawn(async move {
            let statement = held.statement().await?;
            let rows = statement.context().sql(&text).await?.collect().await?;
            anyhow::Ok(rows)
        });
        let rows = self.runtime.block_on(asked)??;
        Ok(Answered { cost: watch.read()?, rows: cells(&rows)? })
    }

    /// Records of a day after those that all customers have.
    fn later(&self, day: u32, records: u32) -> Result<Vec<Line>> {
        ensure!(i64::from(day) < AHEAD, "day {day} would close others");
        self.population.later(day, records).map(|drawn| line(&drawn, PARTITIONS)).collect()
    }
}

fn description(running: &Running, desk: &Desk) -> Description {
    let Running { deployment, shared, .. } = running;
    describe(deployment, shared, desk.layout(), (&WINDOWS, EXPONENT))
}

/// Streams the history of everybody through the worker. No day closes: the first record of every
/// partition is of a day to come, and `settle` reaches back beyond the first.
fn fill(running: &Running, population: Population) -> Result<()> {
    let append = |drawn: &Drawn| -> Result<()> {
        let (partition, key, json) = line(drawn, PARTITIONS)?;
        running.log.append(partition, &key, &json, 0);
        Ok(())
    };
    for partition in 0..PARTITIONS {
        let first = pioneer(partition, PARTITIONS, DAYS + AHEAD);
        append(&first.context("a customer of every partition")?)?;
    }
    for interval in population.in_order() {
        for run in interval.chunks(RUN) {
            run.iter().try_for_each(append)?;
            running.settle(LAG_MAX)?;
        }
    }
    running.settle(0)
}

/// Writes a relation as Parquet and as Arrow.
async fn export(catalog: &Catalog, relation: &str, directory: &Path) -> Result<()> {
    let create = |extension: &str| {
        let path = directory.join(relation).with_extension(extension);
        File::create(&path).with_context(|| format!("write `{}`", path.display()))
    };
    let statement = catalog.statement().await?;
    let mut rows = statement.context().table(relation).await?.execute_stream().await?;
    let schema = rows.schema();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_compression(Compression::SNAPPY)
        .build();
    let mut parquet =
        ArrowWriter::try_new(create("parquet")?, Arc::clone(&schema), Some(properties))?;
    let mut arrow = FileWriter::try_new(BufWriter::new(create("arrow")?), &schema)?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        parquet.write(&batch)?;
        arrow.write(&batch)?;
    }
    parquet.close()?;
    Ok(arrow.finish()?)
}

/// A statement that adds up many columns.
async fn wide(catalog: &Catalog) -> Result<String> {
    let statement = catalog.statement().await?;
    let table = statement.context().table("features").await?;
    let numbers = table.schema().fields().iter().filter(|field| field.data_type().is_numeric());
    let sums: Vec<_> = numbers.take(WIDE).map(|field| format!("sum({})", field.name())).collect();
    ensure!(sums.len() == WIDE, "the view has {} columns to add up, not {WIDE}", sums.len());
    Ok(format!("SELECT count(*), {} FROM features", sums.join(", ")))
}
