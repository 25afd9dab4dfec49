//! Files as a finite source of one or more partitions.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardlens_model::{NoHeaders, PartitionId, Position, Record};
use cardlens_wire::Field;

use super::csv::CsvLayout;
use super::lines::{Lines, open};
use super::partition_of;
use crate::decode::Format;
use crate::{Action, Bounds, Committed, EachPublished, Error, Polled, Source};

/// Records in one run handed to the worker.
const RUN_MAX: usize = 4_096;

/// What to read and how.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// Files, read one after the other; CSV files must have the same header.
    pub files: Vec<PathBuf>,
    /// Records are dealt to so many partitions.
    pub partitions: u32,
    /// Names of fields that differ from ours: field and column or JSON path.
    pub mapped: Vec<(Field, String)>,
    /// The reporting currency.
    pub currency: String,
}

/// How much was read, for a progress line.
#[derive(Debug, Clone)]
pub struct ReadProgress {
    /// Bytes of all files.
    pub total: u64,
    read: Arc<AtomicU64>,
}

impl ReadProgress {
    /// Bytes read so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// From positions back to files and lines.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<Vec<(i64, i64, PathBuf)>>>);

impl Places {
    /// Positions from `first` are lines of a file, the first of them its line `line`.
    fn add(&self, first: i64, line: i64, path: &Path) {
        let mut starts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        starts.push((first, line, path.to_owned()));
    }

    /// The file and its line (from 1, by records) at a position.
    #[must_use]
    pub fn of(&self, position: Position) -> Option<(PathBuf, i64)> {
        let starts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let after = starts.partition_point(|(first, ..)| *first <= position.0);
        let (first, line, path) = starts.get(after.checked_sub(1)?)?;
        Some((path.clone(), position.0 - first + line))
    }
}

/// What a file holds, told by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    /// Columns with this byte between them.
    Csv(u8),
    Parquet,
}

/// Ends of names, any of which but the last may be followed by `.gz`.
const ENDS: [(&str, Kind); 7] = [
    (".csv", Kind::Csv(b',')),
    (".txt", Kind::Csv(b',')),
    (".tsv", Kind::Csv(b'\t')),
    (".jsonl", Kind::Json),
    (".ndjson", Kind::Json),
    (".json", Kind::Json),
    (".parquet", Kind::Parquet),
];

/// A finite source: the lines of files.
pub struct FileSource {
    options: FileOptions,
    files: VecDeque<PathBuf>,
    layout: Option<CsvLayout>,
    kind: Kind,
    lines: Option<Lines>,
    /// Lines of the chunk in hand by partition: position and byte range.
    dealt: Vec<VecDeque<(i64, usize, usize)>>,
    ranges: Vec<(usize, usize)>,
    next_position: i64,
    progress: ReadProgress,
    places: Places,
    announced: bool,
    /// Partitions that may be delivered.
    resumed: BTreeSet<usize>,
}

impl FileSource {
    /// Opens the first file and reads its header.
    ///
    /// # Errors
    /// A file cannot be opened, or is of no known format or another one than the others, or lacks
    /// a required column.
    pub fn open(options: FileOptions) -> Result<Self, Error> {
        let kind = common_kind(&options.files)?;
        let mut total = 0;
        for file in &options.files {
            let size = std::fs::metadata(file)
                .map_err(|e| Error::caused(format!("open `{}`", file.display()), e))?;
            total += size.len();
        }
        let mut source = Self {
            files: options.files.iter().cloned().collect(),
            layout: None,
            kind,
            lines: None,
            dealt: (0..options.partitions.max(1)).map(|_| VecDeque::new()).collect(),
            ranges: Vec::new(),
            next_position: 0,
            progress: ReadProgress { total, read: Arc::default() },
            places: Places::default(),
            announced: false,
            resumed: BTreeSet::new(),
            options,
        };
        source.open_next()?;
        Ok(source)
    }

    /// How a worker decodes what this source delivers.
    #[must_use]
    pub fn format(&self) -> Format {
        self.layout.clone().map_or(Format::Json, |layout| Format::Csv(Box::new(layout)))
    }

    /// A handle on how much was read.
    #[must_use]
    pub fn progress(&self) -> ReadProgress {
        self.progress.clone()
    }

    /// A handle from positions to files and lines.
    #[must_use]
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Opens the next file; false when there is none.
    fn open_next(&mut self) -> Result<bool, Error> {
        let Some(path) = self.files.pop_front() else {
            self.lines = None;
            return Ok(false);
        };
        let name = path.display().to_string();
        let reader: Box<dyn Read + Send> = match self.kind {
            Kind::Parquet => super::tables::parquet_as_csv(&path, &self.progress.read)?,
            Kind::Csv(_) | Kind::Json => open(&path, Arc::clone(&self.progress.read))?,
        };
        let mut lines = Lines::new(reader, self.kind != Kind::Json, name.clone());
        let mut first_line = 1;
        if self.kind != Kind::Json {
            self.read_header(&mut lines, &name)?;
            first_line = 2;
        }
        self.places.add(self.next_position, first_line, &path);
        self.lines = Some(lines);
        self.deal()?;
        Ok(true)
    }

    /// Takes the first line as the header; the rest of its chunk stays to be dealt.
    fn read_header(&mut self, lines: &mut Lines, name: &str) -> Result<(), Error> {
        lines.next_chunk(&mut self.ranges)?;
        let Some(&(start, end)) = self.ranges.first() else {
            return Err(Error::Setup(format!("`{name}` is empty: it has no header")));
        };
        let header = &lines.bytes()[start..end];
        match &self.layout {
            Some(layout) if layout.same_header(header) => {}
            Some(_) => {
                let what = format!("the header of `{name}` differs from that of the files before");
                return Err(Error::Setup(what));
            }
            None => {
                let delimiter = if let Kind::Csv(delimiter) = self.kind { delimiter } else { b',' };
                let FileOptions { mapped, currency, .. } = &self.options;
                let layout = CsvLayout::new(header, delimiter, mapped, currency)
                    .map_err(|problem| Error::Setup(format!("`{name}`: {problem}")))?;
                self.layout = Some(layout);
            }
        }
        self.ranges.remove(0);
        Ok(())
    }

    /// Deals the lines in `ranges` to partitions.
    fn deal(&mut self) -> Result<(), Error> {
        let Some(lines) = &self.lines else { return Ok(()) };
        for &(start, end) in &self.ranges {
            let line = &lines.bytes()[start..end];
            let partition = match self.options.partitions {
                0 | 1 => 0,
                partitions => {
                    let customer = match &mut self.layout {
                        Some(layout) => layout.customer(line),
                        None => json_customer(line, &self.options.mapped),
                    };
                    // A line without a customer is rejected wherever it goes.
                    customer.map_or(0, |customer| partition_of(&customer, partitions))
                }
            };
            self.dealt[partition as usize].push_back((self.next_position, start, end));
            self.next_position += 1;
        }
        Ok(())
    }

    fn run(&mut self, partition: usize) -> Polled<'_> {
        let Some(lines) = &self.lines else { return Polled::Ended };
        let count = self.dealt[partition].len().min(RUN_MAX);
        let record = |(position, start, end): (i64, usize, usize)| Record {
            position: Position(position),
            appended_at: None,
            key: None,
            value: &lines.bytes()[start..end],
            headers: &NoHeaders,
        };
        let records: Vec<Record<'_>> = self.dealt[partition].drain(..count).map(record).collect();
        let next = records.last().map_or(0, |record| record.position.0 + 1);
        let partition = PartitionId(u32::try_from(partition).unwrap_or(u32::MAX));
        Polled::Records { partition, records, next: Position(next) }
    }
}

impl Source for FileSource {
    fn poll(&mut self, _wait: Duration) -> Result<Polled<'_>, Error> {
        if !self.announced {
            self.announced = true;
            let partitions = u32::try_from(self.dealt.len()).unwrap_or(u32::MAX);
            return Ok(Polled::Assigned((0..partitions).map(PartitionId).collect()));
        }
        if self.resumed.len() < self.dealt.len() {
            return Ok(Polled::Idle);
        }
        loop {
            if let Some(partition) = self.dealt.iter().position(|lines| !lines.is_empty()) {
                return Ok(self.run(partition));
            }
            let Some(lines) = &mut self.lines else { return Ok(Polled::Ended) };
            lines.next_chunk(&mut self.ranges).map_err(for_good)?;
            if self.ranges.is_empty() {
                if !self.open_next().map_err(for_good)? {
                    return Ok(Polled::Ended);
                }
                continue;
            }
            self.deal()?;
        }
    }

    fn committed(&mut self, _partition: PartitionId) -> Result<Option<Committed>, Error> {
        Ok(None)
    }

    fn bounds(&mut self, _partition: PartitionId) -> Result<Bounds, Error> {
        let high = Position(self.next_position);
        Ok(Bounds { low: Position(0), high, stable: high })
    }

    fn replay(
        &mut self,
        _partition: PartitionId,
        _from: Position,
        _to: Position,
        _each: &mut dyn FnMut(&[Record<'_>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn published(
        &mut self,
        _partition: PartitionId,
        _each: &mut EachPublished<'_>,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn decisions(
        &mut self,
        _partition: PartitionId,
        _each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        Ok(())
    }

    fn resume(&mut self, partition: PartitionId, _at: Position) -> Result<(), Error> {
        self.resumed.insert(partition.0 as usize);
        Ok(())
    }

    fn stop(&mut self, partition: PartitionId) -> Result<(), Error> {
        let what = format!("partition {} of the files cannot go on", partition.0);
        Err(Error::Setup(what))
    }

    fn released(&mut self, _partitions: &[PartitionId]) {}

    fn close(&mut self) {}
}

/// What cannot be read of a file now cannot be read later, and a file with a part left out would look
/// like a whole one.
fn for_good(error: Error) -> Error {
    match error.action() {
        Action::Retry => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Error::Setup(format!("{error}: {}", cause.unwrap_or_default()))
        }
        _ => error,
    }
}

/// The one format of all files.
fn common_kind(files: &[PathBuf]) -> Result<Kind, Error> {
    let mut common = None;
    for path in files {
        let Some(kind) = kind_of(path) else {
            let known = ENDS.map(|(end, _)| end).join(", ");
            return Err(Error::Setup(format!(
                "`{}`: the name does not say what it holds; it ends in one of {known}, and all \
                 but the last may be followed by .gz",
                path.display()
            )));
        };
        if *common.get_or_insert(kind) != kind {
            let what = format!("`{}` is of another format than the files before", path.display());
            return Err(Error::Setup(what));
        }
    }
    Ok(common.unwrap_or(Kind::Json))
}

fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    ENDS.into_iter().find(|(end, _)| plain.ends_with(end)).map(|(_, kind)| kind)
}

fn json_customer(line: &[u8], mapped: &[(Field, String)]) -> Option<Vec<u8>> {
    let named = mapped.iter().find(|(field, _)| *field == Field::Customer);
    let path = named.map_or(Field::Customer.name(), |(_, path)| path);
    let mut value: &serde_json::Value = &serde_json::from_slice(line).ok()?;
    for part in path.split('.') {
        value = value.get(part)?;
    }
    match value {
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_hold() {
        for (name, kind) in [
            ("a.csv", Some(Kind::Csv(b','))),
            ("A.CSV.GZ", Some(Kind::Csv(b','))),
            ("a.b.tsv.gz", Some(Kind::Csv(b'\t'))),
            ("a.ndjson", Some(Kind::Json)),
            ("a.parquet", Some(Kind::Parquet)),
            ("a", None),
            ("csv", None),
            ("a.csv.zst", None),
            ("a.gz", None),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
        let kinds = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            common_kind(&files).map_err(|error| error.to_string())
        };
        assert_eq!(kinds(&["a.csv", "b.txt.gz"]), Ok(Kind::Csv(b',')));
        assert!(kinds(&["a.csv", "b.tsv"]).unwrap_err().contains("`b.tsv` is of another format"));
        let unknown = kinds(&["a.csv", "history"]).unwrap_err();
        assert!(unknown.starts_with("`history`: the name does not say"), "{unknown}");
        assert!(
            unknown.contains(".csv, .txt, .tsv, .jsonl, .ndjson, .json, .parquet"),
            "{unknown}"
        );
    }
}
