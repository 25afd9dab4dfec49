//! Results as JSON.

use std::io::Write;

use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::{JsonFormat, LineDelimited, Writer};

/// Objects in one array, a line each, so that the result can also be read by lines.
#[derive(Debug, Default)]
pub struct Rows;

impl JsonFormat for Rows {
    fn start_stream<W: Write>(&self, out: &mut W) -> Result<(), ArrowError> {
        Ok(out.write_all(b"[")?)
    }

    fn start_row<W: Write>(&self, out: &mut W, first: bool) -> Result<(), ArrowError> {
        let between: &[u8] = if first { b"\n" } else { b",\n" };
        Ok(out.write_all(between)?)
    }

    fn end_stream<W: Write>(&self, out: &mut W) -> Result<(), ArrowError> {
        Ok(out.write_all(b"\n]\n")?)
    }
}

/// Writes an array.
pub type Array<W> = Writer<W, Rows>;
/// Writes an object a line.
pub type Lines<W> = Writer<W, LineDelimited>;

/// An array of objects.
pub(super) fn array<W: Write>(out: W) -> Array<W> {
    WriterBuilder::new().with_explicit_nulls(true).build(out)
}

/// An object a line.
pub(super) fn lines<W: Write>(out: W) -> Lines<W> {
    WriterBuilder::new().with_explicit_nulls(true).build(out)
}
