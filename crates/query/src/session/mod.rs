//! What one connection keeps between its statements.
//!
//! Every map here has a bound, because a client can fill it: cursors, prepared statements and
//! settings. A session belongs to one connection and ends with it; nothing of it is shared with
//! another one but the handle by which a running statement is cancelled.

pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::budget::guard::Stop;
use crate::front::{Fault, Prepared, Role, Rows, State};
use settings::Settings;

/// Most cursors and portals that one session may have open.
const CURSORS: usize = 32;
/// Most prepared statements of one session.
const STATEMENTS: usize = 1_000;

/// A result that is read in parts.
pub struct Cursor {
    /// Outlives its transaction.
    pub hold: bool,
    /// What is left of it.
    pub rows: tokio::sync::Mutex<Rows>,
}

/// State of one connection.
pub struct Session {
    /// Who.
    pub user: String,
    /// As whom.
    pub role: Arc<Role>,
    /// Number by which the client names this connection.
    pub number: i32,
    /// Address of the client.
    pub client: String,
    /// SET and SHOW.
    settings: Mutex<Settings>,
    running: Mutex<Option<Arc<Stop>>>,
    cursors: Mutex<BTreeMap<String, Arc<Cursor>>>,
    /// By PREPARE.
    prepared: Mutex<BTreeMap<String, Arc<Prepared>>>,
    /// By the protocol; the statements themselves belong to the connection.
    parsed: Mutex<BTreeSet<String>>,
    positions: Mutex<BTreeMap<u32, i64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// A session that has done nothing yet.
    #[must_use]
    pub fn new(
        user: String,
        role: Arc<Role>,
        number: i32,
        client: String,
        settings: Settings,
    ) -> Self {
        Self {
            user,
            role,
            number,
            client,
            settings: Mutex::new(settings),
            running: Mutex::default(),
            cursors: Mutex::default(),
            prepared: Mutex::default(),
            parsed: Mutex::default(),
            positions: Mutex::default(),
        }
    }

    /// The settings, for a moment.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// Says what runs now, so that it can be cancelled.
    pub fn begin(&self, stop: &Arc<Stop>) {
        *lock(&self.running) = Some(Arc::clone(stop));
    }

    /// Cancels what runs now, if anything does.
    pub fn cancel(&self) {
        if let Some(stop) = lock(&self.running).as_ref() {
            stop.cancel();
        }
    }

    /// The positions that the last statement read from.
    #[must_use]
    pub fn positions(&self) -> String {
        let positions = lock(&self.positions);
        let each = positions.iter().map(|(partition, position)| format!("{partition}:{position}"));
        each.collect::<Vec<_>>().join(",")
    }

    /// Keeps the positions that a statement read from.
    pub fn saw(&self, positions: BTreeMap<u32, i64>) {
        if !positions.is_empty() {
            *lock(&self.positions) = positions;
        }
    }

    /// A cursor or portal of that name.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Option<Arc<Cursor>> {
        lock(&self.cursors).get(name).map(Arc::clone)
    }

    /// Opens a cursor.
    ///
    /// # Errors
    /// There is one of that name, or there are too many.
    pub fn open(&self, name: &str, cursor: Cursor) -> Result<Arc<Cursor>, Fault> {
        let mut cursors = lock(&self.cursors);
        if cursors.contains_key(name) {
            return Err(Fault::new(
                State::CursorExists,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        if cursors.len() >= CURSORS {
            return Err(Fault::limit(format!(
                "statement passes the limit `cursors`: at most {CURSORS} are open in one session"
            )));
        }
        let cursor = Arc::new(cursor);
        cursors.insert(name.to_owned(), Arc::clone(&cursor));
        Ok(cursor)
    }

    /// Closes a cursor; says whether there was one.
    pub fn close(&self, name: &str) -> bool {
        lock(&self.cursors).remove(name).is_some()
    }

    /// Closes all cursors, or those that end with a transaction.
    pub fn close_all(&self, held_too: bool) {
        lock(&self.cursors).retain(|_, cursor| cursor.hold && !held_too);
    }

    /// A statement prepared by PREPARE.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn prepared(&self, name: &str) -> Result<Arc<Prepared>, Fault> {
        lock(&self.prepared).get(name).map(Arc::clone).ok_or_else(|| no_statement(name))
    }

    /// Keeps a statement of PREPARE.
    ///
    /// # Errors
    /// There is one of that name, or there are too many.
    pub fn prepare(&self, name: &str, prepared: Arc<Prepared>) -> Result<(), Fault> {
        let mut statements = lock(&self.prepared);
        if statements.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Fault::new(State::StatementExists, message));
        }
        if statements.len() >= STATEMENTS {
            return Err(too_many_statements());
        }
        statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// Keeps the name of a statement that the protocol prepared.
    ///
    /// # Errors
    /// There are too many.
    pub fn parsed(&self, name: &str) -> Result<(), Fault> {
        let mut names = lock(&self.parsed);
        if names.len() >= STATEMENTS && !names.contains(name) {
            return Err(too_many_statements());
        }
        names.insert(name.to_owned());
        Ok(())
    }

    /// Forgets statements; returns the names of those that the protocol prepared.
    pub fn deallocate(&self, name: Option<&str>) -> (bool, Vec<String>) {
        let mut prepared = lock(&self.prepared);
        let mut parsed = lock(&self.parsed);
        match name {
            Some(name) => {
                let here = prepared.remove(name).is_some();
                let there = parsed.remove(name);
                (here || there, if there { vec![name.to_owned()] } else { Vec::new() })
            }
            None => {
                prepared.clear();
                (true, std::mem::take(&mut *parsed).into_iter().collect())
            }
        }
    }
}

/// The fault of a statement that nobody prepared.
#[must_use]
pub fn no_statement(name: &str) -> Fault {
    Fault::new(State::NoStatement, format!("prepared statement \"{name}\" does not exist"))
}

fn too_many_statements() -> Fault {
    Fault::limit(format!(
        "statement passes the limit `prepared`: at most {STATEMENTS} statements in one session"
    ))
}
