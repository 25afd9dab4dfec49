//! Values as text, the same for every form that is text.

use std::fmt::Write as _;
use std::io;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::from_arrow;

/// How values are told that are neither lists nor structures.
const PLAIN: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// What it takes to tell the nested values of a batch, for as long as they are told.
#[derive(Debug, Default)]
pub(super) struct Nested {
    options: EncoderOptions,
}

/// The values of a batch.
pub(super) struct Cells<'a> {
    columns: Vec<(Option<NullBuffer>, Column<'a>)>,
}

enum Column<'a> {
    Plain(ArrayFormatter<'a>),
    /// Lists and structures, as JSON.
    Nested(NullableEncoder<'a>, Vec<u8>),
}

impl<'a> Cells<'a> {
    pub(super) fn new(
        batch: &'a RecordBatch,
        schema: &'a SchemaRef,
        nested: &'a Nested,
    ) -> io::Result<Self> {
        let column = |(array, field): (&'a dyn Array, &'a std::sync::Arc<Field>)| {
            let column = if is_nested(array.data_type()) {
                let encoder = make_encoder(field, array, &nested.options).map_err(from_arrow)?;
                Column::Nested(encoder, Vec::new())
            } else {
                Column::Plain(ArrayFormatter::try_new(array, &PLAIN).map_err(from_arrow)?)
            };
            Ok((array.logical_nulls(), column))
        };
        let arrays = batch.columns().iter().map(|array| array.as_ref());
        let columns: io::Result<_> = arrays.zip(schema.fields()).map(column).collect();
        Ok(Self { columns: columns? })
    }

    /// Appends a value to a text; `false` when there is none.
    pub(super) fn tell(&mut self, at: usize, row: usize, text: &mut String) -> io::Result<bool> {
        let (nulls, column) = &mut self.columns[at];
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(false);
        }
        match column {
            Column::Plain(formatter) => {
                write!(text, "{}", formatter.value(row)).map_err(io::Error::other)?;
            }
            Column::Nested(encoder, bytes) => {
                bytes.clear();
                encoder.encode(row, bytes);
                text.push_str(&String::from_utf8_lossy(bytes));
            }
        }
        Ok(true)
    }
}

fn is_nested(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_nested(value),
        kind => kind.is_nested(),
    }
}
