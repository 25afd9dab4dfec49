//! Results for people: columns under each other.
//!
//! A page of rows is held back to set widths. Widths only grow from page to page, and the header
//! comes once, so that a long result is still one table.

use std::io::{self, Write};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cells::{Cells, Nested};

/// Rows held back at most.
const PAGE_ROWS: usize = 1_000;
/// What stands for the rest of a line that was cut.
const CUT: char = '…';

/// Writes a header, rows and their number.
#[derive(Debug)]
pub struct Table<W> {
    out: W,
    schema: SchemaRef,
    /// Where lines are cut.
    width: Option<usize>,
    widths: Vec<usize>,
    page: Vec<Vec<String>>,
    begun: bool,
    count: u64,
}

impl<W: Write> Table<W> {
    pub(super) fn new(schema: &SchemaRef, out: W, width: Option<usize>) -> Self {
        let schema = Arc::clone(schema);
        let widths = schema.fields().iter().map(|field| name(field).width()).collect();
        Self { out, schema, width, widths, page: Vec::new(), begun: false, count: 0 }
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let nested = Nested::default();
        let schema = Arc::clone(&self.schema);
        let mut cells = Cells::new(batch, &schema, &nested)?;
        for row in 0..batch.num_rows() {
            let mut line = Vec::with_capacity(batch.num_columns());
            for at in 0..batch.num_columns() {
                let mut text = String::new();
                cells.tell(at, row, &mut text)?;
                let text = visible(text);
                self.widths[at] = self.widths[at].max(text.width());
                line.push(text);
            }
            self.page.push(line);
            if self.page.len() == PAGE_ROWS {
                self.turn()?;
            }
        }
        Ok(())
    }

    /// Writes the page, and begins another.
    fn turn(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.header()?;
        }
        for row in std::mem::take(&mut self.page) {
            self.count += 1;
            let last = row.len().saturating_sub(1);
            let mut line = String::new();
            for (at, text) in row.iter().enumerate() {
                let space = self.widths[at].saturating_sub(text.width());
                let right = self.schema.field(at).data_type().is_numeric();
                line.push_str(if at == 0 { " " } else { " | " });
                if right {
                    pad(&mut line, space, ' ');
                }
                line.push_str(text);
                // Nothing comes after the last column that would have to be in its place.
                if !right && at < last {
                    pad(&mut line, space, ' ');
                }
            }
            self.line(&line)?;
        }
        self.out.flush()
    }

    fn header(&mut self) -> io::Result<()> {
        let (mut names, mut rule) = (String::new(), String::new());
        for (at, field) in self.schema.fields().iter().enumerate() {
            let name = name(field);
            let space = self.widths[at].saturating_sub(name.width());
            names.push_str(if at == 0 { " " } else { " | " });
            pad(&mut names, space / 2, ' ');
            names.push_str(&name);
            if at + 1 < self.widths.len() {
                pad(&mut names, space - space / 2, ' ');
            }
            rule.push_str(if at == 0 { "" } else { "+" });
            pad(&mut rule, self.widths[at] + 2, '-');
        }
        self.line(&names)?;
        self.line(&rule)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        match self.width.filter(|width| line.width() > *width) {
            Some(width) => writeln!(self.out, "{}{CUT}", start(line, width.saturating_sub(1))),
            None => writeln!(self.out, "{line}"),
        }
    }

    pub(super) fn end(mut self) -> io::Result<W> {
        self.turn()?;
        let rows = if self.count == 1 { "row" } else { "rows" };
        writeln!(self.out, "({} {rows})", self.count)?;
        Ok(self.out)
    }
}

fn name(field: &Field) -> String {
    visible(field.name().clone())
}

fn pad(line: &mut String, count: usize, with: char) {
    line.extend(std::iter::repeat_n(with, count));
}

/// As much of a line as takes no more than a width.
fn start(line: &str, width: usize) -> &str {
    let mut taken = 0;
    let end = line.char_indices().find(|(_, letter)| {
        taken += letter.width().unwrap_or(0);
        taken > width
    });
    end.map_or(line, |(at, _)| &line[..at])
}

/// Control characters are written out: a value must not move the cursor, or do worse.
fn visible(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let letter = |letter: char| match letter {
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn lines_are_cut_by_width_and_controls_are_shown() {
        assert_eq!(start("abcdef", 3), "abc");
        assert_eq!(start("日本語", 5), "日本");
        assert_eq!(start("ab", 3), "ab");
        assert_eq!(visible("a\x1b[2J\nb".into()), "a\\u{1b}[2J\\nb");
        assert!(DataType::Decimal128(18, 2).is_numeric());
    }
}
