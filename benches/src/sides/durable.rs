//! Records applied with and without snapshots, in one process that holds the table.
//!
//! As the worker does it: a whole snapshot, then journals of what moved the state since, until they
//! are as large as the whole one; where customers stand is part of both. A run begins behind a
//! whole snapshot, whose cost is told beside and stands in the figure by its share: it is due once
//! for as many bytes of journals as it has. Time passes while records are applied and not while
//! they are made.

use std::fs::File;
use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use cardlens_engine::journal::{self, Entry, FULL_BYTES, Journal};
use cardlens_engine::standings;
use cardlens_features::{Slot, Table, snapshot};
use cardlens_model::{Batch, Day};
use serde::{Deserialize, Serialize};

use crate::load::population::Population;
use crate::load::rules::w1_deployment;
use crate::load::w1::{DAYS, FIRST_DAY};
use crate::measure::{Cost, Stopwatch};
use crate::pipeline::Pipeline;
use crate::sides::say;

/// Seconds between two snapshots.
pub const INTERVAL_S: f64 = 10.0;
/// Intervals in a run.
const SNAPSHOTS: u32 = 2;
/// Records made at a time.
const CHUNK: u32 = 200_000;
const RUN: usize = 4_096;
/// Name of the whole table.
const TABLE: &str = "whole.table";

/// What a run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Durable {
    /// Records applied.
    pub events: u64,
    /// What it took, snapshots and the share of the whole one included.
    pub cost: Cost,
    /// What writing journals took of it.
    pub journals: Cost,
    /// What writing the whole snapshot took.
    pub whole: Cost,
    /// Bytes of the journals, and of the whole snapshot.
    pub bytes: [u64; 2],
}

/// What reading snapshots back took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Restored {
    /// Bytes read.
    pub bytes: u64,
    /// Customers found.
    pub customers: u64,
    /// Records of journals among what was read.
    pub journaled: u64,
    /// What it took.
    pub cost: Cost,
}

/// Fills a table, then answers: `with` or `without` snapshots, `restore`.
///
/// # Errors
/// A record is not applied, or a snapshot is not written or read.
pub fn live(customers: u32, history: u32, folder: &Path) -> Result<()> {
    let population = Population { customers, records: history };
    let mut pipeline = Pipeline::new(&w1_deployment()?)?;
    pipeline.table.close_day(Day(i32::try_from(FIRST_DAY - DAYS)?));
    pipeline.fill_with(population)?;
    std::fs::create_dir_all(folder)?;
    say(&customers)?;
    let mut chunks = 0;
    for question in std::io::stdin().lock().lines() {
        match question?.as_str() {
            "with" => say(&with(&mut pipeline, population, &mut chunks, folder)?)?,
            "without" => say(&without(&mut pipeline, population, &mut chunks)?)?,
            "restore" => say(&restore(&mut pipeline, folder)?)?,
            other => bail!("no such question: `{other}`"),
        }
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("remove `{}`", folder.display()))
}

fn without(pipeline: &mut Pipeline, population: Population, chunks: &mut u32) -> Result<Durable> {
    let nothing = Cost::default();
    let mut run =
        Durable { events: 0, cost: nothing, journals: nothing, whole: nothing, bytes: [0; 2] };
    while run.cost.wall_s < INTERVAL_S * f64::from(SNAPSHOTS) {
        let batches = batches(pipeline, population, *chunks);
        *chunks += 1;
        let watch = Stopwatch::own()?;
        for batch in &batches {
            pipeline.take(batch, &mut |_, _, _| Ok(()))?;
        }
        run.cost = run.cost.plus(watch.read()?);
        run.events += u64::from(CHUNK);
    }
    Ok(run)
}

fn with(
    pipeline: &mut Pipeline,
    population: Population,
    chunks: &mut u32,
    folder: &Path,
) -> Result<Durable> {
    let nothing = Cost::default();
    let (whole, whole_bytes) = write_whole(pipeline, folder)?;
    let bytes = [0, whole_bytes];
    let mut run = Durable { events: 0, cost: nothing, journals: nothing, whole, bytes };
    let mut journal = Journal::default();
    let mut written = 0;
    let mut due = INTERVAL_S;
    while run.cost.wall_s < INTERVAL_S * f64::from(SNAPSHOTS) {
        let batches = batches(pipeline, population, *chunks);
        *chunks += 1;
        let watch = Stopwatch::own()?;
        for batch in &batches {
            journal.batch(batch);
            pipeline.take(batch, &mut |_, _, _| Ok(()))?;
            if journal.bytes().len() >= FULL_BYTES {
                let writing = Stopwatch::own()?;
                let bytes = write_journal(pipeline, &mut journal, &link(folder, written))?;
                (written, run.bytes[0]) = (written + 1, run.bytes[0] + bytes);
                run.journals = run.journals.plus(writing.read()?);
            }
        }
        run.cost = run.cost.plus(watch.read()?);
        run.events += u64::from(CHUNK);
        if run.cost.wall_s >= due {
            due += INTERVAL_S;
            let watch = Stopwatch::own()?;
            let bytes = write_journal(pipeline, &mut journal, &link(folder, written))?;
            (written, run.bytes[0]) = (written + 1, run.bytes[0] + bytes);
            let cost = watch.read()?;
            run.journals = run.journals.plus(cost);
            run.cost = run.cost.plus(cost);
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "bytes of a run are far below 2^53")]
    let share = run.bytes[0] as f64 / run.bytes[1] as f64;
    let shared = Cost { cpu_s: whole.cpu_s * share, wall_s: whole.wall_s * share };
    run.cost = run.cost.plus(shared);
    Ok(run)
}

fn link(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}.journal"))
}

fn write_whole(pipeline: &mut Pipeline, folder: &Path) -> Result<(Cost, u64)> {
    std::fs::remove_dir_all(folder)?;
    std::fs::create_dir_all(folder)?;
    pipeline.standings.take_changed();
    let watch = Stopwatch::own()?;
    let table = write(&folder.join(TABLE), snapshot::pieces(&pipeline.table))?;
    let standings = standings::encode(&pipeline.standings.to_parts());
    let standings = write(&folder.join("whole.standings"), [standings])?;
    Ok((watch.read()?, table + standings))
}

fn write_journal(pipeline: &mut Pipeline, journal: &mut Journal, file: &Path) -> Result<u64> {
    let changed = pipeline.standings.take_changed();
    let standings = standings::encode(&pipeline.standings.parts_of(&changed));
    let bytes = write(file, [journal.bytes()])?
        + write(&file.with_extension("standings"), [standings.as_slice()])?;
    journal.clear();
    Ok(bytes)
}

/// Writes a checked file that is on the disk when this returns; its bytes without the checksum.
fn write(path: &Path, pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<u64> {
    let failed = || format!("write `{}`", path.display());
    let mut file = File::create(path).with_context(failed)?;
    let (mut checksum, mut bytes) = (0, 0);
    for piece in pieces {
        let piece = piece.as_ref();
        checksum = crc32c::crc32c_append(checksum, piece);
        bytes += piece.len() as u64;
        file.write_all(piece).with_context(failed)?;
    }
    file.write_all(&checksum.to_le_bytes()).with_context(failed)?;
    file.sync_data().with_context(failed)?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    let body = bytes.len().saturating_sub(4);
    let checksum = crc32c::crc32c(&bytes[..body]).to_le_bytes();
    ensure!(bytes[body..] == checksum, "`{}` is damaged", path.display());
    bytes.truncate(body);
    Ok(bytes)
}

fn batches(pipeline: &Pipeline, population: Population, chunk: u32) -> Vec<Batch> {
    let drawn: Vec<_> = population.later(chunk, CHUNK).collect();
    let categories = &pipeline.shared.table.categories;
    let batch = |run: &[crate::load::w1::Drawn]| {
        let mut batch = Batch::default();
        run.iter().for_each(|it| it.push(categories, &mut batch));
        batch
    };
    drawn.chunks(RUN).map(batch).collect()
}

/// A checksum over everybody's row as of now. Bytes of snapshots would not do: what no longer counts
/// may still be in the memory of one table and not in that of the other.
fn digest(table: &mut Table) -> u32 {
    let mut rows = table.rows();
    let customers = u32::try_from(table.customers()).unwrap_or(u32::MAX);
    let mut checksum = 0;
    for slot in (0..customers).map(Slot) {
        table.gather(slot, table.as_of(slot), &mut rows);
        if rows.len() == RUN || slot.0 + 1 == customers {
            let (_, batch) = rows.take();
            for column in batch.columns() {
                let data = column.to_data();
                let values = &data.buffers()[0].as_slice()[data.offset() * 8..][..data.len() * 8];
                checksum = crc32c::crc32c_append(checksum, values);
            }
        }
    }
    checksum
}

/// Reads the last whole snapshot and the journals behind it.
fn restore(pipeline: &mut Pipeline, folder: &Path) -> Result<Restored> {
    let watch = Stopwatch::own()?;
    let whole = read(&folder.join(TABLE))?;
    let mut table = snapshot::decode(&*whole, pipeline.shared.table.clone())?;
    let mut restored = Restored { bytes: whole.len() as u64, ..Restored::default() };
    table.give_rows(false);
    let mut rows = table.rows();
    for number in 0.. {
        let file = link(folder, number);
        if !file.exists() {
            break;
        }
        let bytes = read(&file)?;
        restored.bytes += bytes.len() as u64;
        let applied = journal::read(&bytes, &mut |entry| {
            let Entry::Batch(batch) = entry else { return Err("a day was closed".to_owned()) };
            restored.journaled += batch.transactions.len() as u64;
            table.apply(&batch, 0, &mut rows);
            Ok(())
        });
        applied.map_err(|error| anyhow!(error))?;
    }
    restored.cost = watch.read()?;
    restored.customers = table.customers() as u64;
    table.give_rows(true);
    ensure!(digest(&mut table) == digest(&mut pipeline.table), "what was read back differs");
    Ok(restored)
}
