//! Queries of Flight: planned for their columns, run for their rows.

use std::sync::{Arc, OnceLock};

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{ParamValues, ScalarValue};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};

use super::gaps::{last_words, partial};
use super::handle::Handle;
use super::login::Asked;
use super::{Entry, Service};
use crate::budget::guard::Stop;
use crate::budget::text::statements;
use crate::front::{Caller, Command, Fault, Prepared, Protocol, REPEATED, Rows, State, command};

/// What goes back to a client.
pub(super) type Answer = BoxStream<'static, Result<FlightData, Status>>;

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = fault.state.code();
        let hint = fault.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let text = format!("{} [{code}]{hint}", fault.message);
        match fault.state {
            State::ReadOnly | State::NotAllowed | State::NotAuthorized => {
                Self::permission_denied(text)
            }
            State::Limit | State::OutOfMemory | State::TooManyConnections => {
                Self::resource_exhausted(text)
            }
            State::Canceled => Self::cancelled(text),
            State::Engine | State::Shutdown => Self::unavailable(text),
            State::Internal => Self::internal(text),
            State::NotSupported => Self::unimplemented(text),
            State::NoTable | State::NoStatement => Self::not_found(text),
            _ => Self::invalid_argument(text),
        }
    }
}

impl Service {
    /// What a statement needs to know of whoever sent a request.
    pub(super) async fn caller(&self, asked: &Asked) -> Result<Caller, Status> {
        let role = self.role(asked).await?;
        Ok(Caller {
            user: role.name.clone(),
            role,
            number: 0,
            client: asked.address().map(|address| address.to_string()),
            protocol: Protocol::FlightSql,
            settings: Vec::new(),
            timeout: self.front.limits.statement_timeout,
            partial: partial(&asked.headers)?,
        })
    }

    /// Plans a query for its columns and parameters. Nobody can name it to have it ended, but a
    /// client that goes away ends it.
    pub(super) async fn plan(&self, query: &str, caller: &Caller) -> Result<Prepared, Fault> {
        self.planned(query, caller, &Stop::new(caller.timeout)).await
    }

    async fn planned(&self, query: &str, caller: &Caller, stop: &Stop) -> Result<Prepared, Fault> {
        let mut statements = statements(query, &self.front.limits)?;
        let (Some(tokens), true) = (statements.pop(), statements.is_empty()) else {
            return Err(Fault::new(State::SyntaxError, "one statement is expected"));
        };
        let Command::Query(query) = command(&tokens)? else {
            return Err(Fault::new(State::NotSupported, "a query is expected"));
        };
        self.front.prepare(&query, caller, stop).await
    }

    /// Runs the query of a handle.
    pub(super) async fn answer(
        &self,
        handle: Handle,
        caller: &Caller,
    ) -> Result<Response<Answer>, Status> {
        let stop = Arc::new(Stop::new(caller.timeout));
        let entry = self.running.enter(handle.number, &stop);
        let prepared = Arc::new(self.planned(&handle.query, caller, &stop).await?);
        let values = values(&handle, &prepared)?;
        let rows = self.front.run(&prepared, values, caller, &stop).await?;
        let schema = shown(&rows.schema);
        let left_out = Arc::new(OnceLock::new());
        let reading = Reading {
            rows,
            _entry: entry,
            schema: Arc::clone(&schema),
            left_out: Arc::clone(&left_out),
        };
        let batches = stream::try_unfold(reading, next);
        let encoder = FlightDataEncoderBuilder::new()
            // What is advertised is what is sent.
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_schema(Arc::clone(&schema))
            .build(batches.map_err(FlightError::from))
            .map_err(Status::from);
        // Known only when the rows are over.
        let last = stream::once(async move {
            let left_out = left_out.get().map_or(&[][..], Vec::as_slice);
            stream::iter(last_words(&schema, left_out))
        });
        Ok(Response::new(encoder.chain(last.flatten()).boxed()))
    }
}

/// Rows on their way to a client.
struct Reading {
    rows: Rows,
    _entry: Entry,
    schema: SchemaRef,
    left_out: Arc<OnceLock<Vec<String>>>,
}

async fn next(mut reading: Reading) -> Result<Option<(RecordBatch, Reading)>, Status> {
    let Some(batch) = reading.rows.next(usize::MAX).await? else {
        // There is one end, and nobody else says so.
        drop(reading.left_out.set(std::mem::take(&mut reading.rows.gaps)));
        return Ok(None);
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    let batch = RecordBatch::try_new_with_options(Arc::clone(&reading.schema), columns, &options)
        .map_err(|error| Fault::new(State::Internal, error.to_string()))?;
    Ok(Some((batch, reading)))
}

/// Columns under the names that people see. Whether there can be null in one is not told: a plan
/// knows more of it once its parameters have values, and clients take that for another schema.
pub(super) fn shown(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let name = field.name().split(REPEATED).next().unwrap_or_default();
        field.as_ref().clone().with_name(name).with_nullable(true)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Where a result is to be fetched.
pub(super) fn info(
    schema: &Schema,
    ticket: Bytes,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket { ticket }))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

/// One batch as an answer.
pub(super) fn one(batch: Result<RecordBatch, FlightError>) -> Result<Response<Answer>, Status> {
    let batch = batch.map_err(Status::from)?;
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .build(stream::once(async { Ok(batch) }));
    Ok(Response::new(encoder.map_err(Status::from).boxed()))
}

/// Reads the parameters that a client sends: the first row, as an Arrow stream.
pub(super) async fn bound(request: Request<PeekableFlightDataStream>) -> Result<Bytes, Status> {
    let data = request.into_inner().map_err(|error| FlightError::Tonic(Box::new(error)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
    let Some(batch) = batches.try_next().await.map_err(Status::from)? else {
        return Ok(Bytes::new());
    };
    let broken = |error: datafusion::arrow::error::ArrowError| {
        Status::invalid_argument(format!("parameters: {error}"))
    };
    let batch = batch.slice(0, batch.num_rows().min(1));
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).map_err(broken)?;
    writer.write(&batch).map_err(broken)?;
    writer.finish().map_err(broken)?;
    drop(writer);
    Ok(bytes.into())
}

fn values(handle: &Handle, prepared: &Prepared) -> Result<ParamValues, Fault> {
    let broken = |error: &dyn std::fmt::Display| {
        Fault::new(State::InvalidParameter, format!("parameters: {error}"))
    };
    let mut values = Vec::new();
    if !handle.values.is_empty() {
        let reader = StreamReader::try_new(std::io::Cursor::new(handle.values.clone()), None);
        for batch in reader.map_err(|error| broken(&error))?.take(1) {
            let batch = batch.map_err(|error| broken(&error))?;
            for column in batch.columns().iter().filter(|column| !column.is_empty()) {
                values.push(ScalarValue::try_from_array(column, 0)?);
            }
        }
    }
    if values.len() != prepared.parameters.len() {
        return Err(Fault::new(
            State::ProtocolViolation,
            format!(
                "{} parameters were given, and the statement requires {}",
                values.len(),
                prepared.parameters.len()
            ),
        ));
    }
    let cast = |(value, parameter): (ScalarValue, &crate::front::Parameter)| match &parameter.kind {
        Some(kind) => value.cast_to(kind).map_err(Fault::from),
        None => Ok(value),
    };
    let values: Result<Vec<_>, _> =
        values.into_iter().zip(&prepared.parameters).map(cast).collect();
    Ok(ParamValues::from(values?))
}
