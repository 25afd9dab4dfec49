//! The relations as a role sees them: those that it may read, with masked columns that read as null,
//! whatever is asked of them. A view is worked out over what it stands for, whoever may read that.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::prelude::col;

use super::{Fault, Role, State};

impl Role {
    /// Whether it sees everything.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.mask.is_empty() && self.min_group.is_none() && self.relations.is_none()
    }
}

/// A schema as a role sees it.
#[derive(Debug)]
pub(crate) struct Veiled {
    /// Its name.
    pub(crate) name: String,
    pub(crate) inner: Arc<dyn SchemaProvider>,
    pub(crate) role: Arc<Role>,
}

#[async_trait]
impl SchemaProvider for Veiled {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.inner.table_names();
        names.retain(|name| self.role.reads(&self.name, name));
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if self.inner.table_exist(name) && !self.role.reads(&self.name, name) {
            let message = format!("permission denied for table {name}");
            return Err(Fault::new(State::NotAllowed, message).into());
        }
        let found = self.inner.table(name).await?;
        found.map(|table| veiled(name, table, &self.role)).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}

fn veiled(
    name: &str,
    table: Arc<dyn TableProvider>,
    role: &Role,
) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    if !schema.fields().iter().any(|field| role.hides(field.name())) {
        return Ok(table);
    }
    let mut shown = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        shown.push(if role.hides(field.name()) {
            let nothing = ScalarValue::try_from(field.data_type())?;
            Expr::Literal(nothing, None).alias(field.name())
        } else {
            col(datafusion::common::Column::new_unqualified(field.name()))
        });
    }
    let plan =
        LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.project(shown)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A function that reads relations by itself, and so is not for a role that does not see all.
pub(crate) fn refused(function: &TableFunction) -> TableFunction {
    let name = function.name().to_owned();
    TableFunction::new(name.clone(), Arc::new(Refused { name }))
}

#[derive(Debug)]
struct Refused {
    name: String,
}

impl TableFunctionImpl for Refused {
    fn call_with_args(&self, _: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let name = &self.name;
        let message = format!("{name}() reads relations by itself, and this role does not see all");
        Err(Fault::new(State::NotAllowed, message).into())
    }
}
