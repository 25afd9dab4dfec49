//! A relation over scans as a table of DataFusion.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::catalog::Picture;
use super::explode;
use super::past::{PastTable, Source};
use super::predicate::predicate;
use super::tables::Relation;
use crate::scan::{Pin, Predicate, Scan, Stored};

/// A relation, seen by one statement.
#[derive(Debug)]
pub(super) struct ScanTable {
    relation: Arc<Relation>,
    picture: Arc<Picture>,
}

impl ScanTable {
    fn new(relation: &Arc<Relation>, picture: &Arc<Picture>) -> Self {
        Self { relation: Arc::clone(relation), picture: Arc::clone(picture) }
    }
}

/// A relation as one statement sees it: changes with those that lie in files, where they are read.
pub(super) fn table_of(relation: &Arc<Relation>, picture: &Arc<Picture>) -> Arc<dyn TableProvider> {
    let files = picture.history.clone().filter(|_| relation.stored == Stored::Changes);
    let Some(files) = files else { return Arc::new(ScanTable::new(relation, picture)) };
    let (picture, schema) = (Arc::clone(picture), Arc::clone(&relation.schema));
    let source = Source::Changes(Arc::clone(relation));
    Arc::new(PastTable { picture, files, source, schema })
}

#[async_trait]
impl TableProvider for ScanTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let meaning = &self.picture.known.meaning;
        let each = filters.iter().map(|filter| match predicate(filter, &self.relation, meaning) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        });
        Ok(each.collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.relation.stored == Stored::Categories {
            self.picture.want_categories();
        }
        let all = || (0..self.relation.columns.len()).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.relation.schema.project(&columns)?);
        let meaning = &self.picture.known.meaning;
        let predicates = filters.iter().filter_map(|it| predicate(it, &self.relation, meaning));
        let rows = Rows {
            picture: Arc::clone(&self.picture),
            relation: Arc::clone(&self.relation),
            columns,
            predicates: predicates.collect(),
            limit,
            partition: 0,
            schema: Arc::clone(&schema),
        };
        // A plan without a partition is none; an empty deployment has an empty one.
        let partitions = (0..self.picture.partitions().max(1)).map(|partition| {
            let rows: Arc<dyn PartitionStream> = Arc::new(Rows { partition, ..rows.clone() });
            rows
        });
        let partitions = partitions.collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

/// Rows of one partition.
#[derive(Debug, Clone)]
struct Rows {
    picture: Arc<Picture>,
    relation: Arc<Relation>,
    columns: Vec<usize>,
    predicates: Vec<Predicate>,
    limit: Option<usize>,
    partition: u32,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.clone();
        let batches = stream::once(rows.open()).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

impl Rows {
    async fn open(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let pins = self.picture.pins().await?;
        // A gap that the statement was told of.
        let Some(taken) = pins.get(&self.partition).cloned() else {
            return Ok(stream::empty().boxed());
        };
        let scan = taken.scan(self.relation.stored, self.reads()?, self.predicates.clone());
        let limit = self.limit.filter(|_| !self.relation.by_need).map(|limit| limit as u64);
        let scan = Scan { limit, ..scan };
        let rows = self.picture.rows(&taken, scan).await?;
        let converted = rows.map(move |batch| self.convert(&batch?, &taken.pin));
        Ok(converted.boxed())
    }

    /// The stored columns that the wanted ones are made from.
    fn reads(&self) -> Result<Vec<String>> {
        let known = &self.picture.known;
        let mut reads: Vec<String> = Vec::new();
        let mut want = |column: String| {
            if !reads.contains(&column) {
                reads.push(column);
            }
        };
        if self.relation.by_need {
            want("needs".to_owned());
        }
        for column in &self.columns {
            for stored in self.relation.columns[*column].shape.reads(known)? {
                if self.relation.by_need {
                    explode::reads(&stored, &known.meaning).into_iter().for_each(&mut want);
                } else {
                    want(stored);
                }
            }
        }
        Ok(reads)
    }

    fn convert(&self, batch: &RecordBatch, pin: &Pin) -> Result<RecordBatch> {
        let known = &self.picture.known;
        let exploded = self.relation.by_need.then(|| explode::explode(batch, &known.meaning));
        let exploded = exploded.transpose()?;
        let batch = exploded.as_ref().unwrap_or(batch);
        let mut arrays = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            arrays.push(self.relation.columns[*column].shape.array(batch, known, pin)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}
