//! Whoever asks a gateway: a connection of Flight SQL, one statement at a time.
//!
//! Thin on purpose: what a statement means, costs and may do is decided by the gateway alone, whose
//! words are passed on. An answer is read as it comes, batch by batch; dropping it, or the future
//! that asks for it, ends the statement at the gateway.
//!
//! This module knows no terminal and no exit code.

mod error;
pub mod output;
mod splitter;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightInfo, Ticket};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

pub use error::Error;
pub use splitter::{STATEMENT_BYTES, Splitter, TooLong};

use crate::flight_sql::{PARTIAL, gaps};

/// Longest that a connection takes to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a connection before it is asked whether it lives, and for the answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Largest batch that is taken.
const BATCH_BYTES: usize = 256 << 20;

/// Which gateway to ask, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Its Flight SQL, as `host:port`.
    pub at: String,
    /// A name to log in with, and its password.
    pub login: Option<(String, String)>,
    /// Certificates, as PEM, of which one must vouch for the gateway. With them all is encrypted.
    pub authority: Option<Vec<u8>>,
    /// Takes answers without partitions that cannot be read.
    pub partial: bool,
}

/// A connection to a gateway. It comes back by itself after the gateway was gone.
#[derive(Debug, Clone)]
pub struct Client {
    service: FlightSqlServiceClient<Channel>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there, or not with the certificate that is wanted.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let unreachable = |error: tonic::transport::Error| Error::Unreachable {
            at: options.at.clone(),
            detail: error::causes(&error),
        };
        let scheme = if options.authority.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", options.at))
            .map_err(unreachable)?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        if let Some(pem) = &options.authority {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
        }
        let channel = endpoint.connect().await.map_err(unreachable)?;
        let service = FlightServiceClient::new(channel).max_decoding_message_size(BATCH_BYTES);
        let mut service = FlightSqlServiceClient::new_from_inner(service);
        if let Some((name, password)) = &options.login {
            // With every request, so that a gateway may be started anew between two statements.
            let given = BASE64_STANDARD.encode(format!("{name}:{password}"));
            service.set_header("authorization", format!("Basic {given}"));
        }
        if options.partial {
            service.set_header(PARTIAL, "true");
        }
        Ok(Self { service })
    }

    /// Runs a statement until its columns are known.
    ///
    /// # Errors
    /// The gateway refuses it, or is gone.
    pub async fn query(&mut self, statement: &str) -> Result<Answer, Error> {
        let info = self.service.execute(statement.to_owned(), None).await?;
        self.answer(info).await
    }

    /// The relations that there are: schema, name and type.
    ///
    /// # Errors
    /// The gateway refuses, or is gone.
    pub async fn relations(&mut self) -> Result<Answer, Error> {
        let info = self.service.get_tables(CommandGetTables::default()).await?;
        let mut answer = self.answer(info).await?;
        // The first column is the database, of which there is one.
        answer.only = Some(vec![1, 2, 3]);
        answer.schema = Arc::new(answer.schema.project(&[1, 2, 3]).map_err(Error::broken)?);
        Ok(answer)
    }

    async fn answer(&mut self, info: FlightInfo) -> Result<Answer, Error> {
        let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket);
        let ticket: Ticket = ticket.ok_or_else(|| Error::broken("an answer without a ticket"))?;
        let mut decoder = self.service.do_get(ticket).await?.into_inner();
        let schema = loop {
            match decoder.next().await.transpose()? {
                Some(message) => match message.payload {
                    DecodedPayload::Schema(schema) => break schema,
                    _ => continue,
                },
                None => return Err(Error::broken("an answer without columns")),
            }
        };
        Ok(Answer { schema, gaps: Vec::new(), only: None, decoder })
    }
}

/// Rows of a statement; dropping them ends it.
#[derive(Debug)]
pub struct Answer {
    /// Columns.
    pub schema: SchemaRef,
    /// What a partial answer went without, once all rows were read.
    pub gaps: Vec<String>,
    only: Option<Vec<usize>>,
    decoder: FlightDataDecoder,
}

impl Answer {
    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// What ended the statement.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        while let Some(message) = self.decoder.next().await.transpose()? {
            self.gaps.extend(gaps(&message.inner.app_metadata));
            let DecodedPayload::RecordBatch(batch) = message.payload else { continue };
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = match &self.only {
                Some(columns) => batch.project(columns).map_err(Error::broken)?,
                None => batch,
            };
            return Ok(Some(batch));
        }
        Ok(None)
    }
}
