//! Statements of this gateway that have not ended, and the last that have.
//!
//! A statement is listed from when it comes, and told of as ended when its rows were read, it failed,
//! or whoever asked has gone. Bounded: what runs by the limits of statements and sessions, what has
//! ended by [`ENDED`], and every text by [`TEXT`]. A role sees its own; an operator sees all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cardlens_engine::{Clock, SystemClock};

use super::metrics::Outcome;
use super::{Caller, Fault, Role};
use crate::relations::QueryRow;

/// Statements that are told of after they ended.
const ENDED: usize = 200;
/// Characters of a text.
const TEXT: usize = 1_000;

/// Cuts a text to what is kept of it.
pub(super) fn cut(text: &str) -> Arc<str> {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Statements of a front; cloning shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clock: SystemClock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    running: BTreeMap<u64, Running>,
    /// The last first.
    ended: VecDeque<QueryRow>,
}

#[derive(Debug)]
struct Running {
    row: QueryRow,
    since: Duration,
    read: Arc<AtomicU64>,
}

impl Running {
    fn row(&self, now: Duration) -> QueryRow {
        let duration = now.saturating_sub(self.since);
        let row_count = self.read.load(Ordering::Relaxed);
        QueryRow { duration, row_count, ..self.row.clone() }
    }
}

impl Activity {
    /// Lists a statement that waits for its turn.
    pub(super) fn begin(&self, caller: &Caller, statement: &Arc<str>) -> Listed {
        let application = caller.settings.iter().find(|(name, _)| name == "application_name");
        let application = application.map(|(_, value)| value.clone()).filter(|it| !it.is_empty());
        let row = QueryRow {
            pid: (caller.number != 0).then_some(caller.number),
            role: caller.role.name.clone(),
            protocol: caller.protocol.name(),
            application,
            client: caller.client.clone(),
            state: Phase::Waiting.name(),
            started_at: self.0.clock.now_ms(),
            duration: Duration::ZERO,
            row_count: 0,
            sqlstate: None,
            statement: Arc::clone(statement),
        };
        let (since, read) = (self.0.clock.elapsed(), Arc::new(AtomicU64::new(0)));
        let mut kept = self.lock();
        kept.last += 1;
        let number = kept.last;
        kept.running.insert(number, Running { row, since, read: Arc::clone(&read) });
        Listed { activity: self.clone(), number, read }
    }

    /// What a role may see: those that run, oldest first, and then those that ended, last first.
    pub(super) fn seen_by(&self, role: &Role) -> Vec<QueryRow> {
        let now = self.0.clock.elapsed();
        let kept = self.lock();
        let own = |row: &&QueryRow| role.operator || row.role == role.name;
        let running = kept.running.values().filter(|it| own(&&it.row)).map(|it| it.row(now));
        running.chain(kept.ended.iter().filter(own).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A statement that is told of as not ended, until this is dropped at the latest.
#[derive(Debug)]
pub(super) struct Listed {
    activity: Activity,
    number: u64,
    read: Arc<AtomicU64>,
}

/// What a statement is doing that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Others have all the turns.
    Waiting,
    /// It has its turn.
    Running,
    /// It has none, and needs none until its rows are taken up.
    Paused,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
        }
    }
}

impl Listed {
    /// What it does from now on.
    pub(super) fn does(&self, phase: Phase) {
        if let Some(running) = self.activity.lock().running.get_mut(&self.number) {
            running.row.state = phase.name();
        }
    }

    /// So many rows were handed over by now.
    pub(super) fn read(&self, rows: u64) {
        self.read.store(rows, Ordering::Relaxed);
    }

    /// It ended with a fault.
    pub(super) fn failed(&self, fault: &Fault) {
        self.end(Outcome::of(fault), Some(fault.state.code()));
    }

    /// It ended; the first word stands.
    pub(super) fn end(&self, outcome: Outcome, sqlstate: Option<&'static str>) {
        let now = self.activity.0.clock.elapsed();
        let mut kept = self.activity.lock();
        let Some(running) = kept.running.remove(&self.number) else { return };
        let row = QueryRow { state: outcome.name(), sqlstate, ..running.row(now) };
        kept.ended.push_front(row);
        kept.ended.truncate(ENDED);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned, None);
    }
}

#[cfg(test)]
mod tests {
    use crate::front::{Protocol, State};

    use super::*;

    fn caller(role: &str) -> Caller {
        Caller {
            user: role.to_owned(),
            role: Arc::new(Role { name: role.to_owned(), ..Role::default() }),
            number: 7,
            client: Some("192.0.2.1".to_owned()),
            protocol: Protocol::Postgres,
            settings: vec![("application_name".to_owned(), "psql".to_owned())],
            timeout: Duration::from_secs(1),
            partial: false,
        }
    }

    fn states(activity: &Activity, role: &Role) -> Vec<(String, &'static str, u64)> {
        let rows = activity.seen_by(role).into_iter();
        rows.map(|row| (row.role, row.state, row.row_count)).collect()
    }

    #[test]
    fn each_role_sees_its_own_and_an_operator_all() {
        let activity = Activity::default();
        let (one, other) = (caller("one"), caller("other"));
        let first = activity.begin(&one, &cut("select 1"));
        let second = activity.begin(&other, &cut("select 2"));
        assert_eq!(states(&activity, &one.role), [("one".to_owned(), "waiting", 0)]);
        first.does(Phase::Running);
        first.read(5);
        assert_eq!(states(&activity, &one.role), [("one".to_owned(), "running", 5)]);
        first.does(Phase::Paused);
        assert_eq!(states(&activity, &one.role), [("one".to_owned(), "paused", 5)]);
        second.failed(&Fault::limit("too much"));
        first.end(Outcome::Answered, None);
        first.failed(&Fault::new(State::Internal, "too late to say so"));
        drop((first, second));
        let operator = Role { operator: true, ..Role::default() };
        let all = [("one".to_owned(), "answered", 5), ("other".to_owned(), "refused", 0)];
        assert_eq!(states(&activity, &operator), all);
        assert_eq!(activity.seen_by(&other.role)[0].sqlstate, Some("54000"));
        assert!(states(&activity, &Role::default()).is_empty());
    }

    #[test]
    fn what_has_ended_is_bounded() {
        let activity = Activity::default();
        let caller = caller("one");
        for n in 0..ENDED + 5 {
            drop(activity.begin(&caller, &cut(&format!("select {n}"))));
        }
        let seen = activity.seen_by(&caller.role);
        assert_eq!((seen.len(), &*seen[0].statement), (ENDED, "select 204"));
        assert!(seen.iter().all(|row| row.state == "abandoned"));
        let long = cut(&"ä".repeat(TEXT + 1));
        assert_eq!((long.chars().count(), long.chars().last()), (TEXT + 1, Some('…')));
        assert_eq!(&*cut("select 1"), "select 1");
    }
}
