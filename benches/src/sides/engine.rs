//! W1 through the product: the file, the decoder, the table, the rules, the standings.
//!
//! What the worker does with a run of records is done here with the same parts, except that a
//! change becomes a line of W1's output where the worker makes an event of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use cardlens_engine::files::{FileOptions, FileSource};
use cardlens_engine::{Polled, Source};
use cardlens_features::{Origin, Point, Table};
use cardlens_lens::Move;
use cardlens_model::{Batch, Day, Position};

use crate::load::rules::{code, w1_deployment};
use crate::load::w1::{self, Answer};
use crate::pipeline::Pipeline;

/// Lines of changes of code.
struct Lines<W> {
    out: W,
    /// Codes by slot, the last ones written.
    codes: Vec<Option<u8>>,
    answer: Answer,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, table: &Table, point: &Point, moves: &[Move]) -> Result<()> {
        let (Some(last), Origin::Record { time, .. }) = (moves.last(), point.origin) else {
            return Ok(());
        };
        let to = code(last.now);
        let at = point.slot.0 as usize;
        if at >= self.codes.len() {
            self.codes.resize(at + 1, None);
        }
        let from = self.codes[at].replace(u8::try_from(to)?).map_or(-1, i32::from);
        let (customer, time) = (table.customer_id(point.slot), time.0);
        writeln!(
            self.out,
            "{{\"customer\":\"{customer}\",\"time\":{time},\"from\":{from},\"to\":{to}}}"
        )?;
        self.answer.changes += 1;
        self.answer.to_sum += u64::from(to);
        Ok(())
    }
}

/// Runs the task over a file of transactions and writes the changes.
///
/// # Errors
/// The files cannot be read or written, or a record is not accepted.
pub fn spine(input: &Path, output: &Path) -> Result<Answer> {
    let deployment = w1_deployment()?;
    let mut pipeline = Pipeline::new(&deployment)?;
    // The watermark stands where the last record will carry it, so that no day closes.
    pipeline.table.close_day(Day(i32::try_from(w1::FIRST_DAY - w1::DAYS)?));
    let mut source = FileSource::open(FileOptions {
        files: vec![input.to_owned()],
        partitions: 1,
        mapped: Vec::new(),
        currency: deployment.currency.clone(),
    })?;
    let mut decoding = deployment.decoding(&pipeline.shared, source.format())?;
    let out = BufWriter::with_capacity(1 << 18, File::create(output)?);
    let answer = Answer { records: 0, changes: 0, to_sum: 0 };
    let mut lines = Lines { out, codes: Vec::new(), answer };
    let (mut batch, mut rejected) = (Batch::default(), Vec::new());
    let mut assigned = Vec::new();
    loop {
        for partition in assigned.drain(..) {
            source.resume(partition, Position(0))?;
        }
        match source.poll(Duration::ZERO)? {
            Polled::Assigned(partitions) => assigned = partitions,
            Polled::Records { records, .. } => {
                decoding.decode(&records, &mut batch, &mut rejected);
                ensure!(rejected.is_empty(), "rejected: {rejected:?}");
                pipeline.take(&batch, &mut |table, point, moves| lines.put(table, point, moves))?;
                lines.answer.records += records.len() as u64;
            }
            Polled::Idle | Polled::Revoked { .. } => {}
            Polled::Ended => break,
        }
    }
    lines.out.flush()?;
    Ok(lines.answer)
}
