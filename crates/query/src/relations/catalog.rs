//! The catalogue that statements are planned against, and one statement's picture of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cardlens_engine::history::Files;
use cardlens_engine::view::Pinned;
use cardlens_features::{FeatureInfo, Plan, catalog as features};
use cardlens_lens::{Lens, RuleSet};
use cardlens_model::{CategoryTable, Problem};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::join_all;
use futures::stream::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;
use tracing::warn;

use super::backend::{Backend, Board, Rows};
use super::definitions::{self, Definition};
use super::engines::Engines;
use super::fixed::Fixed;
use super::held::Held;
use super::queries::QueryRow;
use super::schema::RelationSchema;
use super::shape::Meaning;
use super::tables::{Relation, VIEWS, relations};
use super::{functions, ops};
use crate::Error;
use crate::scan::{Description, Notes, Pin, PinRequest, Predicate, Scan, Stored};

/// Name of the one catalog; `public` is its default schema.
const CATALOG: &str = "cardlens";

/// A comment of a table or view, and of each of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableComment {
    /// `public` or `ops`.
    pub schema: &'static str,
    /// The table.
    pub table: String,
    /// Whether it is a view.
    pub view: bool,
    /// What it holds.
    pub comment: String,
    /// Its columns, in order, and what they mean.
    pub columns: Vec<(String, String)>,
}

/// Comments of all tables and their columns.
pub type Comments = Vec<TableComment>;

/// How a statement is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Answer without partitions that cannot be read, and say which: [`Statement::gaps`].
    pub partial: bool,
    /// Statements that whoever asks may see in `ops.queries`.
    pub queries: Vec<QueryRow>,
}

/// What follows from a description.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) meaning: Meaning,
    pub(super) relations: Vec<Arc<Relation>>,
    pub(super) definitions: Vec<Definition>,
    pub(super) categories: CategoryTable,
    /// The rules, compiled when somebody asks for the first time.
    lens: OnceLock<Arc<Lens>>,
    comments: Arc<Comments>,
}

/// The catalogue of a deployment.
pub struct Catalog {
    backend: Backend,
    history: Option<Files>,
    template: SessionState,
    known: Mutex<Option<Arc<Known>>>,
}

impl Catalog {
    /// The catalogue of all partitions that engines serve at `host:port` each.
    #[must_use]
    pub fn new(engines: Vec<String>) -> Self {
        Self::with(Backend::Engines(Arc::new(Engines::new(engines))))
    }

    /// The catalogue of partitions that this process holds still itself, read without an endpoint:
    /// what rows cost apart from their way. A statement reads exactly these pins.
    #[must_use]
    pub fn held(description: Description, pins: Vec<Arc<Pinned>>) -> Self {
        Self::with(Backend::Held(Arc::new(Held::new(Arc::new(description), pins))))
    }

    /// The catalogue of the customers of some rows in memory: for tests.
    #[must_use]
    pub fn fixed(fixed: Fixed) -> Self {
        Self::with(Backend::Fixed(Arc::new(fixed)))
    }

    fn with(backend: Backend) -> Self {
        let template = template(SessionConfig::new(), Arc::default());
        Self { backend, history: None, template, known: Mutex::default() }
    }

    /// Reads what was from files too.
    #[must_use]
    pub fn with_history(self, files: Option<Files>) -> Self {
        Self { history: files, ..self }
    }

    /// Plans and runs statements with these settings and bounds. The catalogue's own names and the
    /// information schema stay as they are.
    #[must_use]
    pub fn with_session(self, config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Self {
        Self { template: template(config, runtime), ..self }
    }

    /// Opens a statement: asks who owns what, and nothing more until it reads.
    ///
    /// # Errors
    /// No engine answers, or engines that do not belong together.
    pub async fn statement(&self) -> Result<Statement, Error> {
        self.statement_with(Options::default()).await
    }

    /// As [`Catalog::statement`].
    ///
    /// # Errors
    /// As [`Catalog::statement`].
    pub async fn statement_with(&self, options: Options) -> Result<Statement, Error> {
        let board = self.backend.board().await?;
        let known = self.known(&board.description)?;
        let picture = Arc::new(Picture {
            backend: self.backend.clone(),
            history: self.history.clone(),
            known,
            board,
            partial: options.partial,
            queries: options.queries,
            categories: AtomicBool::new(false),
            pins: OnceCell::new(),
            notes: OnceCell::new(),
            gaps: Mutex::default(),
        });
        let context = picture.context(self.template.clone(), true);
        Ok(Statement { context, picture })
    }

    /// Comments of every table and column.
    ///
    /// # Errors
    /// As [`Catalog::statement`].
    pub async fn comments(&self) -> Result<Arc<Comments>, Error> {
        let board = self.backend.board().await?;
        Ok(Arc::clone(&self.known(&board.description)?.comments))
    }

    /// What follows from a description, worked out when it is not the last one's.
    fn known(&self, description: &Arc<Description>) -> Result<Arc<Known>, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref()
            && known.meaning.description == *description
        {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(Known::new(description)?);
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

fn template(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let config = config
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, "public");
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build()
}

impl Known {
    fn new(description: &Arc<Description>) -> Result<Self, Error> {
        let ranges = description.merchant_categories.iter();
        let ranges: Vec<_> = ranges.map(|(low, high, name)| (*low, *high, name.as_str())).collect();
        let categories = CategoryTable::new(&ranges, &description.withheld)
            .map_err(|problems| Error::Disagree(problems.join("; ")))?;
        let catalog = feature_infos(description, &categories);
        let meaning = Meaning::new(Arc::clone(description));
        let relations: Vec<Arc<Relation>> =
            relations(&meaning, &catalog).into_iter().map(Arc::new).collect();
        let definitions = definitions::all(description, &catalog)
            .map_err(|error| Error::Refused(error.to_string()))?;
        let comments = Arc::new(comments(&relations, &definitions));
        let lens = OnceLock::new();
        Ok(Self { meaning, relations, definitions, categories, lens, comments })
    }

    /// The rules in force.
    pub(super) fn lens(&self) -> Result<Arc<Lens>, DataFusionError> {
        if let Some(lens) = self.lens.get() {
            return Ok(Arc::clone(lens));
        }
        let rules = RuleSet::parse(&self.meaning.description.rules_files)
            .map_err(|problems| faults(&problems))?;
        let lens = Arc::new(self.compile(rules)?);
        Ok(Arc::clone(self.lens.get_or_init(|| lens)))
    }

    /// Compiles rules over the features that engines hold.
    pub(super) fn compile(&self, rules: RuleSet) -> Result<Lens, DataFusionError> {
        let names = rules.feature_names();
        let held = |name: &&String| self.meaning.description.form(name).is_some();
        let plan = Plan::new(&names, &self.categories).map_err(|unknown| {
            let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
            DataFusionError::Plan(unknown.join("; "))
        })?;
        if let Some(missing) = names.iter().find(|name| !held(name)) {
            return Err(DataFusionError::Plan(format!(
                "`{missing}` is computed for rules in force only; see in_features of the table \
                 feature_catalog for what can be previewed"
            )));
        }
        Lens::compile(rules, &plan.schema()).map_err(|problems| faults(&problems))
    }
}

/// Faults of rules, in one line.
pub(super) fn faults(problems: &[Problem]) -> DataFusionError {
    let all: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    DataFusionError::Plan(all.join("; "))
}

/// All features at the windows of the view, those of the rules among them.
fn feature_infos(description: &Description, categories: &CategoryTable) -> Vec<FeatureInfo> {
    let names: Vec<String> = description.columns.iter().map(|column| column.name.clone()).collect();
    let mut windows = description.windows.clone();
    for name in names {
        if let Ok(plan) = Plan::new(&[name], categories) {
            windows.extend(plan.windows());
        }
    }
    windows.sort_unstable();
    windows.dedup();
    features(categories, &windows)
}

fn comments(relations: &[Arc<Relation>], definitions: &[Definition]) -> Comments {
    let mut comments = Vec::new();
    for relation in relations {
        let columns = relation.columns.iter();
        comments.push(TableComment {
            schema: "public",
            table: relation.name.to_owned(),
            view: false,
            comment: relation.comment.to_owned(),
            columns: columns.map(|c| (c.field.name().clone(), c.comment.clone())).collect(),
        });
    }
    let told = |columns: &[(&str, &str)]| {
        columns.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    for view in &VIEWS {
        comments.push(TableComment {
            schema: "public",
            table: view.name.to_owned(),
            view: true,
            comment: view.comment.to_owned(),
            columns: told(view.columns),
        });
    }
    for definition in definitions {
        comments.push(TableComment {
            schema: "public",
            table: definition.name.to_owned(),
            view: false,
            comment: definition.comment.to_owned(),
            columns: told(definition.columns),
        });
    }
    for table in ops::TABLES {
        comments.push(TableComment {
            schema: "ops",
            table: table.name.to_owned(),
            view: false,
            comment: table.comment.to_owned(),
            columns: told(table.columns),
        });
    }
    comments
}

/// A partition held still for a statement, and who holds it.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) engine: usize,
    pub(super) pin: Pin,
}

impl Taken {
    /// A scan of all of it.
    pub(super) fn scan(
        &self,
        relation: Stored,
        columns: Vec<String>,
        predicates: Vec<Predicate>,
    ) -> Scan {
        let Pin { pin, partition, epoch, .. } = self.pin;
        Scan { pin, partition, epoch, relation, columns, predicates, rows: None, limit: None }
    }
}

/// What one statement sees: shared by all of its tables and readers.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) backend: Backend,
    /// Files of what was, where they are read.
    pub(super) history: Option<Files>,
    pub(super) known: Arc<Known>,
    pub(super) board: Board,
    partial: bool,
    /// What `ops.queries` holds.
    pub(super) queries: Vec<QueryRow>,
    /// Whether a table of the statement reads categories: known before anything is pinned.
    categories: AtomicBool,
    pins: OnceCell<BTreeMap<u32, Taken>>,
    notes: OnceCell<Vec<(usize, Notes)>>,
    gaps: Mutex<Vec<String>>,
}

impl Picture {
    /// A context whose tables see this picture.
    pub(super) fn context(self: &Arc<Self>, template: SessionState, views: bool) -> SessionContext {
        let catalog = MemoryCatalogProvider::new();
        for name in ["public", "ops"] {
            let schema = RelationSchema::new(name, self, views.then(|| template.clone()));
            if let Err(error) = catalog.register_schema(name, Arc::new(schema)) {
                warn!(%error, "a schema is missing");
            }
        }
        let list = Arc::new(MemoryCatalogProviderList::new());
        let state = SessionStateBuilder::new_from_existing(template).with_catalog_list(list);
        let context = SessionContext::new_with_state(state.build());
        context.register_catalog(CATALOG, Arc::new(catalog));
        functions::register(&context, self);
        context
    }

    /// Partitions there must be: as many as an engine knows of, or up to the last one owned.
    pub(super) fn partitions(&self) -> u32 {
        let owned = self.board.partitions.iter().map(|(_, state)| state.partition + 1).max();
        owned.unwrap_or(0).max(self.board.partitions_all.unwrap_or(0))
    }

    /// Goes on without a partition, where the statement asked for that.
    pub(super) fn without(&self, partition: u32, error: Error) -> Result<(), Error> {
        if !self.partial {
            return Err(error);
        }
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.push(format!("partition {partition}: {error}"));
        Ok(())
    }

    /// Says that categories will be read.
    pub(super) fn want_categories(&self) {
        self.categories.store(true, Ordering::Relaxed);
    }

    /// One pin a partition, taken once. What is missing is a gap that was asked for.
    pub(super) async fn pins(&self) -> Result<&BTreeMap<u32, Taken>, Error> {
        self.pins.get_or_try_init(|| self.take_pins()).await
    }

    async fn take_pins(&self) -> Result<BTreeMap<u32, Taken>, Error> {
        // Nobody at all is no answer, and what is missing could not be named.
        if self.board.partitions_all.is_none() {
            return Err(Error::NotJoined);
        }
        let each = (0..self.partitions()).map(|partition| self.take_pin(partition));
        let mut taken = BTreeMap::new();
        let mut failed = None;
        let mut gaps = Vec::new();
        for (partition, pin) in (0..).zip(join_all(each).await) {
            match pin {
                Ok(pin) => {
                    taken.insert(partition, pin);
                }
                Err(error) if self.partial => gaps.push(error.to_string()),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            give_back(&self.backend, &taken).await;
            return Err(error);
        }
        self.note_gaps(gaps);
        Ok(taken)
    }

    fn note_gaps(&self, gaps: Vec<String>) {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).extend(gaps);
    }

    /// What each engine did last, asked for once. One that is silent is a gap that was asked for.
    pub(super) async fn notes(&self) -> Result<&Vec<(usize, Notes)>, Error> {
        self.notes.get_or_try_init(|| self.take_notes()).await
    }

    async fn take_notes(&self) -> Result<Vec<(usize, Notes)>, Error> {
        let engines = || self.board.instances.iter().map(|instance| instance.engine);
        let each = join_all(engines().map(|engine| self.backend.notes(engine))).await;
        let mut taken = Vec::new();
        let mut gaps = Vec::new();
        for (engine, notes) in engines().zip(each) {
            match notes {
                Ok(notes) => taken.push((engine, notes)),
                Err(error) if self.partial => gaps.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        self.note_gaps(gaps);
        Ok(taken)
    }

    async fn take_pin(&self, partition: u32) -> Result<Taken, Error> {
        let owner = self.board.partitions.iter().find(|(_, state)| state.partition == partition);
        let Some((engine, state)) = owner else { return Err(self.unowned(partition)) };
        if state.state != "running" {
            return Err(Error::Unowned { partition, state: state.state.clone() });
        }
        let categories = self.categories.load(Ordering::Relaxed);
        let request = PinRequest { partition, epoch: state.epoch, categories };
        let pin = self.backend.pin(*engine, request).await.map_err(|error| error.of(partition))?;
        Ok(Taken { engine: *engine, pin })
    }

    /// Rows of a scan, whose errors name the partition.
    pub(super) async fn rows(&self, taken: &Taken, scan: Scan) -> Result<Rows, Error> {
        let partition = scan.partition;
        let rows = self.backend.scan(taken.engine, scan).await;
        let rows = rows.map_err(|error| error.of(partition))?;
        Ok(rows.map_err(move |error| error.of(partition)).boxed())
    }

    /// Why nobody owns a partition: an engine that is silent may be why.
    fn unowned(&self, partition: u32) -> Error {
        let mut silent = self.board.instances.iter().filter_map(|it| it.answer.as_ref().err());
        let silent = silent.next().map(|error| error.clone().of(partition));
        silent.unwrap_or(Error::Unowned { partition, state: "nowhere".into() })
    }
}

async fn give_back(backend: &Backend, taken: &BTreeMap<u32, Taken>) {
    let mut by_engine: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for taken in taken.values() {
        by_engine.entry(taken.engine).or_default().push(taken.pin.pin);
    }
    join_all(by_engine.into_iter().map(|(engine, pins)| backend.unpin(engine, pins))).await;
}

impl Drop for Picture {
    fn drop(&mut self) {
        let Some(taken) = self.pins.take().filter(|taken| !taken.is_empty()) else { return };
        // Outside a runtime they expire.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let backend = self.backend.clone();
            drop(runtime.spawn(async move { give_back(&backend, &taken).await }));
        }
    }
}

/// One statement: a context whose every table sees the same position of each partition.
pub struct Statement {
    context: SessionContext,
    picture: Arc<Picture>,
}

impl Statement {
    /// The context to plan and run the statement in.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Position of each partition that was read; empty before anything was.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<u32, i64> {
        let pins = self.picture.pins.get();
        pins.into_iter().flatten().map(|(number, taken)| (*number, taken.pin.position)).collect()
    }

    /// What a partial statement went without, a sentence each.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        self.picture.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Comments of every table and column.
    #[must_use]
    pub fn comments(&self) -> Arc<Comments> {
        Arc::clone(&self.picture.known.comments)
    }
}
