//! What each kind of statement does, the same for both protocols.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion_postgres::pgwire::api::store::{MemPortalStore, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use futures::Sink;

use super::encode::feed;
use super::extended::portal_key;
use super::{Handler, Parsed};
use crate::budget::guard::Stop;
use crate::front::{Caller, Command, Copy, Fault, Prepared, Protocol, Rows, State};
use crate::session::{Cursor, Session, no_statement};

/// What to send for a statement.
pub(super) enum Reply {
    /// Rows of a query.
    Rows(Rows),
    /// A few rows that are there already.
    Table(RecordBatch),
    /// Rows in the form of COPY.
    Copy(Rows, Copy),
    /// The next rows of a cursor.
    Fetch {
        /// Which.
        cursor: Arc<Cursor>,
        /// How many; all if none.
        count: Option<u64>,
        /// Skips them.
        skip: bool,
    },
    /// Done.
    Tag(String),
}

impl Handler {
    /// What a statement needs to know of a session.
    pub(super) fn caller(&self, session: &Session) -> Caller {
        let settings = session.settings();
        Caller {
            user: session.user.clone(),
            role: Arc::clone(&session.role),
            number: session.number,
            client: Some(session.client.clone()),
            protocol: Protocol::Postgres,
            timeout: settings.statement_timeout(self.front.limits.statement_timeout),
            partial: settings.partial(),
            settings: settings.all(),
        }
    }

    /// Plans the query of a statement, if it has one.
    pub(super) async fn parse(&self, session: &Session, command: Command) -> Result<Parsed, Fault> {
        let query = match &command {
            Command::Query(query)
            | Command::Declare { query, .. }
            | Command::Prepare { query, .. } => Some(query),
            Command::Copy(copy) => Some(&copy.query),
            _ => None,
        };
        let prepared = match query {
            Some(query) => {
                let caller = self.caller(session);
                let stop = begun(session, &caller);
                Some(Arc::new(self.front.prepare(query, &caller, &stop).await?))
            }
            None => None,
        };
        Ok(Parsed { command, prepared })
    }

    /// Columns that a statement answers with; none for those that answer with a word.
    pub(super) fn columns(session: &Session, parsed: &Parsed) -> Option<SchemaRef> {
        match &parsed.command {
            Command::Query(_) => parsed.prepared.as_ref().map(|p| Arc::clone(&p.schema)),
            Command::Show(name) => Some(shown(name)),
            Command::Fetch { name, skip: false, .. } => {
                let cursor = session.cursor(name)?;
                cursor.rows.try_lock().ok().map(|rows| Arc::clone(&rows.schema))
            }
            Command::Execute { name, .. } => {
                session.prepared(name).ok().map(|p| Arc::clone(&p.schema))
            }
            _ => None,
        }
    }

    /// Does what a statement says.
    pub(super) async fn execute<C>(
        &self,
        client: &mut C,
        session: &Arc<Session>,
        parsed: &Parsed,
        values: ParamValues,
    ) -> PgWireResult<Reply>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        PgWireError: From<C::Error>,
    {
        let status = client.transaction_status();
        if status == TransactionStatus::Error
            && !matches!(parsed.command, Command::Rollback | Command::Commit)
        {
            let message =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Fault::new(State::FailedTransaction, message).into());
        }
        match &parsed.command {
            Command::Query(_) => Ok(Reply::Rows(self.rows(session, parsed, values).await?)),
            Command::Copy(copy) => {
                Ok(Reply::Copy(self.rows(session, parsed, values).await?, copy.clone()))
            }
            Command::Declare { name, hold, .. } => {
                if status == TransactionStatus::Idle && !hold {
                    let message = "DECLARE CURSOR can only be used in transaction blocks";
                    return Err(Fault::new(State::NoTransaction, message).into());
                }
                let rows = self.rows(session, parsed, values).await?;
                let rows = tokio::sync::Mutex::new(rows);
                session.open(name, Cursor { hold: *hold, rows })?;
                Ok(tag("DECLARE CURSOR"))
            }
            Command::Fetch { name, count, skip } => {
                let missing =
                    || Fault::new(State::NoCursor, format!("cursor \"{name}\" does not exist"));
                // asyncpg moves the portals of the protocol by their names.
                let portal = || session.cursor(&portal_key(name));
                let cursor = session.cursor(name).or_else(portal).ok_or_else(missing)?;
                Ok(Reply::Fetch { cursor, count: *count, skip: *skip })
            }
            Command::Prepare { name, .. } => {
                if let Some(prepared) = &parsed.prepared {
                    session.prepare(name, Arc::clone(prepared))?;
                }
                Ok(tag("PREPARE"))
            }
            Command::Execute { name, values } => self.executed(session, name, values).await,
            Command::Begin | Command::Commit | Command::Rollback => {
                Ok(transaction(client, session, &parsed.command))
            }
            Command::Set { name, value, local } => {
                let told = session.settings().set(name, value.as_deref(), *local)?;
                if let Some((name, value)) = told {
                    let status = ParameterStatus::new(name.to_owned(), value);
                    feed(client, PgWireBackendMessage::ParameterStatus(status)).await?;
                }
                Ok(tag("SET"))
            }
            other => self.word(client, session, other),
        }
    }

    /// Statements that only change what the session keeps.
    fn word<C>(&self, client: &mut C, session: &Session, command: &Command) -> PgWireResult<Reply>
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        match command {
            Command::Show(name) => Ok(Reply::Table(show(session, name)?)),
            Command::Reset(name) if name == "all" => {
                session.settings().reset();
                Ok(tag("RESET"))
            }
            Command::Reset(name) => {
                session.settings().set(name, None, false)?;
                Ok(tag("RESET"))
            }
            Command::DiscardAll => {
                session.settings().reset();
                session.close_all(true);
                forget(client, session, None)?;
                Ok(tag("DISCARD ALL"))
            }
            Command::Deallocate(name) => {
                forget(client, session, name.as_deref())?;
                Ok(tag(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" }))
            }
            Command::Close(Some(name)) if !session.close(name) => {
                Err(Fault::new(State::NoCursor, format!("cursor \"{name}\" does not exist")).into())
            }
            Command::Close(Some(_)) => Ok(tag("CLOSE CURSOR")),
            Command::Close(None) => {
                session.close_all(true);
                Ok(tag("CLOSE CURSOR ALL"))
            }
            Command::Nothing(word) | Command::Savepoint(word) => Ok(tag(word)),
            _ => Err(Fault::new(State::Internal, "a statement without an answer").into()),
        }
    }

    async fn rows(
        &self,
        session: &Session,
        parsed: &Parsed,
        values: ParamValues,
    ) -> Result<Rows, Fault> {
        let Some(prepared) = &parsed.prepared else {
            return Err(Fault::new(State::Internal, "a query without a plan"));
        };
        self.run(session, prepared, values).await
    }

    async fn run(
        &self,
        session: &Session,
        prepared: &Arc<Prepared>,
        values: ParamValues,
    ) -> Result<Rows, Fault> {
        let caller = self.caller(session);
        let stop = begun(session, &caller);
        self.front.run(prepared, values, &caller, &stop).await
    }

    /// EXECUTE: its values are worked out as a query of their own.
    async fn executed(
        &self,
        session: &Session,
        name: &str,
        values: &[String],
    ) -> PgWireResult<Reply> {
        let prepared = session.prepared(name)?;
        if values.len() != prepared.parameters.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Fault::new(State::SyntaxError, message).into());
        }
        let mut given = Vec::new();
        if !values.is_empty() {
            let query = format!("SELECT {}", values.join(", "));
            let caller = self.caller(session);
            let stop = begun(session, &caller);
            let query = self.front.prepare(&query, &caller, &stop).await?;
            let mut rows =
                self.run(session, &Arc::new(query), ParamValues::List(Vec::new())).await?;
            if let Some(batch) = rows.next(1).await? {
                for (column, parameter) in batch.columns().iter().zip(&prepared.parameters) {
                    let value = datafusion::common::ScalarValue::try_from_array(column, 0)
                        .map_err(Fault::from)?;
                    let value = match &parameter.kind {
                        Some(kind) => value.cast_to(kind).map_err(Fault::from)?,
                        None => value,
                    };
                    given.push(value);
                }
            }
        }
        let rows = self.run(session, &prepared, ParamValues::from(given)).await?;
        Ok(Reply::Rows(rows))
    }
}

/// What ends the work that a session begins now.
fn begun(session: &Session, caller: &Caller) -> Arc<Stop> {
    let stop = Arc::new(Stop::new(caller.timeout));
    session.begin(&stop);
    stop
}

fn tag(text: &str) -> Reply {
    Reply::Tag(text.to_owned())
}

/// Begins or ends a transaction, which only groups statements here: each sees its own picture.
fn transaction<C: ClientInfo>(client: &mut C, session: &Session, command: &Command) -> Reply {
    let failed = client.transaction_status() == TransactionStatus::Error;
    if *command == Command::Begin {
        client.set_transaction_status(TransactionStatus::Transaction);
        return tag("BEGIN");
    }
    client.set_transaction_status(TransactionStatus::Idle);
    session.close_all(false);
    session.settings().end_transaction();
    tag(if *command == Command::Commit && !failed { "COMMIT" } else { "ROLLBACK" })
}

/// Forgets prepared statements, those of the protocol too.
fn forget<C>(client: &mut C, session: &Session, name: Option<&str>) -> Result<(), Fault>
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    let (found, parsed) = session.deallocate(name);
    if let (Some(name), false) = (name, found) {
        return Err(no_statement(name));
    }
    let store = client.portal_store().as_any().downcast_ref::<MemPortalStore<Parsed>>();
    for (name, store) in parsed.iter().zip(std::iter::repeat(store)) {
        if let Some(store) = store {
            store.rm_statement(name);
        }
    }
    Ok(())
}

fn shown(name: &str) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let fields = match name {
        "all" => vec![text("name"), text("setting"), text("description")],
        "timezone" => vec![text("TimeZone")],
        "datestyle" => vec![text("DateStyle")],
        "intervalstyle" => vec![text("IntervalStyle")],
        name => vec![text(name)],
    };
    Arc::new(Schema::new(fields))
}

fn show(session: &Session, name: &str) -> Result<RecordBatch, Fault> {
    let columns: Vec<Vec<String>> = match name {
        "all" => {
            let all = session.settings().all();
            let blank = vec![String::new(); all.len()];
            let (names, values) = all.into_iter().unzip();
            vec![names, values, blank]
        }
        "cardlens.position" => vec![vec![session.positions()]],
        name => vec![vec![session.settings().get(name)?]],
    };
    let arrays = columns.into_iter().map(|texts| Arc::new(StringArray::from(texts)) as _);
    RecordBatch::try_new(shown(name), arrays.collect())
        .map_err(|error| Fault::new(State::Internal, error.to_string()))
}
