//! The text files of the repository, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Larger files are data, not text that somebody wrote.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Folders that hold nothing of ours.
const FOREIGN: [&str; 2] = [".git", "target"];

/// Path from the root (with `/`) to text. Files that are not text are there, empty.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads everything below `root` that is not built.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        Ok(tree)
    }

    /// Builds a tree of a test.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Self { files: files.iter().map(own).collect() }
    }

    fn add(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        let context = || format!("read `{}`", dir.display());
        for entry in fs::read_dir(dir).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().with_context(context)?;
            if kind.is_dir() && !FOREIGN.contains(&name.as_str()) {
                self.add(&entry.path(), &format!("{prefix}{name}/"))?;
            } else if kind.is_file() {
                let small = entry.metadata().with_context(context)?.len() <= FILE_BYTES_MAX;
                let bytes =
                    if small { fs::read(entry.path()).with_context(context)? } else { vec![] };
                let text = String::from_utf8(bytes).unwrap_or_default();
                self.files.insert(format!("{prefix}{name}"), text);
            }
        }
        Ok(())
    }

    /// Returns the text of one file.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Returns all files in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Returns the files below `folder` (which ends in `/`).
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files().filter(move |(path, _)| path.starts_with(folder))
    }

    /// Returns the files whose names end in `.rs`.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Returns whether `path` is a file or a folder with something in it.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.below(&folder).next().is_some()
    }

    /// Returns how many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }
}
