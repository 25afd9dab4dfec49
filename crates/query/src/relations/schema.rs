//! Schemas: tables by name, made when they are asked for.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{MemTable, ViewTable};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;

use super::catalog::Picture;
use super::notes::NotesTable;
use super::ops;
use super::provider::table_of;
use super::tables::VIEWS;

/// `public` or `ops` of one statement.
pub(super) struct RelationSchema {
    name: &'static str,
    picture: Arc<Picture>,
    /// What views are planned with; without it there are no views.
    template: Option<SessionState>,
}

impl std::fmt::Debug for RelationSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelationSchema").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RelationSchema {
    pub(super) fn new(
        name: &'static str,
        picture: &Arc<Picture>,
        template: Option<SessionState>,
    ) -> Self {
        Self { name, picture: Arc::clone(picture), template }
    }

    async fn view(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(template) = &self.template else { return Ok(None) };
        let Some(view) = VIEWS.iter().find(|view| view.name == name) else { return Ok(None) };
        let context = self.picture.context(template.clone(), false);
        let plan = context.state().create_logical_plan(view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.to_owned())))))
    }
}

#[async_trait]
impl SchemaProvider for RelationSchema {
    fn table_names(&self) -> Vec<String> {
        if self.name == "ops" {
            return ops::TABLES.iter().map(|table| table.name.to_owned()).collect();
        }
        let known = &self.picture.known;
        let relations = known.relations.iter().map(|relation| relation.name);
        let definitions = known.definitions.iter().map(|definition| definition.name);
        let views = VIEWS.iter().map(|view| view.name).filter(|_| self.template.is_some());
        relations.chain(definitions).chain(views).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if self.name == "ops" {
            if let Some(table) = NotesTable::new(name, &self.picture) {
                return Ok(Some(Arc::new(table)));
            }
            let Some(batch) = ops::table(name, &self.picture)? else { return Ok(None) };
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
            return Ok(Some(Arc::new(table)));
        }
        let known = &self.picture.known;
        if let Some(relation) = known.relations.iter().find(|relation| relation.name == name) {
            return Ok(Some(table_of(relation, &self.picture)));
        }
        if let Some(found) = known.definitions.iter().find(|definition| definition.name == name) {
            let rows = vec![vec![found.rows.clone()]];
            return Ok(Some(Arc::new(MemTable::try_new(found.rows.schema(), rows)?)));
        }
        self.view(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
