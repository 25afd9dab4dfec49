//! Batches as rows of the wire.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion_postgres::arrow_pg::datatypes::field_into_pg_type;
use datafusion_postgres::arrow_pg::row_encoder::RowEncoder;
use datafusion_postgres::pgwire::api::Type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::FieldInfo;
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::data::{FieldDescription, RowDescription};
use futures::{Sink, SinkExt};

use super::catalogue::type_modifier;
use crate::front::{Fault, REPEATED, Rows, State};

/// Longest wait for a client that does not read what it asked for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Columns of a result as they are told to a client.
///
/// # Errors
/// A type that the wire does not have, or formats that do not fit the columns.
pub(super) fn fields(schema: &Schema, format: &Format) -> PgWireResult<Arc<Vec<FieldInfo>>> {
    if let Format::Individual(formats) = format
        && formats.len() != schema.fields().len()
    {
        return Err(Fault::new(
            State::ProtocolViolation,
            format!(
                "bind message has {} result formats but query has {} columns",
                formats.len(),
                schema.fields().len()
            ),
        )
        .into());
    }
    let field = |(at, field): (usize, &Arc<Field>)| {
        let kind = match field.data_type() {
            DataType::Null => Type::TEXT,
            _ => field_into_pg_type(field)?,
        };
        // What makes a repeated name unique for the planner is nobody else's business.
        let name = field.name().split(REPEATED).next().unwrap_or_default().to_owned();
        let size = size(&kind);
        let info = FieldInfo::new(name, None, None, kind, format.format_for(at));
        Ok(info.with_type_size(size).with_type_modifier(type_modifier(field.data_type())))
    };
    let fields: PgWireResult<Vec<_>> = schema.fields().iter().enumerate().map(field).collect();
    fields.map(Arc::new)
}

/// Width of a type, as `pg_type.typlen` has it.
fn size(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// Tells a client the columns.
pub(super) async fn describe<C>(client: &mut C, fields: &[FieldInfo]) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let fields = fields.iter().map(FieldDescription::from).collect();
    feed(client, PgWireBackendMessage::RowDescription(RowDescription::new(fields))).await
}

/// Hands a message to the connection, and gives up on a client that does not read.
pub(super) async fn feed<C>(client: &mut C, message: PgWireBackendMessage) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    match tokio::time::timeout(WRITE_TIMEOUT, client.feed(message)).await {
        Ok(fed) => Ok(fed?),
        Err(_) => Err(Fault::fatal(
            State::Canceled,
            "the client did not read its result: the limit `write_timeout` is 60 s",
        )
        .into()),
    }
}

/// Sends at most `most` rows; says how many were sent. No further rows: the rows are finished.
pub(super) async fn send_rows<C>(
    client: &mut C,
    rows: &mut Rows,
    format: &Format,
    most: usize,
) -> PgWireResult<usize>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let fields = fields(&rows.schema, format)?;
    let mut sent = 0;
    while sent < most {
        let Some(batch) = rows.next(most - sent).await? else { break };
        sent += batch.num_rows();
        send_batch(client, batch, &fields).await.inspect_err(|_| rows.unread())?;
    }
    Ok(sent)
}

/// Sends the rows of a batch.
pub(super) async fn send_batch<C>(
    client: &mut C,
    batch: RecordBatch,
    fields: &Arc<Vec<FieldInfo>>,
) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    PgWireError: From<C::Error>,
{
    let mut encoder = RowEncoder::new(batch, Arc::clone(fields));
    while let Some(row) = encoder.next_row() {
        feed(client, PgWireBackendMessage::DataRow(row?)).await?;
    }
    Ok(())
}
