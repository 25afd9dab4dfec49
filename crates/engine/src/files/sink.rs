//! Files as a sink: changes and rejected records, a JSON object a line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cardlens_model::Position;

use super::Places;
use crate::{Error, Output, Progress, Sink, Topic};

/// Writes `changes.jsonl` and `rejected.jsonl` into a directory.
pub struct FileSink {
    changes: BufWriter<File>,
    rejected: BufWriter<File>,
    places: Places,
    counts: [u64; 2],
}

impl FileSink {
    /// Creates both files, in place of older ones.
    ///
    /// # Errors
    /// The directory or a file cannot be created.
    pub fn create(directory: &Path, places: Places) -> Result<Self, Error> {
        std::fs::create_dir_all(directory)
            .map_err(|e| Error::caused(format!("create `{}`", directory.display()), e))?;
        let open = |name: &str| {
            let path = directory.join(name);
            let failed = |e| Error::caused(format!("create `{}`", path.display()), e);
            File::create(&path).map(|file| BufWriter::with_capacity(1 << 18, file)).map_err(failed)
        };
        Ok(Self {
            changes: open("changes.jsonl")?,
            rejected: open("rejected.jsonl")?,
            places,
            counts: [0; 2],
        })
    }

    /// Changes and rejected records written so far.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        self.counts
    }

    fn write(&mut self, output: &Output) -> std::io::Result<()> {
        match output.topic {
            Topic::Changes => {
                self.counts[0] += 1;
                write_change(&mut self.changes, output)
            }
            Topic::DeadLetters => {
                self.counts[1] += 1;
                write_rejected(&mut self.rejected, output, &self.places)
            }
            Topic::Current | Topic::Decisions => Ok(()),
        }
    }
}

impl Sink for FileSink {
    fn commit(&mut self, outputs: &[Output], _progress: &[Progress]) -> Result<(), Error> {
        for output in outputs {
            self.write(output).map_err(|e| Error::Setup(format!("write the results: {e}")))?;
        }
        let flushed = self.changes.flush().and_then(|()| self.rejected.flush());
        flushed.map_err(|e| Error::Setup(format!("write the results: {e}")))
    }
}

/// A text as JSON.
fn text(bytes: &[u8]) -> String {
    serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string()
}

/// An event as a consumer of the topic sees it: partition, key, headers and value.
pub(crate) fn write_change(out: &mut impl Write, output: &Output) -> std::io::Result<()> {
    let key = text(output.key.as_deref().unwrap_or_default());
    write!(out, "{{\"partition\":{},\"key\":{key},\"headers\":{{", output.partition.0)?;
    for (place, (name, value)) in output.headers.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}{}:{}", text(name.as_bytes()), text(value))?;
    }
    out.write_all(b"},\"value\":")?;
    out.write_all(output.value.as_deref().unwrap_or(b"null"))?;
    out.write_all(b"}\n")
}

fn write_rejected(out: &mut impl Write, output: &Output, places: &Places) -> std::io::Result<()> {
    let header = |name: &str| {
        let found = output.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    let position = Position(header("__connect.errors.offset").parse().unwrap_or(-1));
    let (file, line) = places.of(position).unwrap_or_default();
    let original = output.value.as_deref().map_or_else(|| "null".to_owned(), text);
    writeln!(
        out,
        "{{\"position\":{},\"file\":{},\"line\":{line},\"reason\":{},\"message\":{},\"original\":{original}}}",
        position.0,
        text(file.to_string_lossy().as_bytes()),
        text(header("cardlens_reason").as_bytes()),
        text(header("__connect.errors.exception.message").as_bytes()),
    )
}
