//! `pg_stat_activity`: a view of `ops.queries` for clients that know no other.
//!
//! PostgreSQL's has a row a connection; this one has a row a statement that has not ended, and none
//! for connections that do nothing.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};

use crate::front::DATABASE;

/// The name of the view.
pub(crate) const ACTIVITY: &str = "pg_stat_activity";

/// The catalogue with the view beside its tables.
#[derive(Debug)]
pub(super) struct WithActivity {
    pub(super) catalogue: Arc<dyn SchemaProvider>,
    /// Where `queries` is.
    pub(super) ops: Arc<dyn SchemaProvider>,
}

#[async_trait]
impl SchemaProvider for WithActivity {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.catalogue.table_names();
        names.push(ACTIVITY.to_owned());
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != ACTIVITY {
            return self.catalogue.table(name).await;
        }
        self.ops.table("queries").await?.map(view).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        name == ACTIVITY || self.catalogue.table_exist(name)
    }
}

fn view(queries: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let of = |name: &str| Expr::Column(Column::new_unqualified(name));
    let none = |kind: &DataType| Ok(Expr::Literal(ScalarValue::try_from(kind)?, None));
    let text = || none(&DataType::Utf8);
    let number = || none(&DataType::Int32);
    let time = queries.schema().field_with_name("started_at")?.data_type().clone();
    let columns: Vec<(&str, Result<Expr>)> = vec![
        ("datid", number()),
        ("datname", Ok(lit(DATABASE))),
        ("pid", Ok(of("pid"))),
        ("leader_pid", number()),
        ("usesysid", number()),
        ("usename", Ok(of("role"))),
        ("application_name", Ok(of("application"))),
        ("client_addr", Ok(of("client"))),
        ("client_hostname", text()),
        ("client_port", number()),
        ("backend_start", none(&time)),
        ("xact_start", Ok(of("started_at"))),
        ("query_start", Ok(of("started_at"))),
        ("state_change", Ok(of("started_at"))),
        ("wait_event_type", text()),
        ("wait_event", text()),
        ("state", Ok(lit("active"))),
        ("backend_xid", number()),
        ("backend_xmin", number()),
        ("query_id", none(&DataType::Int64)),
        ("query", Ok(of("statement"))),
        ("backend_type", Ok(lit("client backend"))),
    ];
    let shown = columns.into_iter().map(|(name, value)| Ok(value?.alias(name)));
    let runs = of("state").in_list(vec![lit("waiting"), lit("running"), lit("paused")], false);
    let plan = LogicalPlanBuilder::scan("queries", provider_as_source(queries), None)?
        .filter(runs)?
        .project(shown.collect::<Result<Vec<_>>>()?)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
