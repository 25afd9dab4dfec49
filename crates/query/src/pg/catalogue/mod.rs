//! `pg_catalog`: what clients of PostgreSQL ask before they ask anything else.
//!
//! Relations do not change while a gateway runs, so the tables of the catalogue are worked out once
//! over the shape of the relations (schemas without rows) and hold no position of any partition.
//! Most of them come from `datafusion-pg-catalog`; ours are laid over it where it is wrong for us
//! or knows nothing, among them the comments of tables and columns.

mod activity;
mod functions;
mod information;
mod names;
mod procs;
mod tables;

pub(crate) use activity::ACTIVITY;
use activity::WithActivity;
use information::Information;
pub(crate) use tables::type_modifier;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider,
    MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider, Session, TableFunction,
    TableProvider,
};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, ScalarUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::{
    PgCatalogContextProvider, Role as PgRole,
};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;

use crate::front::{Caller, DATABASE, Fault, Operators, Role, Roles, Veiled, refused};
use crate::relations::{FUNCTIONS, Statement};

/// Schemas that a statement has besides the catalogue.
const SCHEMAS: [&str; 2] = ["public", "ops"];

/// The catalogue of one deployment's relations.
#[derive(Debug, Clone)]
pub struct Catalogue {
    schema: Arc<dyn SchemaProvider>,
    scalars: Arc<Vec<Arc<ScalarUDF>>>,
    tables: Arc<Vec<Arc<TableFunction>>>,
}

impl Catalogue {
    /// Works it out over the relations of a statement, of which nothing is kept.
    ///
    /// # Errors
    /// A relation cannot be told.
    pub async fn new(statement: &Statement, roles: &Roles) -> Result<Self, Fault> {
        let shape = shape(statement).await?;
        let config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(DATABASE, "public");
        let context = SessionContext::new_with_config(config);
        context.register_catalog(DATABASE, shape);
        let names = roles.names().map(str::to_owned).collect();
        setup_pg_catalog(&context, DATABASE, RoleNames(Arc::new(names)))
            .map_err(|e| Fault::from(*e))?;
        let (own, comments, names) = tables::own(&context, &statement.comments()).await?;
        let inner = context.catalog(DATABASE).and_then(|catalog| catalog.schema("pg_catalog"));
        let inner = inner
            .ok_or_else(|| Fault::new(crate::front::State::Internal, "the catalogue is missing"))?;
        let defaults: BTreeSet<String> = default_names();
        let state = context.state();
        let mut scalars: Vec<Arc<ScalarUDF>> = state
            .scalar_functions()
            .iter()
            .filter(|(name, function)| name == &function.name() && !defaults.contains(*name))
            .map(|(_, function)| Arc::clone(function))
            .collect();
        scalars.extend(functions::fixed());
        scalars.extend(functions::of_functions());
        scalars.extend(names.functions());
        scalars.extend(functions::comments(&Arc::new(comments)));
        let tables = state.table_functions().values().map(Arc::clone).collect();
        let schema = Arc::new(Overlay { inner, own });
        Ok(Self { schema, scalars: Arc::new(scalars), tables: Arc::new(tables) })
    }

    /// Functions that are allowed besides the list: those of the catalogue, and those that the
    /// relations bring.
    #[must_use]
    pub fn allowed(&self, statement: &Statement) -> BTreeSet<String> {
        let defaults = default_names();
        let state = statement.context().state();
        let brought = state.scalar_functions().values().map(|function| function.name().to_owned());
        let brought = brought.filter(|name| !defaults.contains(name));
        let ours = self.scalars.iter().map(|function| function.name().to_owned());
        let caller = functions::CALLER.iter().map(|name| (*name).to_owned());
        brought.chain(ours).chain(caller).collect()
    }

    /// The state of a statement with the catalogue beside its relations.
    #[must_use]
    pub fn over(&self, statement: &Statement, caller: &Caller) -> SessionStateBuilder {
        let state = statement.context().state();
        let list = Arc::new(MemoryCatalogProviderList::new());
        if let Some(inner) = state.catalog_list().catalog(DATABASE) {
            let (schema, role) = (Arc::clone(&self.schema), Arc::clone(&caller.role));
            list.register_catalog(DATABASE.to_owned(), Arc::new(Layered { inner, schema, role }));
        }
        let mut builder = SessionStateBuilder::new_from_existing(state)
            .with_catalog_list(list)
            .with_type_planner(Arc::new(PgOidTypePlanner));
        if let Some(config) = builder.config() {
            // DataFusion's would stand before ours.
            config.options_mut().catalog.information_schema = false;
        }
        builder.expr_planners().get_or_insert_default().insert(0, Arc::new(Operators));
        let ours = self.scalars.iter().map(Arc::clone).chain(functions::of_caller(caller));
        builder.scalar_functions().get_or_insert_default().extend(ours);
        let tables = builder.table_functions().get_or_insert_default();
        if !caller.role.sees_all() {
            for name in FUNCTIONS.iter().filter(|it| it.table).map(|it| it.name) {
                if let Some(table) = tables.get_mut(name) {
                    *table = Arc::new(refused(table));
                }
            }
        }
        for table in self.tables.iter() {
            tables.insert(table.name().to_owned(), Arc::clone(table));
        }
        builder
    }
}

fn default_names() -> BTreeSet<String> {
    SessionStateDefaults::default_scalar_functions()
        .iter()
        .flat_map(|function| {
            let aliases = function.aliases().iter().cloned();
            std::iter::once(function.name().to_owned()).chain(aliases)
        })
        .collect()
}

/// The relations without rows.
async fn shape(statement: &Statement) -> Result<Arc<dyn CatalogProvider>, Fault> {
    let shape = MemoryCatalogProvider::new();
    let catalog = statement.context().catalog(DATABASE);
    for name in SCHEMAS {
        let empty = MemorySchemaProvider::new();
        if let Some(schema) = catalog.as_ref().and_then(|catalog| catalog.schema(name)) {
            for table in schema.table_names() {
                if let Some(found) = schema.table(&table).await? {
                    let kind = found.table_type();
                    let columns = found.schema();
                    empty.register_table(table, Arc::new(Shape { columns, kind }))?;
                }
            }
        }
        shape.register_schema(name, Arc::new(empty))?;
    }
    Ok(Arc::new(shape))
}

/// A relation of which only the columns are known.
#[derive(Debug)]
struct Shape {
    columns: SchemaRef,
    kind: TableType,
}

#[async_trait]
impl TableProvider for Shape {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let empty = MemTable::try_new(Arc::clone(&self.columns), vec![Vec::new()])?;
        empty.scan(state, projection, filters, limit).await
    }
}

/// The catalogue beside the schemas of one statement.
#[derive(Debug, Clone)]
struct Layered {
    inner: Arc<dyn CatalogProvider>,
    schema: Arc<dyn SchemaProvider>,
    /// Who asks.
    role: Arc<Role>,
}

impl CatalogProvider for Layered {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.inner.schema_names();
        names.push("pg_catalog".to_owned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == "pg_catalog" {
            let (catalogue, ops) = (Arc::clone(&self.schema), self.inner.schema("ops")?);
            return Some(Arc::new(WithActivity { catalogue, ops }));
        }
        if name == information::NAME {
            return Some(Arc::new(Information::new(Arc::new(self.clone()))));
        }
        let inner = self.inner.schema(name)?;
        let role = Arc::clone(&self.role);
        if role.mask.is_empty() && role.relations.is_none() {
            return Some(inner);
        }
        Some(Arc::new(Veiled { name: name.to_owned(), inner, role }))
    }
}

/// Tables of our own over those of another schema.
#[derive(Debug)]
struct Overlay {
    inner: Arc<dyn SchemaProvider>,
    own: tables::Tables,
}

#[async_trait]
impl SchemaProvider for Overlay {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.inner.table_names();
        names.extend(self.own.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.own.get(name) {
            Some(table) => Ok(Some(Arc::clone(table))),
            None => self.inner.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own.contains_key(name) || self.inner.table_exist(name)
    }
}

/// Names of roles, for `\du`.
#[derive(Debug, Clone)]
struct RoleNames(Arc<Vec<String>>);

#[async_trait]
impl PgCatalogContextProvider for RoleNames {
    async fn roles(&self) -> Vec<String> {
        self.0.to_vec()
    }

    async fn role(&self, name: &str) -> Option<PgRole> {
        self.0.iter().any(|known| known == name).then(|| PgRole {
            name: name.to_owned(),
            is_superuser: false,
            can_login: true,
            can_create_db: false,
            can_create_role: false,
            can_create_user: false,
            can_replication: false,
            grants: Vec::new(),
            inherited_roles: Vec::new(),
        })
    }
}
