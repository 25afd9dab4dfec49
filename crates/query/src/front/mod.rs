//! The front of the gateway: from a client's text to batches of rows.
//!
//! Owns the runtime that statements are planned and run on, their memory, and the queue before
//! them. Protocols run elsewhere, on a runtime of their own, and only ever wait here: a statement
//! that never yields costs its own thread and nobody's connection. Three invariants: a statement
//! reads one picture for its whole life, has its turn only while something is worked out for it, and
//! whoever drops its [`Rows`] ends it.
//!
//! This module knows no protocol and no engine.

mod absent;
mod activity;
mod command;
mod distinct;
mod fault;
mod handover;
mod keys;
mod known;
mod lateral;
mod metrics;
mod operators;
mod parameters;
mod planning;
mod queue;
mod rewrite;
mod role;
mod rows;
mod veil;
mod words;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::{
    DefaultObjectStoreRegistry, ObjectStoreRegistry, ObjectStoreUrl,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tracing::warn;

pub use command::{Command, Copy, CopyFormat, command};
pub use fault::{Fault, State};
pub use metrics::{Metrics, Protocol};
pub(crate) use operators::Operators;
pub use parameters::Parameter;
pub use planning::{Caller, Prepared};
pub use rewrite::{REPEATED, Rewriter};
pub(crate) use role::{LOGIN, WRONG};
pub use role::{Role, Roles};
pub use rows::Rows;
pub(crate) use veil::{Veiled, refused};

use activity::Activity;
use queue::Queue;

use crate::budget::Limits;
use crate::pg::catalogue::Catalogue;
use crate::relations::{Catalog, Comments};

/// The database that clients connect to.
pub const DATABASE: &str = "cardlens";
/// The version that clients decide by; what the server can do is that of this one.
pub const SERVER_VERSION: &str = "16.6";

/// Stack of the threads that plan: planning recurses over expressions and plans.
const STACK_BYTES: usize = 32 << 20;
/// The zone of every time.
const ZONE: &str = "+00:00";
/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// Settings and memory for the statements of a catalogue: no disk, no store, no files.
///
/// # Errors
/// The planner does not take them.
pub fn surroundings(limits: &Limits) -> Result<(SessionConfig, Arc<RuntimeEnv>), Fault> {
    let memory = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
    let largest = std::num::NonZeroUsize::new(5).unwrap_or(std::num::NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(memory), largest);
    let stores = DefaultObjectStoreRegistry::new();
    let files = ObjectStoreUrl::local_filesystem();
    stores.deregister_store(files.as_ref())?;
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(stores))
        .build_arc()?;
    let mut config = SessionConfig::new()
        .with_target_partitions(threads())
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(true);
    let options = config.options_mut();
    // Literals with a zone keep it, and now() has one.
    options.execution.time_zone = Some(ZONE.to_owned());
    options.execution.enable_recursive_ctes = false;
    // A scan decides its filters when it is planned, and a guard stands between.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    Ok((config, runtime))
}

/// Threads for statements: fewer than there are cores, so that protocols always have one.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// Everything that statements share.
pub struct Front {
    /// Where relations come from.
    pub catalog: Arc<Catalog>,
    /// What a statement may cost.
    pub limits: Limits,
    /// Who may ask.
    pub roles: Roles,
    /// What is counted.
    pub metrics: Metrics,
    activity: Activity,
    catalogue: Catalogue,
    rewriter: Arc<Rewriter>,
    also: Arc<BTreeSet<String>>,
    queries: Option<Runtime>,
    queue: Arc<Queue>,
}

impl Front {
    /// A front over a catalogue, whose statements should have the settings of [`surroundings`].
    ///
    /// # Errors
    /// The relations cannot be told, or there is no thread left.
    pub async fn new(
        catalog: Arc<Catalog>,
        limits: Limits,
        roles: Roles,
        metrics: Metrics,
    ) -> Result<Self, Fault> {
        let statement = catalog.statement().await?;
        let catalogue = Catalogue::new(&statement, &roles).await?;
        let also = catalogue.allowed(&statement);
        check(&roles, &statement.comments());
        drop(statement);
        // Last, so that nothing can fail behind it: a runtime may not be dropped where others wait.
        let queries = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads())
            .thread_stack_size(STACK_BYTES)
            .thread_name("statement")
            .enable_all()
            .build()
            .map_err(|error| Fault::new(State::Internal, format!("start a runtime: {error}")))?;
        let queue = Arc::new(Queue::new(&limits));
        Ok(Self {
            catalog,
            limits,
            roles,
            metrics,
            activity: Activity::default(),
            catalogue,
            rewriter: Arc::new(Rewriter::default()),
            also: Arc::new(also),
            queries: Some(queries),
            queue,
        })
    }

    /// Does something where statements run, with their stack. Dropping the future ends it.
    ///
    /// # Errors
    /// It panicked, or the front is being dropped.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut tasks = JoinSet::new();
        self.start(&mut tasks, work)?;
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => {
                Err(Fault::new(State::Internal, "the statement met a fault of the server"))
            }
            _ => Err(Fault::new(State::Shutdown, "the server is shutting down")),
        }
    }

    /// Returns once the threads for statements have taken nothing up for so long.
    pub(crate) async fn stuck(&self, patience: Duration) {
        while tokio::time::timeout(patience, self.aside(async { Ok(()) })).await.is_ok() {
            tokio::time::sleep(patience / 4).await;
        }
    }

    fn start<T: Send + 'static>(
        &self,
        tasks: &mut JoinSet<T>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<(), Fault> {
        let gone = || Fault::new(State::Shutdown, "the server is shutting down");
        let queries = self.queries.as_ref().ok_or_else(gone)?;
        tasks.spawn_on(work, queries.handle());
        Ok(())
    }

    /// The relations that there are, with their columns.
    ///
    /// # Errors
    /// They cannot be told at the moment.
    pub async fn relations(&self) -> Result<Vec<Relation>, Fault> {
        let statement = self.catalog.statement().await?;
        let mut relations = Vec::new();
        for comment in statement.comments().iter() {
            let catalog = statement.context().catalog(DATABASE);
            let schema = catalog.and_then(|catalog| catalog.schema(comment.schema));
            let Some(schema) = schema else { continue };
            if let Some(table) = schema.table(&comment.table).await? {
                relations.push(Relation {
                    schema: comment.schema.to_owned(),
                    name: comment.table.clone(),
                    view: comment.view,
                    columns: table.schema(),
                });
            }
        }
        Ok(relations)
    }
}

/// Tells of masks that hide nothing and relations that are none: a name that is misspelt would go
/// unnoticed.
fn check(roles: &Roles, comments: &Comments) {
    let column = |name: &str| {
        comments.iter().any(|table| table.columns.iter().any(|(column, _)| column == name))
    };
    for role in roles.each() {
        for column in role.mask.iter().filter(|name| !column(name)) {
            warn!(role = role.name, column, "the mask names a column that no table has");
        }
        for relation in role.relations.iter().flatten() {
            let one = Role { relations: Some(vec![relation.clone()]), ..Role::default() };
            if !comments.iter().any(|table| one.reads(table.schema, &table.table)) {
                warn!(role = role.name, relation, "the role may read a relation that there is not");
            }
        }
    }
}

/// A relation as clients are told of it.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Where it lies.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether it is worked out from others.
    pub view: bool,
    /// Its columns.
    pub columns: SchemaRef,
}

impl Drop for Front {
    fn drop(&mut self) {
        // Blocking here could be on one of its own threads.
        if let Some(queries) = self.queries.take() {
            queries.shutdown_background();
        }
    }
}

impl From<crate::Error> for Fault {
    fn from(error: crate::Error) -> Self {
        Self::new(State::Engine, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::relations::Fixed;

    #[tokio::test]
    async fn threads_that_never_return_are_noticed() {
        let (config, runtime) = surroundings(&Limits::default()).unwrap();
        let fixed = Fixed::sample(10, 1).unwrap();
        let catalog = Arc::new(Catalog::fixed(fixed).with_session(config, runtime));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let made = Front::new(catalog, Limits::default(), Roles::default(), metrics);
        let front = made.await.unwrap();
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(30));
        assert!(tokio::time::timeout(short, front.stuck(long)).await.is_err());
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..threads() {
            let over = Arc::clone(&over);
            front.queries.as_ref().unwrap().spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    std::thread::park_timeout(short);
                }
            });
        }
        let noticed = tokio::time::timeout(long, front.stuck(short)).await;
        over.store(true, Ordering::Relaxed);
        noticed.unwrap();
    }
}
