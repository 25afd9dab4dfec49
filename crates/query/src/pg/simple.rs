//! The simple protocol: a text of statements, answered one after another.

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::query::{SimpleQueryHandler, send_ready_for_query};
use datafusion_postgres::pgwire::api::results::{Response, Tag};
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::EmptyQueryResponse;
use datafusion_postgres::pgwire::messages::simplequery::Query;
use futures::Sink;
use std::fmt::Debug;
use std::sync::Arc;

use super::encode::{describe, feed, fields, send_batch, send_rows};
use super::replies::Reply;
use super::{Handler, copy};
use crate::budget::text::statements;
use crate::front::{Fault, Rows, State, command};
use crate::session::{Cursor, Session};

/// The SQLSTATE of a warning.
const WARNING: &str = "01000";

#[async_trait]
impl SimpleQueryHandler for Handler {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Self::session(client)?;
        client.set_state(PgWireConnectionState::QueryInProgress);
        let statements = statements(&query.query, &self.front.limits)?;
        if statements.is_empty() {
            feed(client, PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()))
                .await?;
        }
        // Each is answered before the next begins, so that an error leaves what came before it.
        for tokens in &statements {
            let parsed = self.parse(&session, command(tokens)?).await?;
            let none = ParamValues::List(Vec::new());
            let reply = self.execute(client, &session, &parsed, none).await?;
            send(client, &session, reply).await?;
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_query` sends each answer as it comes and never asks for all of them.
        Err(Fault::new(State::Internal, "answers are sent one by one").into())
    }
}

async fn send<C>(client: &mut C, session: &Arc<Session>, reply: Reply) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let format = Format::UnifiedText;
    match reply {
        Reply::Rows(mut rows) => {
            describe(client, &fields(&rows.schema, &format)?).await?;
            let count = send_rows(client, &mut rows, &format, usize::MAX).await?;
            saw(client, session, &mut rows).await?;
            complete(client, Tag::new("SELECT").with_rows(count)).await
        }
        Reply::Table(batch) => {
            let fields = fields(&batch.schema(), &format)?;
            describe(client, &fields).await?;
            send_batch(client, batch, &fields).await?;
            complete(client, Tag::new("SHOW")).await
        }
        Reply::Copy(mut rows, form) => {
            copy::send(client, &mut rows, &form).await?;
            saw(client, session, &mut rows).await?;
            Ok(())
        }
        Reply::Fetch { cursor, count, skip } => {
            if !skip {
                let schema = Arc::clone(&cursor.rows.lock().await.schema);
                describe(client, &fields(&schema, &format)?).await?;
            }
            let count = fetch(client, session, &cursor, &format, (count, skip)).await?;
            complete(client, Tag::new(if skip { "MOVE" } else { "FETCH" }).with_rows(count)).await
        }
        Reply::Tag(text) => complete(client, Tag::new(&text)).await,
    }
}

/// Sends or skips the next rows of a cursor; says how many.
pub(super) async fn fetch<C>(
    client: &mut C,
    session: &Arc<Session>,
    cursor: &Cursor,
    format: &Format,
    (count, skip): (Option<u64>, bool),
) -> PgWireResult<usize>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let most = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let mut rows = cursor.rows.lock().await;
    session.begin(&rows.resume());
    if !skip {
        let sent = send_rows(client, &mut rows, format, most).await?;
        saw(client, session, &mut rows).await?;
        return Ok(sent);
    }
    let mut skipped = 0;
    while skipped < most {
        let Some(batch) = rows.next(most - skipped).await? else { break };
        skipped += batch.num_rows();
    }
    Ok(skipped)
}

/// Keeps where the rows were read, once they all were, and says what was left out.
pub(super) async fn saw<C>(client: &mut C, session: &Session, rows: &mut Rows) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    if !rows.finished() {
        return Ok(());
    }
    session.saw(std::mem::take(&mut rows.positions));
    for gap in std::mem::take(&mut rows.gaps) {
        let text = format!("left out: {gap}");
        let notice = ErrorInfo::new("WARNING".to_owned(), WARNING.to_owned(), text);
        feed(client, PgWireBackendMessage::NoticeResponse(notice.into())).await?;
    }
    Ok(())
}

pub(super) async fn complete<C>(client: &mut C, tag: Tag) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    feed(client, PgWireBackendMessage::CommandComplete(tag.into())).await
}
