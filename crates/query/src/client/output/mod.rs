//! Results as people and programs read them.
//!
//! Every form is written batch by batch. Money keeps its digits, times are ISO 8601 in UTC, and
//! lists and structures are JSON in all forms but Parquet, which has its own. A NULL is nothing in
//! a table and in CSV, where an empty text has quotes, and `null` in JSON.

mod cells;
mod csv;
mod json;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Bytes of a row group of Parquet at which the next one begins: what is held in memory.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Columns under each other, for people.
    #[default]
    Table,
    /// One array of objects.
    Json,
    /// An object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// Every format by its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("table", Self::Table),
        ("json", Self::Json),
        ("jsonl", Self::Jsonl),
        ("csv", Self::Csv),
        ("parquet", Self::Parquet),
    ];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name);
            format!("`{name}` is no format: there are {}", names.join(", "))
        })
    }
}

/// Writes one result: its rows, and then its end.
pub enum Writer<W: Write + Send> {
    /// For people.
    Table(table::Table<W>),
    /// One array.
    Json(json::Array<W>),
    /// An object a line.
    Jsonl(json::Lines<W>),
    /// Comma-separated.
    Csv(csv::Csv<W>),
    /// Parquet.
    Parquet(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> Writer<W> {
    /// Begins a result. Lines of a table are cut at a `width`, if there is one.
    ///
    /// # Errors
    /// The output cannot be written to, or the format lacks a type of the columns.
    pub fn begin(
        format: Format,
        schema: &SchemaRef,
        out: W,
        width: Option<usize>,
    ) -> io::Result<Self> {
        Ok(match format {
            Format::Table => Self::Table(table::Table::new(schema, out, width)),
            Format::Json => Self::Json(json::array(out)),
            Format::Jsonl => Self::Jsonl(json::lines(out)),
            Format::Csv => Self::Csv(csv::Csv::begin(schema, out)?),
            Format::Parquet => {
                let properties =
                    WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
                Self::Parquet(Box::new(writer.map_err(from_parquet)?))
            }
        })
    }

    /// Writes some rows.
    ///
    /// # Errors
    /// The output cannot be written to, or a value cannot be told.
    pub fn rows(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match self {
            Self::Table(table) => table.rows(batch),
            // A batch may be all there is for a while: it is not held back.
            Self::Json(json) => {
                json.write(batch).map_err(from_arrow)?;
                json.get_mut().flush()
            }
            Self::Jsonl(json) => {
                json.write(batch).map_err(from_arrow)?;
                json.get_mut().flush()
            }
            Self::Csv(csv) => csv.rows(batch),
            Self::Parquet(parquet) => {
                parquet.write(batch).map_err(from_parquet)?;
                if parquet.in_progress_size() >= ROW_GROUP_BYTES {
                    parquet.flush().map_err(from_parquet)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the result.
    ///
    /// # Errors
    /// The output cannot be written to.
    pub fn end(self) -> io::Result<()> {
        let mut out = match self {
            Self::Table(table) => table.end()?,
            Self::Json(mut json) => {
                json.finish().map_err(from_arrow)?;
                json.into_inner()
            }
            Self::Jsonl(mut json) => {
                json.finish().map_err(from_arrow)?;
                json.into_inner()
            }
            Self::Csv(csv) => csv.end(),
            Self::Parquet(mut parquet) => {
                parquet.finish().map_err(from_parquet)?;
                return parquet.sync();
            }
        };
        out.flush()
    }
}

/// The output's own error stays what it is: whoever reads may just have gone.
fn from_arrow(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

fn from_parquet(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        other => io::Error::other(other),
    }
}
