//! The calls of Flight SQL.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandPreparedStatementQuery, CommandStatementQuery,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::Stream;
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::answers::{Answer, bound, info, one, shown};
use super::handle::Handle;
use super::login::Asked;
use crate::front::DATABASE;

/// Results of a cancellation, as the protocol numbers them.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

type Handshake = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

fn number() -> u64 {
    // Hard to guess, so that nobody cancels what is another's.
    RandomState::new().hash_one(0_u8)
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let IpcMessage(bytes) = message.map_err(|error: datafusion::arrow::error::ArrowError| {
        Status::internal(error.to_string())
    })?;
    Ok(bytes)
}

fn table_types() -> Result<RecordBatch, Status> {
    let schema = Schema::new(vec![Field::new("table_type", DataType::Utf8, false)]);
    let types = Arc::new(StringArray::from(vec!["TABLE", "VIEW"]));
    RecordBatch::try_new(Arc::new(schema), vec![types])
        .map_err(|error| Status::internal(error.to_string()))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Handshake>, Status> {
        let asked = Asked::by(&request);
        let given = asked.authorization();
        let given = given.ok_or_else(|| Status::unauthenticated("a name and a password"))?;
        let (_, token) = self.prove(given, &asked).await?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into() };
        let answers: Handshake = Box::pin(futures::stream::iter([Ok(answer)]));
        let mut response = Response::new(answers);
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|error| Status::internal(error.to_string()))?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let prepared = self.plan(&query.query, &self.caller(&Asked::by(&request)).await?).await?;
        let handle = Handle { number: number(), query: query.query, values: Bytes::new() };
        let ticket = TicketStatementQuery { statement_handle: handle.encode() };
        let ticket = ticket.as_any().encode_to_vec().into();
        info(&shown(&prepared.schema), ticket, request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let caller = self.caller(&Asked::by(&request)).await?;
        self.answer(Handle::decode(ticket.statement_handle)?, &caller).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let prepared = self.plan(&query.query, &self.caller(&Asked::by(&request)).await?).await?;
        let parameters = prepared.parameters.iter().enumerate().map(|(at, parameter)| {
            let kind = parameter.kind.clone().unwrap_or(DataType::Utf8);
            Field::new(format!("${}", at + 1), kind, true)
        });
        let parameters = Schema::new(parameters.collect::<Vec<_>>());
        let handle = Handle { number: number(), query: query.query, values: Bytes::new() };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.encode(),
            dataset_schema: ipc(&shown(&prepared.schema))?,
            parameter_schema: ipc(&parameters)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        // The handle is all there is of it.
        self.role(&Asked::by(&request)).await.map(drop)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.role(&Asked::by(&request)).await?;
        let mut handle = Handle::decode(query.prepared_statement_handle)?;
        handle.values = bound(request).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle.encode()) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.caller(&Asked::by(&request)).await?;
        let handle = Handle::decode(query.prepared_statement_handle.clone())?;
        let prepared = self.plan(&handle.query, &caller).await?;
        let ticket = query.as_any().encode_to_vec().into();
        info(&shown(&prepared.schema), ticket, request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let caller = self.caller(&Asked::by(&request)).await?;
        self.answer(Handle::decode(query.prepared_statement_handle)?, &caller).await
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        self.role(&Asked::by(&request)).await?;
        let broken = |_| Status::invalid_argument("what to cancel is not known");
        let asked = FlightInfo::decode(query.info).map_err(broken)?;
        let mut canceled = false;
        for ticket in asked.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
            let any = Any::decode(ticket.ticket).map_err(broken)?;
            let unpacked = any.unpack::<TicketStatementQuery>().ok().flatten();
            let prepared = any.unpack::<CommandPreparedStatementQuery>().ok().flatten();
            let handle = unpacked.map(|ticket| ticket.statement_handle);
            let handle = handle.or_else(|| prepared.map(|ticket| ticket.prepared_statement_handle));
            if let Some(handle) = handle {
                canceled |= self.running.cancel(Handle::decode(handle)?.number);
            }
        }
        let result = if canceled { CANCELLED } else { NOT_CANCELLABLE };
        Ok(ActionCancelQueryResult { result })
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.role(&Asked::by(&request)).await?;
        let schema = query.clone().into_builder(&self.info).schema();
        info(&schema, query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Result<Response<Answer>, Status> {
        self.role(&Asked::by(&request)).await?;
        one(query.into_builder(&self.info).build())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.role(&Asked::by(&request)).await?;
        let schema = query.into_builder().schema();
        info(&schema, query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<Answer>, Status> {
        self.role(&Asked::by(&request)).await?;
        let mut builder = query.into_builder();
        builder.append(DATABASE);
        one(builder.build())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.role(&Asked::by(&request)).await?;
        let schema = query.clone().into_builder().schema();
        info(&schema, query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<Answer>, Status> {
        self.role(&Asked::by(&request)).await?;
        let mut builder = query.into_builder();
        for schema in ["public", "ops"] {
            builder.append(DATABASE, schema);
        }
        one(builder.build())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.role(&Asked::by(&request)).await?;
        let schema = query.clone().into_builder().schema();
        info(&schema, query.as_any().encode_to_vec().into(), request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<Answer>, Status> {
        self.role(&Asked::by(&request)).await?;
        let mut builder = query.into_builder();
        for relation in self.front.relations().await? {
            let kind = if relation.view { "VIEW" } else { "TABLE" };
            builder
                .append(DATABASE, &relation.schema, &relation.name, kind, &relation.columns)
                .map_err(Status::from)?;
        }
        one(builder.build())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.role(&Asked::by(&request)).await?;
        let ticket = query.as_any().encode_to_vec().into();
        info(table_types()?.schema().as_ref(), ticket, request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        _: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Result<Response<Answer>, Status> {
        self.role(&Asked::by(&request)).await?;
        one(Ok(table_types()?))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
