//! Logical lines of a file, a chunk at a time.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::Error;

/// Bytes read at a time, and so the least memory of a reader.
const CHUNK: usize = 1 << 20;
/// The longest line; a longer one is an error of the file, not of a record.
const LINE_MAX: usize = 16 << 20;

/// Counts the compressed bytes that pass.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Opens a file, plain or gzip (told by its first bytes); what is read of it is added to `bytes`.
pub(super) fn open(path: &Path, bytes: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>, Error> {
    let failed = |error| Error::caused(format!("open `{}`", path.display()), error);
    let mut head = [0u8; 2];
    let found = File::open(path).and_then(|mut file| file.read(&mut head)).map_err(failed)?;
    let file = Counted { inner: File::open(path).map_err(failed)?, bytes };
    if found == 2 && head == [0x1f, 0x8b] {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, file))));
    }
    Ok(Box::new(file))
}

/// Splits a stream into lines. A line of CSV goes on while a quote is open.
pub(super) struct Lines {
    reader: Box<dyn Read + Send>,
    quotes: bool,
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were handed out with the last chunk.
    taken: usize,
    ended: bool,
    name: String,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn Read + Send>, quotes: bool, name: String) -> Self {
        Self { reader, quotes, buffer: Vec::new(), taken: 0, ended: false, name }
    }

    /// Reads on and returns the byte ranges of the whole lines now in [`Lines::bytes`], without
    /// their ends; empty at the end of the file.
    pub(super) fn next_chunk(&mut self, ranges: &mut Vec<(usize, usize)>) -> Result<(), Error> {
        ranges.clear();
        self.buffer.drain(..self.taken);
        self.taken = 0;
        loop {
            self.split(ranges);
            if !ranges.is_empty() || self.ended {
                return Ok(());
            }
            if self.buffer.len() > LINE_MAX {
                let what = format!("read `{}`: a line of more than {LINE_MAX} bytes", self.name);
                return Err(Error::Setup(what));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Error> {
        let start = self.buffer.len();
        self.buffer.resize(start + CHUNK, 0);
        let mut filled = start;
        while filled < self.buffer.len() {
            let read = self.reader.read(&mut self.buffer[filled..]);
            match read.map_err(|e| Error::caused(format!("read `{}`", self.name), e))? {
                0 => {
                    self.ended = true;
                    break;
                }
                count => filled += count,
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }

    fn split(&mut self, ranges: &mut Vec<(usize, usize)>) {
        let (mut start, mut open) = (0, false);
        let mut from = 0;
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[from..]) {
            let end = from + found;
            if self.quotes {
                let quotes = memchr::memchr_iter(b'"', &self.buffer[from..end]).count();
                open ^= quotes % 2 == 1;
            }
            from = end + 1;
            if !open {
                push(&self.buffer, start, end, ranges);
                start = from;
            }
        }
        if self.ended && start < self.buffer.len() {
            push(&self.buffer, start, self.buffer.len(), ranges);
            start = self.buffer.len();
        }
        self.taken = start;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }
}

/// Adds a line without its carriage return; empty lines are none.
fn push(buffer: &[u8], start: usize, end: usize, ranges: &mut Vec<(usize, usize)>) {
    let end = if end > start && buffer[end - 1] == b'\r' { end - 1 } else { end };
    if end > start {
        ranges.push((start, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static str, quotes: bool) -> Vec<String> {
        let mut lines = Lines::new(Box::new(text.as_bytes()), quotes, "test".into());
        let (mut ranges, mut all) = (Vec::new(), Vec::new());
        loop {
            lines.next_chunk(&mut ranges).unwrap();
            if ranges.is_empty() {
                return all;
            }
            for &(start, end) in &ranges {
                all.push(String::from_utf8_lossy(&lines.bytes()[start..end]).into_owned());
            }
        }
    }

    #[test]
    fn whole_lines() {
        assert_eq!(lines("a\r\n\nb\nc", false), ["a", "b", "c"]);
        assert_eq!(lines("a,\"x\ny\"\nb", true), ["a,\"x\ny\"", "b"]);
        assert!(lines("", true).is_empty());
    }
}
