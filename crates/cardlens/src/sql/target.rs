//! Where results go: standard output, or a file that is there once all of it is.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 64 << 10;

type Out = BufWriter<Box<dyn Write + Send>>;

/// An output. A file that was not finished is gone when this is dropped.
pub(super) struct Target {
    out: Out,
    terminal: bool,
    results: usize,
    /// The file that is written, and what it becomes.
    becomes: Option<(PathBuf, PathBuf)>,
}

impl Target {
    /// Standard output without a path.
    pub(super) fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let stdout = io::stdout();
            let terminal = stdout.is_terminal();
            return Ok(Self::over(Box::new(stdout), terminal, None));
        };
        let failed =
            |error: io::Error| anyhow::Error::new(error).context(path.display().to_string());
        // A pipe or a device is written to as it is: there is nothing to put in its place.
        if std::fs::metadata(path).is_ok_and(|known| !known.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Self::over(Box::new(file), false, None));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(name);
        let file = File::create(&part).map_err(failed)?;
        Ok(Self::over(Box::new(file), false, Some((part, path.to_owned()))))
    }

    fn over(
        out: Box<dyn Write + Send>,
        terminal: bool,
        becomes: Option<(PathBuf, PathBuf)>,
    ) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self { out, terminal, results: 0, becomes }
    }

    /// Results that were begun.
    pub(super) fn results(&self) -> usize {
        self.results
    }

    /// Begins a result: where it goes, and where its lines are cut.
    pub(super) fn next(&mut self) -> (&mut Out, Option<usize>) {
        self.results += 1;
        // Measured each time: windows change.
        let size = self.terminal.then(terminal_size::terminal_size).flatten();
        (&mut self.out, size.map(|(width, _)| usize::from(width.0)))
    }

    /// Everything is written: the file takes its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match self.out.flush() {
            // Whoever read it has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error),
            Ok(()) => match self.becomes.take() {
                Some((part, path)) => std::fs::rename(part, path),
                None => Ok(()),
            },
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((part, _)) = self.becomes.take() {
            // It may be gone already, which is what is wanted.
            drop(std::fs::remove_file(part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_once_it_is_whole() {
        let folder =
            std::env::temp_dir().join(format!("cardlens-sql-target-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("rows.csv");
        let names = || std::fs::read_dir(&folder).unwrap().count();
        let mut target = Target::new(Some(&path)).unwrap();
        target.next().0.write_all(b"half").unwrap();
        assert!(!path.exists() && names() == 1);
        drop(target);
        assert_eq!(names(), 0);
        let mut target = Target::new(Some(&path)).unwrap();
        target.next().0.write_all(b"whole").unwrap();
        assert_eq!(target.results(), 1);
        target.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(), 1);
        assert!(Target::new(Some(&folder.join("none/rows.csv"))).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
