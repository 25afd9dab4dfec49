//! What a statement may cost.
//!
//! The gateway belongs to analysts, and a few kilobytes of SQL are enough to end a process that
//! plans them without asking. So a statement passes four gates, each of which names its limit when
//! it refuses: its text is measured before anything parses it ([`text`]), its functions are looked
//! up in a list ([`functions`]) and what they may grow is bounded ([`growth`]), every operator of
//! its plan is watched while it runs ([`guard`]), and its rows, bytes and time are counted from
//! outside ([`crate::front`]).
//!
//! Nothing here knows a protocol.

pub mod functions;
pub mod groups;
pub mod growth;
pub mod guard;
pub mod text;

use std::time::Duration;

use crate::front::{Fault, State};

/// Bounds of one gateway. None is unlimited: what is not configured has the default below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest text of one message, in bytes.
    pub text_bytes: usize,
    /// Most tokens of one message, white space left out.
    pub tokens: usize,
    /// Deepest nesting of brackets and CASE.
    pub nesting: usize,
    /// Deepest nesting of calls and arrays: the parser reads what is in each twice.
    pub calls: usize,
    /// Most operators in a row at one depth: `a + b + …`, `x = 1 OR …`, `NOT NOT …`.
    pub chain: usize,
    /// Most parts of WITH, UNION, INTERSECT and EXCEPT, and joined relations, in one statement.
    pub arms: usize,
    /// Most expressions in one list.
    pub projections: usize,
    /// Most rows of one result.
    pub result_rows: u64,
    /// Most bytes of one result, as held in memory.
    pub result_bytes: u64,
    /// Most pairs of rows that a join without an equality may compare.
    pub join_pairs: u64,
    /// Most bytes that functions which lengthen their input may make in one batch, and that
    /// aggregates which collect their input may collect in one statement.
    pub grown_bytes: u64,
    /// Memory of all statements together.
    pub memory_bytes: u64,
    /// Longest run of one statement; a client may set less for itself.
    pub statement_timeout: Duration,
    /// Longest that a result may lie unread, before it is let go.
    pub idle_timeout: Duration,
    /// Statements that are planned or run at one time.
    pub running: usize,
    /// Statements that wait for their turn; one more is refused.
    pub waiting: usize,
}

impl Limits {
    /// The fault of a statement, with the name of the limit where memory was over: whatever found
    /// that out knows no configuration.
    pub(crate) fn named(&self, fault: Fault) -> Fault {
        if fault.state != State::OutOfMemory {
            return fault;
        }
        let bytes = self.memory_bytes;
        let message = format!(
            "out of memory: the limit `memory_limit` is {bytes} bytes for all statements together"
        );
        Fault::new(State::OutOfMemory, message)
            .hint("filter or aggregate first, or ask again when fewer statements run")
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 64 << 10,
            tokens: 5_000,
            nesting: 50,
            calls: 12,
            chain: 500,
            arms: 64,
            projections: 1_000,
            result_rows: 10_000_000,
            result_bytes: 4 << 30,
            join_pairs: 100_000_000,
            grown_bytes: 32 << 20,
            memory_bytes: 1 << 30,
            statement_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            running: 8,
            waiting: 100,
        }
    }
}
