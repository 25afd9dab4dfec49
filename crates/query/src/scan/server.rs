//! The endpoint of an engine that answers scans, and nothing else.
//!
//! It has threads of its own, beside those of ingest. Everything is bounded: streams, the time to
//! wait for a pin, the size of a request. It reads pinned pages and can change nothing.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as Answer, SchemaResult,
    Ticket,
};
use cardlens_engine::view::{Desk, Pinned, Refusal as EngineRefusal, Seat};
use cardlens_model::{PartitionId, Position};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::{debug, info, warn};
use twox_hash::XxHash3_64;

use super::protocol::{
    Description, Listing, Note, Notes, PartitionState, Pin, PinRequest, Refusal, Refused, Scan,
    SnapshotNote, action,
};
use super::read::Reader;
use crate::Error;

/// Scans that are open at a time; each holds one batch at most.
const SCANS_MAX: usize = 1_024;
/// Longest that a reader waits for a view to be brought forward.
const PIN_WAIT: Duration = Duration::from_secs(20);
/// Largest request.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Threads of the endpoint.
const THREADS: usize = 2;

/// What an endpoint answers with.
#[derive(Clone)]
pub struct Setup {
    /// Where views are asked for.
    pub desk: Desk,
    /// What the engine holds.
    pub description: Arc<Description>,
    /// What the instance is called.
    pub instance: String,
}

/// A running endpoint; it ends when it is dropped.
pub struct Endpoint {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Begins to answer on a listener.
    ///
    /// # Errors
    /// Threads or the listener cannot be had.
    pub fn start(listener: TcpListener, setup: Setup) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("scan")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let service = FlightServiceServer::new(Service::new(setup))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let thread = std::thread::Builder::new().name("scan".into()).spawn(move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let incoming = TcpListenerStream::new(listener).inspect(without_delay);
                let ended = async move { drop(stopped.await) };
                let server = tonic::transport::Server::builder()
                    .max_concurrent_streams(u32::try_from(SCANS_MAX).ok())
                    .http2_keepalive_interval(Some(Duration::from_secs(30)))
                    .add_service(service);
                tokio::select! {
                    served = server.serve_with_incoming(incoming) => {
                        served.map_err(std::io::Error::other)
                    }
                    () = ended => Ok(()),
                }
            });
            if let Err(error) = served {
                warn!(%error, "scans are not answered any more");
            }
            runtime.shutdown_background();
        })?;
        info!(%address, "scans are answered");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Small answers are sent at once: a server applies its own option only to sockets that it accepts
/// itself. A socket that cannot be told is one whose peer has left.
pub(crate) fn without_delay(accepted: &std::io::Result<TcpStream>) {
    if let Ok(socket) = accepted {
        drop(socket.set_nodelay(true));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said what went wrong.
            drop(thread.join());
        }
    }
}

struct Service {
    setup: Setup,
    description_digest: String,
    scans: Arc<Semaphore>,
}

type Boxed<T> = StdPin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn new(setup: Setup) -> Self {
        let text = serde_json::to_vec(&*setup.description).unwrap_or_default();
        let description_digest = format!("{:016x}", XxHash3_64::oneshot(&text));
        Self { setup, description_digest, scans: Arc::new(Semaphore::new(SCANS_MAX)) }
    }

    fn list(&self) -> Listing {
        let (seats, partitions_all) = self.setup.desk.seats();
        let description = &self.setup.description;
        Listing {
            instance: self.setup.instance.clone(),
            rules_version: description.rules_version,
            rules_digest: description.rules_digest.clone(),
            description_digest: self.description_digest.clone(),
            partitions: seats.into_iter().map(|seat| self.state(seat)).collect(),
            partitions_all,
        }
    }

    fn state(&self, seat: Seat) -> PartitionState {
        PartitionState {
            partition: seat.partition.0,
            instance: self.setup.instance.clone(),
            epoch: seat.epoch,
            state: seat.state.to_owned(),
            position: seat.position.0,
            customers: seat.customers as u64,
            watermark: seat.watermark.map(|at| at.0),
            open_day: seat.open_day.map(|day| day.0),
            lag_records: seat.lag_records,
            lag_ms: u64::try_from(seat.behind.as_millis()).unwrap_or(u64::MAX),
            state_bytes: seat.state_bytes as u64,
            view_bytes: seat.view_bytes as u64,
            profiled_before: seat.profiled_before.map(|day| day.0),
        }
    }

    async fn pin(&self, request: PinRequest) -> Result<Pin, Status> {
        let PinRequest { partition, epoch, categories } = request;
        let pinning = self.setup.desk.pin(PartitionId(partition), epoch, categories);
        let pinned = tokio::time::timeout(PIN_WAIT, pinning).await.map_err(|_| {
            let detail = format!("the view was not ready within {PIN_WAIT:?}");
            status(Refused::Busy, Some(partition), detail)
        })?;
        let (pin, pinned) = pinned.map_err(|refusal| turned_away(refusal, partition))?;
        debug!(partition, pin, position = pinned.position.0, "pinned");
        Ok(Pin {
            pin,
            partition,
            epoch,
            position: pinned.position.0,
            customers: pinned.customers() as u64,
            watermark: pinned.watermark.map(|at| at.0),
            history: pinned.history().map(|cut| (cut.day.0, cut.part)),
        })
    }

    fn notes(&self) -> Notes {
        let kept = self.setup.desk.notes();
        let note = |partition: PartitionId, position: Position, kind: &str, at: i64| {
            let (partition, position) = (partition.0, position.0);
            Note { partition, position, kind: kind.to_owned(), at }
        };
        let snapshots = kept.snapshots.into_iter().map(|it| SnapshotNote {
            partition: it.partition.0,
            position: it.position.0,
            whole: it.whole,
            bytes: it.bytes,
            written_at: it.written_at,
        });
        let decisions = kept.decisions.into_iter();
        let dead_letters = kept.dead_letters.into_iter();
        let rejected = kept.rejected.into_iter();
        Notes {
            snapshots: snapshots.collect(),
            decisions: decisions
                .map(|it| note(it.partition, it.position, it.kind, it.decided_at))
                .collect(),
            dead_letters: dead_letters
                .map(|it| note(it.partition, it.position, it.reason.name(), it.rejected_at))
                .collect(),
            rejected: rejected.map(|(reason, count)| (reason.to_owned(), count)).collect(),
        }
    }

    fn pinned(&self, scan: &Scan) -> Result<Arc<Pinned>, Status> {
        let pinned = self.setup.desk.pinned(scan.pin, PartitionId(scan.partition), scan.epoch);
        pinned.map_err(|refusal| turned_away(refusal, scan.partition))
    }
}

fn status(refused: Refused, partition: Option<u32>, detail: String) -> Status {
    let code = match refused {
        Refused::Moved | Refused::PinExpired => Code::NotFound,
        Refused::NotRunning => Code::Unavailable,
        Refused::Busy => Code::ResourceExhausted,
        Refused::Request => Code::InvalidArgument,
    };
    let message = detail.clone();
    let details = serde_json::to_vec(&Refusal { refused, partition, detail }).unwrap_or_default();
    Status::with_details(code, message, details.into())
}

fn turned_away(refusal: EngineRefusal, partition: u32) -> Status {
    let (refused, detail) = match refusal {
        EngineRefusal::Moved => (Refused::Moved, "the partition moved"),
        EngineRefusal::NotRunning => (Refused::NotRunning, "the partition is not running"),
        EngineRefusal::Expired => (Refused::PinExpired, "the pin expired"),
        EngineRefusal::Full => (Refused::Busy, "too many readers"),
        EngineRefusal::NoRoom => (Refused::Busy, "no memory is left for a view"),
    };
    status(refused, Some(partition), detail.to_owned())
}

fn request_fault(error: impl std::fmt::Display) -> Status {
    status(Refused::Request, None, error.to_string())
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(bytes).map_err(request_fault)
}

fn answer(value: &impl Serialize) -> Result<Answer, Status> {
    let body = serde_json::to_vec(value).map_err(request_fault)?;
    Ok(Answer { body: body.into() })
}

/// A scan, and its permission, for as long as somebody reads.
struct Running {
    reader: Reader,
    service: (Desk, Scan),
    _permit: OwnedSemaphorePermit,
}

impl Running {
    fn next(&mut self) -> Option<Result<datafusion::arrow::array::RecordBatch, Status>> {
        let (desk, scan) = &self.service;
        if !self.reader.alive() {
            return Some(Err(turned_away(EngineRefusal::Moved, scan.partition)));
        }
        // Whoever reads keeps the pin.
        let used = desk.pinned(scan.pin, PartitionId(scan.partition), scan.epoch);
        if let Err(refusal) = used {
            return Some(Err(turned_away(refusal, scan.partition)));
        }
        self.reader.next().map_err(request_fault).transpose()
    }
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Boxed<HandshakeResponse>;
    type ListFlightsStream = Boxed<FlightInfo>;
    type DoGetStream = Boxed<FlightData>;
    type DoPutStream = Boxed<PutResult>;
    type DoExchangeStream = Boxed<FlightData>;
    type DoActionStream = Boxed<Answer>;
    type ListActionsStream = Boxed<ActionType>;

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let scan: Scan = parsed(&request.into_inner().ticket)?;
        let pinned = self.pinned(&scan)?;
        let permit = Arc::clone(&self.scans).try_acquire_owned().map_err(|_| {
            status(Refused::Busy, Some(scan.partition), format!("{SCANS_MAX} scans are open"))
        })?;
        let reader = Reader::new(pinned, scan.clone()).map_err(request_fault)?;
        let schema = reader.schema();
        let service = (self.setup.desk.clone(), scan);
        let running = Running { reader, service, _permit: permit };
        let batches = stream::unfold(Some(running), |running| async move {
            let mut running = running?;
            let batch = running.next()?;
            let rest = batch.is_ok().then_some(running);
            Some((batch.map_err(|status| FlightError::Tonic(Box::new(status))), rest))
        });
        let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
        Ok(Response::new(data.map(|data| data.map_err(Status::from)).boxed()))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let Action { r#type, body } = request.into_inner();
        let answered = match r#type.as_str() {
            action::LIST => answer(&self.list())?,
            action::DESCRIBE => answer(&*self.setup.description)?,
            action::PIN => answer(&self.pin(parsed(&body)?).await?)?,
            action::UNPIN => {
                let pins: Vec<u64> = parsed(&body)?;
                pins.into_iter().for_each(|pin| self.setup.desk.unpin(pin));
                answer(&())?
            }
            action::NOTES => answer(&self.notes())?,
            other => return Err(request_fault(format!("there is no action `{other}`"))),
        };
        Ok(Response::new(stream::iter([Ok(answered)]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(only_scans())
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(only_scans())
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(only_scans())
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(only_scans())
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        Err(only_scans())
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        Err(only_scans())
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(only_scans())
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(only_scans())
    }
}

fn only_scans() -> Status {
    Status::unimplemented("this endpoint answers scans alone; analysts ask the gateway")
}

/// A refusal that travelled, as an error of the caller's.
pub(super) fn error_of(status: &Status, engine: &str) -> Error {
    let refusal: Option<Refusal> = serde_json::from_slice(status.details()).ok();
    let engine = engine.to_owned();
    let Some(Refusal { refused, partition, detail }) = refusal else {
        return Error::Unreachable { engine, detail: status.message().to_owned() };
    };
    let partition = partition.unwrap_or_default();
    match refused {
        Refused::Moved => Error::Moved { partition, engine },
        Refused::NotRunning => Error::Unowned { partition, state: detail },
        Refused::PinExpired => Error::PinExpired { partition },
        Refused::Busy => Error::Busy { engine, detail },
        Refused::Request => Error::Refused(format!("engine `{engine}`: {detail}")),
    }
}
