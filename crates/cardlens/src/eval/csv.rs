//! Small CSV files, whole, by the names of their columns.

use std::path::{Path, PathBuf};

use cardlens_model::{Day, Problem};

use super::fault;

/// Faults shown of one file; a file of another kind has one on every line.
const FAULTS_MAX: usize = 20;
const COLUMNS_MAX: usize = 256;

/// The rows of a file, each with its line.
pub(super) struct Csv {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Record>,
}

/// The line on which a record begins, and its values.
type Record = (u64, Vec<String>);

/// One row, and the faults of its file.
pub(super) struct Row<'a> {
    csv: &'a Csv,
    line: u64,
    values: &'a [String],
    places: &'a [usize],
}

impl Csv {
    /// Reads a file that has at least the columns named.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let bytes = std::fs::read(path)
            .map_err(|error| vec![fault(path, 0, format!("read the file: {error}"))])?;
        let mut rows =
            split(&bytes).map_err(|(line, message)| vec![fault(path, line, message.to_owned())])?;
        if rows.is_empty() {
            return Err(vec![fault(path, 0, "the file is empty".to_owned())]);
        }
        let (_, header) = rows.remove(0);
        Ok(Self { path: path.to_path_buf(), header, rows })
    }

    /// Calls `each` for every row with the places of `columns`, and gathers what it finds wrong.
    pub fn each(
        &self,
        columns: &[&str],
        mut each: impl FnMut(&Row<'_>) -> Result<(), Problem>,
    ) -> Result<(), Vec<Problem>> {
        let place = |column: &&str| self.header.iter().position(|name| name == column);
        let missing: Vec<&str> =
            columns.iter().filter(|column| place(column).is_none()).copied().collect();
        if !missing.is_empty() {
            let message = format!("no column `{}`", missing.join("`, `"));
            let problem = fault(&self.path, 1, message);
            return Err(vec![problem.suggest(format!("it has {}", self.header.join(", ")))]);
        }
        let places: Vec<usize> = columns.iter().filter_map(place).collect();
        let mut problems = Vec::new();
        for (line, values) in &self.rows {
            let row = Row { csv: self, line: *line, values, places: &places };
            let result = if values.len() == self.header.len() {
                each(&row)
            } else {
                let (found, expected) = (values.len(), self.header.len());
                Err(row.fault(format!("{found} values, and the header has {expected}")))
            };
            problems.extend(result.err());
            if problems.len() >= FAULTS_MAX {
                break;
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Row<'_> {
    /// The text of a column, by its place in the list asked for.
    pub fn text(&self, column: usize) -> Result<&str, Problem> {
        let place = self.places[column];
        match self.values[place].trim() {
            "" => Err(self.fault(format!("`{}` is empty", self.csv.header[place]))),
            text => Ok(text),
        }
    }

    /// The day of a column.
    pub fn day(&self, column: usize) -> Result<Day, Problem> {
        let text = self.text(column)?;
        Day::parse(text).ok_or_else(|| {
            let name = &self.csv.header[self.places[column]];
            self.fault(format!("`{name}` is no day: `{text}`")).suggest("such as 2026-06-30")
        })
    }

    pub fn fault(&self, message: String) -> Problem {
        fault(&self.csv.path, self.line, message)
    }
}

/// The records of a text with the line on which each begins.
fn split(bytes: &[u8]) -> Result<Vec<Record>, (u64, &'static str)> {
    let mut reader = csv_core::Reader::new();
    let mut output = vec![0; bytes.len() + 1];
    let mut ends = vec![0; COLUMNS_MAX];
    let mut rows = Vec::new();
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    loop {
        // Blank lines before a record are part of what is read for it.
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let blank = rest[..blank].iter().filter(|byte| **byte == b'\n').count();
        let line = reader.line() + u64::try_from(blank).unwrap_or_default();
        let (mut written, mut columns) = (0, 0);
        loop {
            let (result, read, wrote, ended) =
                reader.read_record(rest, &mut output[written..], &mut ends[columns..]);
            rest = &rest[read..];
            written += wrote;
            columns += ended;
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull => return Err((line, "too long a record")),
                csv_core::ReadRecordResult::OutputEndsFull => {
                    return Err((line, "too many columns"));
                }
                csv_core::ReadRecordResult::Record => break,
                csv_core::ReadRecordResult::End => return Ok(rows),
            }
        }
        let mut start = 0;
        let mut values = Vec::with_capacity(columns);
        for end in &ends[..columns] {
            let Ok(value) = std::str::from_utf8(&output[start..*end]) else {
                return Err((line, "not UTF-8"));
            };
            values.push(value.to_owned());
            start = *end;
        }
        rows.push((line, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_line_on_which_they_begin() {
        let text = b"a,b\n\n1,\"x\ny\"\r\n2,z\n\n\n3,w";
        let rows = split(text).unwrap();
        let lines: Vec<u64> = rows.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 5, 8]);
        assert_eq!(rows[1].1, ["1", "x\ny"]);
        assert_eq!(split(b"\xef\xbb\xbfa\n").unwrap()[0].1, ["a"]);
        assert_eq!(split(b"a\n\xff\n"), Err((2, "not UTF-8")));
        assert_eq!(split(b""), Ok(Vec::new()));
    }
}
