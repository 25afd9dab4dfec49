//! A gateway over customers in memory, on free ports of this machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cardlens_engine::history::{File, Files, Kind, Place};
use cardlens_model::{Day, PartitionId};
use cardlens_query::budget::Limits;
use cardlens_query::budget::guard::Stop;
use cardlens_query::front::{
    Caller, Fault, Front, Metrics, Protocol, Role, Roles, Rows, surroundings,
};
use cardlens_query::relations::{Catalog, Fixed};
use cardlens_query::{flight_sql, pg};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Date32Type, Int32Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::ParamValues;
use datafusion::object_store::ObjectStoreExt;
use datafusion::object_store::memory::InMemory;
use datafusion::object_store::path::Path;
use parquet::arrow::ArrowWriter;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};

/// Customers of every test.
pub const CUSTOMERS: u32 = 1_000;

/// A front whose customers are in memory.
pub async fn front(limits: Limits) -> Front {
    let (config, runtime) = surroundings(&limits).unwrap();
    let fixed = Fixed::sample(CUSTOMERS, 4).unwrap();
    let files = history(&Catalog::fixed(Fixed::sample(CUSTOMERS, 4).unwrap())).await;
    let catalog = Catalog::fixed(fixed).with_session(config, runtime).with_history(Some(files));
    let mut roles = Roles::default();
    roles.add(Role { name: "analyst".into(), ..Role::default() }, "s3cret".into());
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    Front::new(Arc::new(catalog), limits, roles, metrics).await.unwrap()
}

/// Days of which there are profiles, and the version of the rules then.
const PROFILED: [(&str, u32); 4] =
    [("2025-02-16", 1), ("2026-02-01", 0), ("2026-02-10", 1), ("2026-02-14", 1)];

/// All changes of a catalogue as files, and its customers as profiles of two days.
async fn history(catalog: &Catalog) -> Files {
    let store = Arc::new(InMemory::new());
    let changes = "SELECT partition, day FROM segment_changes GROUP BY 1, 2";
    for batch in rows(catalog, changes).await {
        let partitions = batch.column(0).as_primitive::<Int32Type>().values();
        let days = batch.column(1).as_primitive::<Date32Type>().values();
        for (partition, day) in partitions.iter().zip(days) {
            let (file, sql) = (file(*partition, Day(*day), false), Day(*day));
            let sql = format!(
                "SELECT * EXCEPT (day) FROM segment_changes \
                 WHERE partition = {partition} AND day = DATE '{sql}'"
            );
            put(&store, Kind::Changes, file, rows(catalog, &sql).await).await;
        }
    }
    let each = PROFILED.into_iter().flat_map(|of| (0..4).map(move |partition| (of, partition)));
    for ((day, version), partition) in each {
        let sql = format!(
            "SELECT c.customer_id, value_tier, value_tier_since, primary_need, needs, \
             arrow_cast(NULL, 'List(Date32)') AS needs_since, \
             arrow_cast(array_repeat(0.5, cardinality(needs)), 'List(Float64)') AS needs_score, \
             lifecycle, lifecycle_since, sequence, arrow_cast({version}, 'Int32') AS rules_version, \
             partition, f.* EXCEPT (customer_id, watermark) \
             FROM customers c JOIN features f ON c.customer_id = f.customer_id \
             WHERE partition = {partition}"
        );
        let file = file(partition, Day::parse(day).unwrap(), true);
        put(&store, Kind::Profiles, file, rows(catalog, &sql).await).await;
    }
    Files(store)
}

async fn rows(catalog: &Catalog, sql: &str) -> Vec<RecordBatch> {
    let statement = catalog.statement().await.unwrap();
    statement.context().sql(sql).await.unwrap().collect().await.unwrap()
}

fn file(partition: i32, day: Day, last: bool) -> File {
    let partition = PartitionId(partition.unsigned_abs());
    File { partition, place: Place { day, part: 0 }, last }
}

async fn put(store: &InMemory, kind: Kind, file: File, rows: Vec<RecordBatch>) {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows[0].schema(), None).unwrap();
    rows.iter().for_each(|batch| writer.write(batch).unwrap());
    let path = Path::from(format!("{}/{}", kind.folder(), file.path()));
    store.put(&path, writer.into_inner().unwrap().into()).await.unwrap();
}

/// A role that sees everything.
pub fn everything() -> Arc<Role> {
    Arc::default()
}

/// Somebody of a role, whose statements may take so long.
pub fn caller(role: &Arc<Role>, timeout: Duration) -> Caller {
    Caller {
        user: role.name.clone(),
        role: Arc::clone(role),
        number: 1,
        client: None,
        protocol: Protocol::Postgres,
        settings: Vec::new(),
        timeout,
        partial: false,
    }
}

/// What a role is answered, as a table of text.
pub async fn ask(front: &Front, role: &Arc<Role>, sql: &str) -> Result<String, Fault> {
    let caller = caller(role, Duration::from_secs(30));
    let mut rows = begin(front, &caller, sql).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next(usize::MAX).await? {
        batches.push(batch);
    }
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// Plans a query and begins to run it.
pub async fn begin(front: &Front, caller: &Caller, sql: &str) -> Result<Rows, Fault> {
    let stop = Arc::new(Stop::new(caller.timeout));
    let prepared = Arc::new(front.prepare(sql, caller, &stop).await?);
    front.run(&prepared, ParamValues::List(Vec::new()), caller, &stop).await
}

/// What a gateway is started with.
pub struct Start {
    /// What statements may cost.
    pub limits: Limits,
    /// Most connections, of both protocols together.
    pub connections: usize,
    /// Lets whoever is on this machine in; otherwise everybody is asked for a password.
    pub without_password: bool,
    /// Encrypts both protocols.
    pub tls: Option<pg::Tls>,
}

impl Default for Start {
    fn default() -> Self {
        Self { limits: Limits::default(), connections: 20, without_password: true, tls: None }
    }
}

/// A running gateway; it ends when it is dropped.
pub struct Gateway {
    /// Where it listens for the Postgres wire.
    pub address: SocketAddr,
    /// Where it listens for Flight SQL.
    pub flight: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts one that lets whoever is on this machine in, or asks everybody for a password.
    pub fn start(limits: Limits, connections: usize, without_password: bool) -> Self {
        Self::open(Start { limits, connections, without_password, tls: None })
    }

    /// Starts one.
    pub fn open(start: Start) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (told, addresses) = oneshot::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(start, told, stopped));
        };
        let thread = std::thread::spawn(run);
        let (address, flight) = addresses.blocking_recv().unwrap();
        Self { address, flight, stop, thread: Some(thread) }
    }
}

async fn serve(
    start: Start,
    told: oneshot::Sender<(SocketAddr, SocketAddr)>,
    stopped: watch::Receiver<bool>,
) {
    let front = Arc::new(front(start.limits).await);
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flight = TcpListener::bind("127.0.0.1:0").await.unwrap();
    told.send((wire.local_addr().unwrap(), flight.local_addr().unwrap())).unwrap();
    let places = Arc::new(Semaphore::new(start.connections));
    let service = flight_sql::Options {
        identity: start.tls.as_ref().map(pg::Tls::identity),
        loopback_without_password: start.without_password,
        insecure: false,
        requests: 64,
        places: Arc::clone(&places),
    };
    let service = flight_sql::Service::new(Arc::clone(&front), service).unwrap();
    let options = pg::Options {
        places,
        tls: start.tls,
        loopback_without_password: start.without_password,
        insecure: false,
    };
    let wire = pg::serve(wire, front, options, Arc::default(), stopped.clone());
    let flight = flight_sql::serve(flight, service, stopped);
    tokio::try_join!(wire, flight).unwrap();
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The folder that cargo builds this test in, where tools are installed too.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // Cargo puts this into every folder it builds in, a tag only into those it made itself.
    let target = test.ancestors().find(|folder| folder.join(".rustc_info.json").exists());
    target.expect("the test lies in a target folder of cargo").to_owned()
}
