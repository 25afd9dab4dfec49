//! Files as a sink: changes and rejected records, a JSON object a line.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cardlens_model::Position;

use super::Places;
use crate::{Error, Output, Outputs, Progress, Sink, Topic};

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

    fn write(&mut self, output: &Output<'_>) -> std::io::Result<()> {
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
    fn commit(&mut self, outputs: &Outputs, _progress: &[Progress]) -> Result<(), Error> {
        for output in outputs.iter() {
            self.write(&output).map_err(|e| Error::Setup(format!("write the results: {e}")))?;
        }
        let flushed = self.changes.flush().and_then(|()| self.rejected.flush());
        flushed.map_err(|e| Error::Setup(format!("write the results: {e}")))
    }
}

/// A text as JSON.
fn text(bytes: &[u8]) -> String {
    serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string()
}

fn write_text(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    Ok(serde_json::to_writer(out, String::from_utf8_lossy(bytes).as_ref())?)
}

/// An event as a consumer of the topic sees it: partition, key, headers and value.
pub(crate) fn write_change(out: &mut impl Write, output: &Output<'_>) -> std::io::Result<()> {
    write!(out, "{{\"partition\":{},\"key\":", output.partition.0)?;
    write_text(out, output.key.unwrap_or_default())?;
    out.write_all(b",\"headers\":{")?;
    for (place, (name, value)) in output.headers().enumerate() {
        out.write_all(if place == 0 { b"" } else { b"," })?;
        write_text(out, name.as_bytes())?;
        out.write_all(b":")?;
        write_text(out, value)?;
    }
    out.write_all(b"},\"value\":")?;
    out.write_all(output.value.unwrap_or(b"null"))?;
    out.write_all(b"}\n")
}

fn write_rejected(
    out: &mut impl Write,
    output: &Output<'_>,
    places: &Places,
) -> std::io::Result<()> {
    let header = |name: &str| output.header(name).map(String::from_utf8_lossy).unwrap_or_default();
    let position = Position(header("__connect.errors.offset").parse().unwrap_or(-1));
    let (file, line) = places.of(position).unwrap_or_default();
    let original = output.value.map_or_else(|| "null".to_owned(), text);
    writeln!(
        out,
        "{{\"position\":{},\"file\":{},\"line\":{line},\"reason\":{},\"message\":{},\"original\":{original}}}",
        position.0,
        text(file.to_string_lossy().as_bytes()),
        text(header("cardlens_reason").as_bytes()),
        text(header("__connect.errors.exception.message").as_bytes()),
    )
}
