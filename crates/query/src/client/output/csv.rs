//! Results as comma-separated values (RFC 4180, with line feeds).

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::cells::{Cells, Nested};

/// Writes a header and rows.
#[derive(Debug)]
pub struct Csv<W> {
    out: W,
    schema: SchemaRef,
}

impl<W: Write> Csv<W> {
    pub(super) fn begin(schema: &SchemaRef, out: W) -> io::Result<Self> {
        let mut csv = Self { out, schema: Arc::clone(schema) };
        let mut line = String::new();
        for (at, field) in schema.fields().iter().enumerate() {
            separate(at, &mut line);
            value(Some(field.name()), &mut line);
        }
        line.push('\n');
        csv.out.write_all(line.as_bytes())?;
        Ok(csv)
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let nested = Nested::default();
        let mut cells = Cells::new(batch, &self.schema, &nested)?;
        let (mut line, mut text) = (String::new(), String::new());
        for row in 0..batch.num_rows() {
            line.clear();
            for at in 0..batch.num_columns() {
                separate(at, &mut line);
                text.clear();
                let there = cells.tell(at, row, &mut text)?;
                value(there.then_some(&text), &mut line);
            }
            line.push('\n');
            self.out.write_all(line.as_bytes())?;
        }
        // A batch may be all there is for a while: it is not held back.
        self.out.flush()
    }

    pub(super) fn end(self) -> W {
        self.out
    }
}

fn separate(at: usize, line: &mut String) {
    if at > 0 {
        line.push(',');
    }
}

/// An empty text has quotes, so that it is told from NULL.
fn value(text: Option<&String>, line: &mut String) {
    let Some(text) = text else { return };
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}
