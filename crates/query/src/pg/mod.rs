//! The Postgres wire.
//!
//! Reads and writes the messages of protocol 3 with `pgwire`; what a statement means and costs is
//! the business of [`crate::front`]. The loop over connections is ours: it counts them, gives each
//! a time to log in, ends a statement whose client has gone, and bounds what a client may send.

pub mod catalogue;
mod copy;
mod encode;
mod extended;
mod login;
mod replies;
mod server;
mod simple;

pub use login::Tls;
pub use server::{Options, Registry, serve};

use std::sync::Arc;

use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};

use crate::front::{Command, Fault, Front, Prepared, State};
use crate::session::Session;

/// A statement of the extended protocol.
#[derive(Clone)]
pub struct Parsed {
    command: Command,
    /// The query of it, planned once.
    prepared: Option<Arc<Prepared>>,
}

/// Answers the statements of one connection.
#[derive(Clone)]
pub struct Handler {
    front: Arc<Front>,
}

impl Handler {
    /// The session of a connection that has logged in.
    fn session<C: ClientInfo>(client: &C) -> Result<Arc<Session>, Fault> {
        let session = client.session_extensions().get::<Arc<Session>>();
        let missing = || Fault::fatal(State::ProtocolViolation, "the connection has not logged in");
        session.map(|session| Arc::clone(session.as_ref())).ok_or_else(missing)
    }
}

impl From<Fault> for PgWireError {
    fn from(fault: Fault) -> Self {
        let severity = if fault.fatal { "FATAL" } else { "ERROR" };
        let mut told =
            ErrorInfo::new(severity.to_owned(), fault.state.code().to_owned(), fault.message);
        told.hint = fault.hint;
        told.severity_nonlocalized = Some(severity.to_owned());
        Self::UserError(Box::new(told))
    }
}
