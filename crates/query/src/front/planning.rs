//! From a query to a plan that may run.

use std::sync::Arc;
use std::time::Duration;

use cardlens_lens::nearest;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Ast;
use datafusion_postgres::pgwire::api::Type;
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::activity::{Activity, cut};
use super::handover::{Counter, Handover, Message};
use super::metrics::Protocol;
use super::parameters::{Parameter, parameters, written};
use super::rows::Rows;
use super::{DATABASE, Fault, Front, Role, State, known};
use crate::budget::functions::Functions;
use crate::budget::groups::Groups;
use crate::budget::guard::{Stop, watch};
use crate::relations::{Options, Statement};

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
    /// Parses a query and plans it once, so that its columns and parameters are known. It takes a
    /// turn, as running does.
    ///
    /// # Errors
    /// A query that is refused, that makes no sense, or that was stopped.
    pub async fn prepare(
        &self,
        query: &str,
        session: &Caller,
        stop: &Stop,
    ) -> Result<Prepared, Fault> {
        let told = cut(query);
        let prepared = self.planned(query, &told, session, stop).await;
        prepared.map_err(|fault| {
            let fault = self.limits.named(fault);
            self.metrics.failed(session.protocol, &fault);
            self.activity.begin(session, &told).failed(&fault);
            fault
        })
    }

    async fn planned(
        &self,
        query: &str,
        told: &Arc<str>,
        session: &Caller,
        stop: &Stop,
    ) -> Result<Prepared, Fault> {
        let deadline = Instant::now() + session.timeout;
        let turn = self.queue.turn_unless(stop, deadline).await?;
        let (query, statement, session) = (query.to_owned(), Arc::clone(told), session.clone());
        let (rewriter, planner) = (Arc::clone(&self.rewriter), self.planner());
        let work = self.aside(async move {
            // For as long as a thread is busy with it, however long anybody waits.
            let _turn = turn;
            let ast = rewriter.query(known::replaced(&query).as_deref().unwrap_or(&query))?;
            let picture = planner.open(&session).await?;
            let state = planner.state(&picture, &session);
            let plan = plan(&state, &ast).await?;
            let schema = Arc::new(Schema::clone(plan.schema().as_arrow()));
            let mut parameters = parameters(&ast, &plan)?;
            // What is answered without planning has its parameters all the same.
            let count = parameters.len().max(written(&query));
            parameters.resize(count, Parameter { kind: None, wire: Type::TEXT });
            Ok(Prepared { ast, statement, schema, parameters })
        });
        tokio::select! {
            biased;
            fault = stop.asked() => Err(fault),
            prepared = work => prepared,
            () = tokio::time::sleep_until(deadline) => {
                stop.time_out();
                Err(stop.asked().await)
            }
        }
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
        let deadline = Instant::now() + session.timeout;
        let turn = self.queue.turn_unless(stop, deadline).await.inspect_err(|fault| {
            self.metrics.failed(session.protocol, fault);
            listed.failed(fault);
        })?;
        let measured = self.metrics.begin(session.protocol, listed);
        let (queue, idle_timeout) = (Arc::clone(&self.queue), self.limits.idle_timeout);
        let handover = Handover::new(queue, (turn, measured), Arc::clone(stop), idle_timeout);
        let handover = Arc::new(handover);
        let mut tasks = JoinSet::new();
        let (prepared, caller) = (Arc::clone(prepared), session.clone());
        let asked = Asked { prepared, values, session: caller, stop: Arc::clone(stop) };
        let (planner, end) = (self.planner(), handover.end());
        self.start(&mut tasks, async move {
            let last = match planner.run(asked, &end).await {
                Ok(Some(done)) => done,
                // Nobody listens.
                Ok(None) => return,
                Err(fault) => Message::Failed(planner.limits.named(fault)),
            };
            end.give_last(last).await;
        })?;
        let mut rows = Rows::new(handover, tasks, (session.timeout, deadline));
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

    /// Works a query out; what it says last when it comes to its end.
    async fn run(&self, asked: Asked, handover: &Handover) -> Result<Option<Message>, Fault> {
        let Asked { prepared, values, session, stop } = asked;
        let statement = self.open(&session).await?;
        let state = self.state(&statement, &session);
        let plan = plan(&state, &prepared.ast).await?;
        let plan = plan.replace_params_with_values(&values)?;
        let physical = physical(&state, &plan).await?;
        let physical = watch(physical, &stop, &self.limits)?;
        let context = state.task_ctx();
        let mut counter = Counter::new(&self.limits, Arc::clone(context.memory_pool()));
        let mut stream = execute_stream(physical, context)?;
        if !handover.give(Message::Started(stream.schema())).await {
            return Ok(None);
        }
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 && !handover.give(Message::Rows(counter.part(batch)?)).await {
                return Ok(None);
            }
        }
        Ok(Some(Message::Done { positions: statement.positions(), gaps: statement.gaps() }))
    }
}

async fn plan(state: &SessionState, ast: &Ast) -> Result<LogicalPlan, Fault> {
    let plan = state.statement_to_plan(Parsed::Statement(Box::new(ast.clone()))).await;
    let plan = plan.map_err(|error| meant(state, Fault::from(error)))?;
    let allowed =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    allowed
        .verify_plan(&plan)
        .map_err(|error| Fault::new(State::ReadOnly, Fault::from(error).message))?;
    Ok(plan)
}

/// Names the relation that somebody probably meant by one that is not there, if they may read it.
fn meant(state: &SessionState, fault: Fault) -> Fault {
    // As in: table 'cardlens.public.custmers' not found
    let path = fault.message.split('\'').nth(1).filter(|_| fault.state == State::NoTable);
    let asked = path.and_then(|path| path.rsplit('.').next());
    let (Some(asked), Some(catalog)) = (asked, state.catalog_list().catalog(DATABASE)) else {
        return fault;
    };
    let names =
        ["public", "ops"].map(|name| catalog.schema(name).map(|schema| schema.table_names()));
    let [public, ops] = names.map(Option::unwrap_or_default);
    let all = public.iter().chain(&ops).map(String::as_str);
    let Some(found) = nearest(asked, all) else { return fault };
    let schema = if public.iter().any(|name| name == found) { "" } else { "ops." };
    let hint = format!("did you mean {schema}{found}?");
    fault.hint(hint)
}

async fn physical(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>, Fault> {
    Ok(state.create_physical_plan(plan).await?)
}
