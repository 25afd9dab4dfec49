//! What was, as files that other engines read: changes of segment by day, and a profile of every
//! customer at the close of days.
//!
//! Owns which rows go into which file of the store that snapshots are in, and that each is there
//! once:
//!
//! ```text
//! history/changes/day=2026-06-30/part-00003-00000.parquet
//! history/profiles/day=2026-06-30/part-00003-00000-last.parquet
//! ```
//!
//! The day is the partition's open day when a change was decided, or the day that was closed; the
//! numbers are those of the partition and of the part. Rows that were not yet written are in
//! snapshots, and the replay makes those again that came after, so a crash loses none; a file that is
//! made again has the name of the one before. The worker hands over what has been committed and is
//! never stopped by a store. Knows nothing of SQL.

mod past;
mod roll;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use cardlens_model::{Day, PartitionId};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

use crate::view::Layout;
use crate::{Error, Remote};
pub(crate) use past::{Past, Shown, WAITING_MAX};
pub use rows::change_schema;
pub(crate) use rows::{NamedChange, Standing};
pub(crate) use writer::{Done, Job, Writer};

/// The folder of all of it, in the store.
pub const FOLDER: &str = "history";

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Changes of segment.
    Changes,
    /// Customers at the close of a day.
    Profiles,
}

impl Kind {
    /// The folder, in [`FOLDER`].
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Profiles => "profiles",
        }
    }
}

/// At the close of which days profiles are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profiles {
    /// Of every day.
    Daily,
    /// Of Sundays.
    Weekly,
}

impl Profiles {
    fn of(self, day: Day) -> bool {
        // The fourth day of 1970 was a Sunday.
        self == Self::Daily || (day.0 - 3).rem_euclid(7) == 0
    }
}

/// What of the past is kept, and how long.
#[derive(Debug, Clone)]
pub struct History {
    /// When profiles are taken, if ever.
    pub profiles: Option<Profiles>,
    /// Files of days further back are removed; none when absent.
    pub retention_days: Option<u16>,
    /// Digits after the decimal point of the reporting currency.
    pub currency_exponent: u8,
    /// Whose features profiles have.
    pub layout: Arc<Layout>,
}

/// The files, for whoever reads them; what else is in the store cannot be reached.
#[derive(Debug, Clone)]
pub struct Files(pub Arc<dyn ObjectStore>);

impl Files {
    /// Of the engines' store in a folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let failed =
            |e: object_store::Error| Error::caused(format!("open `{}`", folder.display()), e);
        let store = LocalFileSystem::new_with_prefix(folder).map_err(failed)?;
        Ok(Self(Arc::new(PrefixStore::new(store, FOLDER))))
    }

    /// Of the engines' store at a URL.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn at(remote: &Remote) -> Result<Self, Error> {
        Ok(Self(Arc::new(PrefixStore::new(remote.open()?, FOLDER))))
    }
}

/// A part: its day, and its number within the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The day.
    pub day: Day,
    /// Its number, from 0.
    pub part: u32,
}

impl Place {
    fn next(self) -> Self {
        Self { part: self.part + 1, ..self }
    }
}

/// A file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// The partition of the input.
    pub partition: PartitionId,
    /// The part.
    pub place: Place,
    /// The last of its day; told of profiles alone.
    pub last: bool,
}

/// The name of a day's folder.
#[must_use]
pub fn folder_of(day: Day) -> String {
    format!("day={day}")
}

/// The day of a folder's name.
#[must_use]
pub fn day_of(folder: &str) -> Option<Day> {
    folder.strip_prefix("day=").and_then(Day::parse)
}

impl File {
    /// Its folder and name.
    #[must_use]
    pub fn path(&self) -> String {
        let last = if self.last { "-last" } else { "" };
        let (folder, part) = (folder_of(self.place.day), self.place.part);
        format!("{folder}/part-{:05}-{part:05}{last}.parquet", self.partition.0)
    }

    /// The file of a folder's and a file's name; none for anything else that lies there.
    #[must_use]
    pub fn parse(folder: &str, name: &str) -> Option<Self> {
        let day = day_of(folder)?;
        let name = name.strip_prefix("part-")?.strip_suffix(".parquet")?;
        let (name, last) = name.strip_suffix("-last").map_or((name, false), |name| (name, true));
        let (partition, part) = name.split_once('-')?;
        let partition = PartitionId(partition.parse().ok()?);
        Some(Self { partition, place: Place { day, part: part.parse().ok()? }, last })
    }
}
