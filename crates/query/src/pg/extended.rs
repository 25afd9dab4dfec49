//! The extended protocol: parse, bind, describe, execute, with portals that are read in parts.
//!
//! Portals live in the session beside its cursors, under names that SQL cannot write, so that both
//! have one bound and one end. Rows go out as they come: the library's own portal would hold a
//! whole result in memory.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::pgwire::api::portal::{Format, Portal};
use datafusion_postgres::pgwire::api::query::{
    ExtendedQueryHandler, send_describe_response, send_ready_for_query,
};
use datafusion_postgres::pgwire::api::results::{
    DescribePortalResponse, DescribeResponse, DescribeStatementResponse, FieldInfo, Response, Tag,
};
use datafusion_postgres::pgwire::api::stmt::{QueryParser, StoredStatement};
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{
    ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended, Sync as PgSync, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use futures::Sink;
use tokio::sync::Mutex;

use super::encode::{feed, fields, send_batch, send_rows};
use super::replies::Reply;
use super::simple::{complete, fetch, saw};
use super::{Handler, Parsed, copy};
use crate::budget::text::statements;
use crate::front::{Command, Fault, State, command};
use crate::session::{Cursor, Session};

/// Most rows that a client may ask of a portal at once; more is asked as all.
const ALL: usize = usize::MAX;

/// The name of a portal among the cursors of its session, which SQL cannot write.
pub(super) fn portal_key(name: &str) -> String {
    format!("\0{name}")
}

#[async_trait]
impl QueryParser for Handler {
    type Statement = Parsed;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        _: &[Option<Type>],
    ) -> PgWireResult<Option<Parsed>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let session = Self::session(client)?;
        let mut statements = statements(sql, &self.front.limits)?;
        let Some(tokens) = statements.pop() else { return Ok(None) };
        if !statements.is_empty() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::new(State::SyntaxError, message).into());
        }
        Ok(Some(self.parse(&session, command(&tokens)?).await?))
    }

    fn get_parameter_types(&self, parsed: &Parsed) -> PgWireResult<Vec<Type>> {
        Ok(wire_types(parsed))
    }

    fn get_result_schema(
        &self,
        parsed: &Parsed,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let Some(prepared) = &parsed.prepared else { return Ok(Vec::new()) };
        let fields = fields(&prepared.schema, format.unwrap_or(&Format::UnifiedText))?;
        Ok(fields.as_ref().clone())
    }
}

fn wire_types(parsed: &Parsed) -> Vec<Type> {
    let parameters = parsed.prepared.iter().flat_map(|prepared| &prepared.parameters);
    parameters.map(|parameter| parameter.wire.clone()).collect()
}

#[async_trait]
impl ExtendedQueryHandler for Handler {
    type Statement = Parsed;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        if name != DEFAULT_NAME {
            session.parsed(&name)?;
        }
        match StoredStatement::parse(client, &message, self.query_parser()).await? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(&name),
        }
        feed(client, PgWireBackendMessage::ParseComplete(ParseComplete::new())).await
    }

    async fn on_bind<C>(&self, client: &mut C, mut message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let name = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME).to_owned();
        session.close(&portal_key(&name));
        let statement = message.statement_name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        match client.portal_store().get_statement(&statement) {
            Some(Entry::Value(statement)) => {
                check_bind(&message, &statement)?;
                compact(&mut message, &wire_types(&statement.statement));
                let portal = Portal::try_new(&message, statement)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            Some(Entry::Empty) => client.portal_store().put_empty_portal(&name),
            None => return Err(crate::session::no_statement(shown(&statement)).into()),
        }
        feed(client, PgWireBackendMessage::BindComplete(BindComplete::new())).await
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let most = usize::try_from(message.max_rows).ok().filter(|most| *most > 0).unwrap_or(ALL);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            Some(Entry::Empty) => {
                let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
                return feed(client, empty).await;
            }
            None => {
                let name = shown(name);
                let message = format!("portal \"{name}\" does not exist");
                return Err(Fault::new(State::NoCursor, message).into());
            }
        };
        client.set_state(PgWireConnectionState::QueryInProgress);
        let format = &portal.result_column_format;
        let key = portal_key(name);
        let cursor = match session.cursor(&key) {
            Some(cursor) => Some(cursor),
            None => {
                let parsed = &portal.statement.statement;
                let values = values(&portal)?;
                let reply = self.execute(client, &session, parsed, values).await?;
                begin(client, &session, reply, (format, most, &key)).await?
            }
        };
        if let Some(cursor) = cursor {
            let sent = fetch(client, &session, &cursor, format, (bound(most), false)).await?;
            if cursor.rows.lock().await.finished() || sent < most {
                complete(client, Tag::new("SELECT").with_rows(sent)).await?;
            } else {
                feed(client, PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
            }
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => match client.portal_store().get_statement(name) {
                Some(Entry::Value(statement)) => {
                    let response = describe_statement(&session, &statement)?;
                    send_describe_response(client, &response).await
                }
                Some(Entry::Empty) => {
                    send_describe_response(client, &DescribeStatementResponse::no_data()).await
                }
                None => Err(crate::session::no_statement(shown(name)).into()),
            },
            TARGET_TYPE_BYTE_PORTAL => {
                let fields = match client.portal_store().get_portal(name) {
                    Some(Entry::Value(portal)) => {
                        let schema = Self::columns(&session, &portal.statement.statement);
                        let format = &portal.result_column_format;
                        schema.map(|schema| fields(&schema, format)).transpose()?
                    }
                    Some(Entry::Empty) => None,
                    // A cursor of SQL can be described by its name.
                    None => match session.cursor(name) {
                        Some(cursor) => {
                            let schema = Arc::clone(&cursor.rows.lock().await.schema);
                            Some(fields(&schema, &Format::UnifiedText)?)
                        }
                        None => {
                            let message = format!("portal \"{}\" does not exist", shown(name));
                            return Err(Fault::new(State::NoCursor, message).into());
                        }
                    },
                };
                let fields = fields.map(|fields| fields.as_ref().clone()).unwrap_or_default();
                send_describe_response(client, &DescribePortalResponse::new(fields)).await
            }
            other => Err(PgWireError::InvalidTargetType(other)),
        }
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            session.deallocate(Some(name));
            client.portal_store().rm_statement(name);
        } else {
            session.close(&portal_key(name));
            client.portal_store().rm_portal(name);
        }
        feed(client, PgWireBackendMessage::CloseComplete(CloseComplete::new())).await
    }

    async fn on_sync<C>(&self, client: &mut C, _: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        let status = client.transaction_status();
        if status == TransactionStatus::Idle {
            // The end of a statement outside a transaction is the end of its portals.
            client.portal_store().clear_portals();
            session.close_all(false);
        }
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &Portal<Parsed>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Parsed>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_execute` sends rows as they come and never asks for a response.
        Err(Fault::new(State::Internal, "answers are sent one by one").into())
    }
}

/// Sends the answer of a statement, or opens its rows as a portal if they come in parts.
async fn begin<C>(
    client: &mut C,
    session: &Arc<Session>,
    reply: Reply,
    (format, most, key): (&Format, usize, &str),
) -> PgWireResult<Option<Arc<Cursor>>>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    match reply {
        Reply::Rows(rows) if most < ALL => {
            let cursor = Cursor { hold: false, rows: Mutex::new(rows) };
            return Ok(Some(session.open(key, cursor)?));
        }
        Reply::Rows(mut rows) => {
            let sent = send_rows(client, &mut rows, format, ALL).await?;
            saw(client, session, &mut rows).await?;
            complete(client, Tag::new("SELECT").with_rows(sent)).await?;
        }
        Reply::Table(batch) => {
            let fields = fields(&batch.schema(), format)?;
            send_batch(client, batch, &fields).await?;
            complete(client, Tag::new("SHOW")).await?;
        }
        Reply::Copy(mut rows, form) => {
            copy::send(client, &mut rows, &form).await?;
            saw(client, session, &mut rows).await?;
        }
        Reply::Fetch { cursor, count, skip } => {
            let sent = fetch(client, session, &cursor, format, (count, skip)).await?;
            let word = if skip { "MOVE" } else { "FETCH" };
            complete(client, Tag::new(word).with_rows(sent)).await?;
        }
        Reply::Tag(text) => complete(client, Tag::new(&text)).await?,
    }
    Ok(None)
}

fn bound(most: usize) -> Option<u64> {
    if most == ALL { None } else { u64::try_from(most).ok() }
}

/// The name of a statement as it is told: the unnamed one has none.
fn shown(name: &str) -> &str {
    if name == DEFAULT_NAME { "" } else { name }
}

fn describe_statement(
    session: &Session,
    statement: &StoredStatement<Parsed>,
) -> PgWireResult<DescribeStatementResponse> {
    let server = wire_types(&statement.statement);
    let count = server.len().max(statement.parameter_types.len());
    let types = (0..count).map(|at| {
        let given = statement.parameter_types.get(at).cloned().flatten();
        given.or_else(|| server.get(at).cloned()).unwrap_or(Type::TEXT)
    });
    let types = types.collect();
    let fields = match Handler::columns(session, &statement.statement) {
        Some(schema) => fields(&schema, &Format::UnifiedText)?.as_ref().clone(),
        None => Vec::new(),
    };
    // The library takes no parameters and no columns for no statement at all.
    Ok(DescribeStatementResponse::new(types, fields))
}

/// What the library would index without asking.
fn check_bind(message: &Bind, statement: &StoredStatement<Parsed>) -> Result<(), Fault> {
    let violation = |text: String| Err(Fault::new(State::ProtocolViolation, text));
    let given = message.parameters.len();
    let formats = message.parameter_format_codes.len();
    if formats > 1 && formats != given {
        return violation(format!(
            "bind message has {formats} parameter formats but {given} parameters"
        ));
    }
    let wanted = match &statement.statement.command {
        Command::Query(_) | Command::Copy(_) | Command::Declare { .. } => {
            wire_types(&statement.statement).len()
        }
        _ => 0,
    };
    if given != wanted {
        let name = shown(&statement.id);
        return violation(format!(
            "bind message supplies {given} parameters, but prepared statement \"{name}\" requires \
             {wanted}"
        ));
    }
    Ok(())
}

/// Takes white space between the items of arrays as text, which the library would take for a part
/// of them.
fn compact(message: &mut Bind, types: &[Type]) {
    let codes = message.parameter_format_codes.clone();
    for (at, (value, kind)) in message.parameters.iter_mut().zip(types).enumerate() {
        let code = if codes.len() > 1 { codes.get(at) } else { codes.first() };
        let array = kind.name().starts_with('_') && code.is_none_or(|code| *code == 0);
        let Some(text) = value.as_mut().filter(|_| array) else { continue };
        let mut kept = Vec::with_capacity(text.len());
        let (mut quoted, mut escaped) = (false, false);
        for byte in text.iter() {
            let between = matches!(kept.last(), Some(b',' | b'{')) && !quoted;
            if between && byte.is_ascii_whitespace() {
                continue;
            }
            quoted ^= *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            kept.push(*byte);
        }
        *text = kept.into();
    }
}

/// The values that a client bound.
fn values(portal: &Portal<Parsed>) -> PgWireResult<ParamValues> {
    let Some(prepared) = &portal.statement.statement.prepared else {
        return Ok(ParamValues::List(Vec::new()));
    };
    let kinds: Vec<Option<&DataType>> =
        prepared.parameters.iter().map(|parameter| parameter.kind.as_ref()).collect();
    let types: Vec<Option<&Type>> =
        prepared.parameters.iter().map(|parameter| Some(read_as(&parameter.wire))).collect();
    deserialize_parameters_with_server_types(portal, &kinds, &types).map_err(|error| match error {
        PgWireError::UserError(told) => PgWireError::UserError(told),
        other => Fault::new(State::InvalidText, other.to_string()).into(),
    })
}

/// The type that a value is read as: numbers of objects are integers to the library.
fn read_as(wire: &Type) -> &Type {
    if *wire == Type::OID_ARRAY { &Type::INT4_ARRAY } else { wire }
}
