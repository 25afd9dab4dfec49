//! From a query to a plan that may run.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use datafusion_postgres::pgwire::api::Type;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::activity::{Activity, cut};
use super::metrics::Protocol;
use super::parameters::{Parameter, parameters, written};
use super::rows::{Message, Rows};
use super::{Fault, Front, Role, State, known};
use crate::budget::functions::Functions;
use crate::budget::groups::Groups;
use crate::budget::guard::{Stop, watch};
use crate::relations::{Options, Statement};

/// Batches that wait for a client between the runtimes.
const BATCHES_WAITING: usize = 2;

/// What a statement needs to know of whoever asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: String,
    /// As whom.
    pub role: Arc<Role>,
    /// Number of the connection; zero without one.
    pub number: i32,
    /// Address of the client, where it is known.
    pub client: Option<String>,
    /// What it asks by.
    pub protocol: Protocol,
    /// SHOW, for the functions that ask.
    pub settings: Vec<(String, String)>,
    /// Longest run.
    pub timeout: Duration,
    /// Answers without partitions that cannot be read.
    pub partial: bool,
}

/// A query that was planned once: what it asks for, and what it answers with.
#[derive(Debug)]
pub struct Prepared {
    /// The query.
    ast: Ast,
    /// Its text, cut to what is told of it.
    statement: Arc<str>,
    /// Columns of the result.
    pub schema: SchemaRef,
    /// What must be given to run it.
    pub parameters: Vec<Parameter>,
}

impl Front {
    /// Parses a query and plans it once, so that its columns and parameters are known.
    ///
    /// # Errors
    /// A query that is refused, or that makes no sense.
    pub async fn prepare(&self, query: &str, session: &Caller) -> Result<Prepared, Fault> {
        let told = cut(query);
        let (text, caller) = (Arc::clone(&told), session);
        let (query, session) = (query.to_owned(), session.clone());
        let rewriter = Arc::clone(&self.rewriter);
        let planner = self.planner();
        let (timeout, protocol) = (session.timeout, session.protocol);
        let work = self.aside(async move {
            let ast = rewriter.query(known::replaced(&query).as_deref().unwrap_or(&query))?;
            let statement = planner.open(&session).await?;
            let state = planner.state(&statement, &session);
            let plan = plan(&state, &ast).await?;
            let schema = Arc::new(Schema::clone(plan.schema().as_arrow()));
            let mut parameters = parameters(&ast, &plan)?;
            // What is answered without planning has its parameters all the same.
            let count = parameters.len().max(written(&query));
            parameters.resize(count, Parameter { kind: None, wire: Type::TEXT });
            Ok(Prepared { ast, statement: text, schema, parameters })
        });
        let prepared = match tokio::time::timeout(timeout, work).await {
            Ok(prepared) => prepared,
            Err(_) => {
                let stop = Stop::new(timeout);
                stop.time_out();
                Err(stop.fault().unwrap_or_else(|| Fault::new(State::Canceled, "timed out")))
            }
        };
        prepared.inspect_err(|fault| {
            self.metrics.failed(protocol, fault);
            self.activity.begin(caller, &told).failed(fault);
        })
    }

    /// Runs a query. It is planned anew over the picture that it will read.
    ///
    /// # Errors
    /// What keeps it from starting; what ends it later comes with its rows.
    pub async fn run(
        &self,
        prepared: &Arc<Prepared>,
        values: ParamValues,
        session: &Caller,
        stop: &Arc<Stop>,
    ) -> Result<Rows, Fault> {
        let listed = self.activity.begin(session, &prepared.statement);
        let permit = tokio::select! {
            permit = self.admit(session.timeout) => permit,
            fault = stop.asked() => Err(fault),
        };
        let permit = permit.inspect_err(|fault| {
            self.metrics.failed(session.protocol, fault);
            listed.failed(fault);
        })?;
        let measured = self.metrics.begin(session.protocol, listed);
        let timeout = session.timeout;
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        let mut tasks = JoinSet::new();
        let (prepared, session) = (Arc::clone(prepared), session.clone());
        let asked = Asked { prepared, values, session, stop: Arc::clone(stop) };
        let planner = self.planner();
        self.start(&mut tasks, async move {
            if let Err(fault) = planner.run(asked, &sender).await {
                // Nobody listens when the client has gone.
                drop(sender.send(Message::Failed(fault)).await);
            }
        })?;
        let mut rows = Rows::new(receiver, tasks, (permit, measured), Arc::clone(stop), timeout);
        rows.limit(self.limits.result_rows, self.limits.result_bytes);
        rows.begin().await?;
        Ok(rows)
    }

    fn planner(&self) -> Planner {
        Planner {
            catalog: Arc::clone(&self.catalog),
            catalogue: self.catalogue.clone(),
            activity: self.activity.clone(),
            also: Arc::clone(&self.also),
            limits: self.limits.clone(),
        }
    }
}

/// A query to run, with all that whoever asks gave with it.
struct Asked {
    prepared: Arc<Prepared>,
    values: ParamValues,
    session: Caller,
    stop: Arc<Stop>,
}

/// What planning needs, without the front that may go away meanwhile.
struct Planner {
    catalog: Arc<crate::relations::Catalog>,
    catalogue: crate::pg::catalogue::Catalogue,
    activity: Activity,
    also: Arc<std::collections::BTreeSet<String>>,
    limits: crate::budget::Limits,
}

impl Planner {
    async fn open(&self, session: &Caller) -> Result<Statement, Fault> {
        let queries = self.activity.seen_by(&session.role);
        let options = Options { partial: session.partial, queries };
        Ok(self.catalog.statement_with(options).await?)
    }

    fn state(&self, statement: &Statement, session: &Caller) -> SessionState {
        let functions = Functions::new(&self.also, &self.limits);
        let state = self.catalogue.over(statement, session);
        // Before the functions are looked at, which stand for others afterwards.
        let state = match session.role.min_group {
            Some(least) => state.with_analyzer_rule(Arc::new(Groups::new(least))),
            None => state,
        };
        state.with_analyzer_rule(Arc::new(functions)).build()
    }

    async fn run(&self, asked: Asked, sender: &mpsc::Sender<Message>) -> Result<(), Fault> {
        let Asked { prepared, values, session, stop } = asked;
        let statement = self.open(&session).await?;
        let state = self.state(&statement, &session);
        let plan = plan(&state, &prepared.ast).await?;
        let plan = plan.replace_params_with_values(&values)?;
        let physical = physical(&state, &plan).await?;
        let physical = watch(physical, &stop, &self.limits)?;
        let mut stream = execute_stream(physical, state.task_ctx())?;
        if sender.send(Message::Started(stream.schema())).await.is_err() {
            return Ok(());
        }
        while let Some(batch) = futures::StreamExt::next(&mut stream).await {
            let batch = batch?;
            if batch.num_rows() > 0 && sender.send(Message::Batch(batch)).await.is_err() {
                return Ok(());
            }
        }
        let done = Message::Done { positions: statement.positions(), gaps: statement.gaps() };
        drop(sender.send(done).await);
        Ok(())
    }
}

async fn plan(state: &SessionState, ast: &Ast) -> Result<LogicalPlan, Fault> {
    let plan = state.statement_to_plan(Parsed::Statement(Box::new(ast.clone()))).await?;
    let allowed =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed
        .verify_plan(&plan)
        .map_err(|error| Fault::new(State::ReadOnly, Fault::from(error).message))?;
    Ok(plan)
}

async fn physical(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>, Fault> {
    Ok(state.create_physical_plan(plan).await?)
}
