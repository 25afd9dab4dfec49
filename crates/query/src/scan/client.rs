//! Whoever scans an engine.

use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, Ticket};
use datafusion::arrow::array::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

use super::protocol::{Description, Listing, Notes, Pin, PinRequest, Scan, action};
use super::server::error_of;
use crate::Error;

/// Longest that a connection takes to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest that an engine takes to say who it is.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest that it takes to hold a partition still, or to give the next rows.
const ROWS: Duration = Duration::from_secs(30);
/// Largest batch.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// One engine, by its address.
#[derive(Debug)]
pub struct Client {
    address: String,
    channel: OnceCell<Channel>,
}

impl Client {
    /// The engine at `host:port`. Connects when it is first asked, and again after it was gone.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self { address, channel: OnceCell::new() }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn unreachable(&self, detail: impl std::fmt::Display) -> Error {
        Error::Unreachable { engine: self.address.clone(), detail: detail.to_string() }
    }

    async fn service(&self) -> Result<FlightServiceClient<Channel>, Error> {
        let channel = self.channel.get_or_try_init(|| async {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
                .map_err(|error| Error::Refused(format!("`{}`: {error}", self.address)))?;
            let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
            let endpoint = endpoint.http2_keep_alive_interval(Duration::from_secs(10));
            Ok::<_, Error>(endpoint.keep_alive_timeout(Duration::from_secs(10)).connect_lazy())
        });
        let service = FlightServiceClient::new(channel.await?.clone());
        Ok(service.max_decoding_message_size(BATCH_BYTES_MAX))
    }

    async fn act<T: DeserializeOwned>(
        &self,
        kind: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Refused(error.to_string()))?;
        let action = Action { r#type: kind.to_owned(), body: body.into() };
        let mut service = self.service().await?;
        let asked = async {
            let mut answers = service.do_action(action).await?.into_inner();
            answers.message().await
        };
        let answered = tokio::time::timeout(wait, asked).await;
        let answered = answered.map_err(|_| self.unreachable(format!("no answer in {wait:?}")))?;
        let answer = answered.map_err(|status| error_of(&status, &self.address))?;
        let answer = answer.ok_or_else(|| self.unreachable("an empty answer"))?;
        serde_json::from_slice(&answer.body).map_err(|error| self.unreachable(error))
    }

    /// Who it is, and its partitions.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn list(&self) -> Result<Listing, Error> {
        self.act(action::LIST, &(), ANSWER).await
    }

    /// What it holds.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn describe(&self) -> Result<Description, Error> {
        self.act(action::DESCRIBE, &(), ANSWER).await
    }

    /// Holds a partition still.
    ///
    /// # Errors
    /// It does not answer, or not for that partition.
    pub async fn pin(&self, request: &PinRequest) -> Result<Pin, Error> {
        self.act(action::PIN, request, ROWS).await
    }

    /// Gives pins back.
    ///
    /// # Errors
    /// It does not answer; the pins will expire.
    pub async fn unpin(&self, pins: &[u64]) -> Result<(), Error> {
        self.act(action::UNPIN, &pins, ANSWER).await
    }

    /// What it did last.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn notes(&self) -> Result<Notes, Error> {
        self.act(action::NOTES, &(), ANSWER).await
    }

    /// Rows of a pinned partition.
    ///
    /// # Errors
    /// It does not answer, the partition moved, or the pin expired.
    pub async fn scan(
        &self,
        scan: &Scan,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let ticket = serde_json::to_vec(scan).map_err(|error| Error::Refused(error.to_string()))?;
        let mut service = self.service().await?;
        let asked = service.do_get(Ticket { ticket: ticket.into() });
        let answered = tokio::time::timeout(ROWS, asked).await;
        let answered = answered.map_err(|_| self.unreachable(format!("no answer in {ROWS:?}")))?;
        let data = answered.map_err(|status| error_of(&status, &self.address))?.into_inner();
        let data = data.map_err(|status| FlightError::Tonic(Box::new(status)));
        let batches = FlightRecordBatchStream::new_from_flight_data(data);
        let address = self.address.clone();
        // Between two batches no more time may pass than that, so a silent engine is noticed.
        let timed = stream::unfold((batches, address), |(mut batches, address)| async move {
            let next = tokio::time::timeout(ROWS, batches.next()).await;
            let batch = match next {
                Ok(None) => return None,
                Ok(Some(Ok(batch))) => Ok(batch),
                Ok(Some(Err(FlightError::Tonic(status)))) => Err(error_of(&status, &address)),
                Ok(Some(Err(error))) => {
                    Err(Error::Unreachable { engine: address.clone(), detail: error.to_string() })
                }
                Err(_) => {
                    let detail = format!("no rows in {ROWS:?}");
                    Err(Error::Unreachable { engine: address.clone(), detail })
                }
            };
            Some((batch, (batches, address)))
        });
        Ok(timed.boxed())
    }
}
