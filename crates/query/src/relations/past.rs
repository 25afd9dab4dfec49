//! What was: changes of segment and customers of past days, from the files of the history.
//!
//! Changes are those of the files before a pin's cut and those that the engine has beyond it, so each
//! is there once. A day's profiles are there when every partition has written the last of them.
//! Nothing but the folder of the history can be reached, and no statement names a file.

use std::sync::Arc;

use async_trait::async_trait;
use cardlens_engine::history::{File, Files, Kind, Place, day_of, folder_of};
use cardlens_model::Day;
use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::object_store::path::Path;
use datafusion::object_store::{ObjectMeta, ObjectStore as _};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col as column, lit as literal};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::scalar::ScalarValue;
use futures::future::ready;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::catalog::{Picture, Taken};
use super::predicate::predicate;
use super::tables::Relation;
use crate::Error;
use crate::scan::{Literal, Op, Stored};

/// What stands for the history's folder inside a plan; no statement can name it.
const URL: &str = "history://files";
/// The column of the day, which is a folder's name and in no file.
const DAY: &str = "day";
const ID: &str = "customer_id";

/// Files found, with their names read.
type Found = Vec<(File, ObjectMeta)>;
type Batches = BoxStream<'static, Result<RecordBatch>>;

/// What a table of the past is made of.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// All changes of segment.
    Changes(Arc<Relation>),
    /// Customers at the close of a day.
    Profiles(Day),
}

/// A table over files, seen by one statement.
#[derive(Debug, Clone)]
pub(super) struct PastTable {
    pub(super) picture: Arc<Picture>,
    pub(super) files: Files,
    pub(super) source: Source,
    /// Its columns, the day last.
    pub(super) schema: SchemaRef,
}

#[async_trait]
impl TableProvider for PastTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.schema.project(&columns)?);
        let names = DFSchema::try_from(Arc::clone(&self.schema))?;
        let passing = conjunction(filters.iter().cloned());
        let passing = passing.map(|it| state.create_physical_expr(it, &names)).transpose()?;
        let rows = Rows {
            table: self.clone(),
            columns,
            passing,
            days: self.days(filters),
            found: Arc::default(),
            partition: 0,
            schema: Arc::clone(&schema),
        };
        let partitions = (0..self.picture.partitions().max(1)).map(|partition| {
            let rows: Arc<dyn PartitionStream> = Arc::new(Rows { partition, ..rows.clone() });
            rows
        });
        let partitions = partitions.collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

impl PastTable {
    /// The row of a customer on a day of profiles, of whichever partition has it.
    pub(super) async fn row_of(
        &self,
        customer: &str,
        context: &Arc<TaskContext>,
    ) -> Result<Option<RecordBatch>> {
        let (id, schema) = (column(ID, &self.schema)?, &self.schema);
        let rows = Rows {
            table: self.clone(),
            columns: (0..schema.fields().len()).collect(),
            passing: Some(binary(id, Operator::Eq, literal(customer), schema)?),
            days: self.days(&[]),
            found: Arc::default(),
            partition: 0,
            schema: Arc::clone(schema),
        };
        for partition in 0..self.picture.partitions() {
            let mut batches = Rows { partition, ..rows.clone() }.open(Arc::clone(context)).await?;
            while let Some(batch) = batches.try_next().await? {
                let ids = batch.column_by_name(ID).and_then(|ids| ids.as_string_opt::<i32>());
                let place = ids.and_then(|ids| ids.iter().position(|id| id == Some(customer)));
                if let Some(place) = place {
                    return Ok(Some(batch.slice(place, 1)));
                }
            }
        }
        Ok(None)
    }

    /// The days that filters leave: others are not looked at.
    fn days(&self, filters: &[Expr]) -> (i32, i32) {
        let (mut first, mut last) = match &self.source {
            Source::Profiles(day) => (day.0, day.0),
            Source::Changes(_) => (i32::MIN, i32::MAX),
        };
        let Source::Changes(relation) = &self.source else { return (first, last) };
        let meaning = &self.picture.known.meaning;
        for predicate in filters.iter().filter_map(|it| predicate(it, relation, meaning)) {
            let Literal::Int(day) = predicate.literal else { continue };
            let day = i32::try_from(day).ok().filter(|_| predicate.column == DAY);
            match (predicate.op, day) {
                (Op::Eq, Some(day)) => (first, last) = (first.max(day), last.min(day)),
                (Op::Ge, Some(day)) => first = first.max(day),
                (Op::Gt, Some(day)) => first = first.max(day.saturating_add(1)),
                (Op::Le, Some(day)) => last = last.min(day),
                (Op::Lt, Some(day)) => last = last.min(day.saturating_sub(1)),
                _ => {}
            }
        }
        (first, last)
    }
}

/// Rows of one partition.
#[derive(Debug, Clone)]
struct Rows {
    table: PastTable,
    columns: Vec<usize>,
    /// What rows may be left out by; rows that fail it may come all the same.
    passing: Option<Arc<dyn PhysicalExpr>>,
    /// First and last.
    days: (i32, i32),
    /// Files of all partitions, found once.
    found: Arc<OnceCell<Found>>,
    partition: u32,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, schema) = (self.clone(), Arc::clone(&self.schema));
        let batches = stream::once(rows.open(context)).try_flatten();
        // What is read may be null where the relation promises that it is not.
        let typed = batches.and_then(move |batch: RecordBatch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let arrays = batch.columns().to_vec();
            let typed = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options);
            ready(typed.map_err(Into::into))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), typed))
    }
}

impl Rows {
    async fn open(self, context: Arc<TaskContext>) -> Result<Batches> {
        match self.table.source {
            Source::Changes(_) => self.changes(&context).await,
            Source::Profiles(day) => self.profiles(day, &context).await,
        }
    }

    async fn changes(&self, context: &Arc<TaskContext>) -> Result<Batches> {
        let picture = &self.table.picture;
        // A gap that the statement was told of.
        let Some(taken) = picture.pins().await?.get(&self.partition) else {
            return Ok(stream::empty().boxed());
        };
        let Some((day, part)) = taken.pin.history else {
            let what = "the engine keeps no history: set [history] enabled there, or not here";
            return Err(Error::Refused(what.to_owned()).into());
        };
        let cut = Place { day: Day(day), part };
        let found = self.found.get_or_try_init(|| self.find(Kind::Changes)).await?;
        let own =
            found.iter().filter(|(file, _)| file.partition.0 == self.partition && file.place < cut);
        let older = self.read(own.map(|(file, meta)| (*file, meta.clone())), context)?;
        Ok(older.chain(self.unwritten(taken).await?).boxed())
    }

    /// Changes that no file has.
    async fn unwritten(&self, taken: &Taken) -> Result<Batches> {
        let columns = self.schema.fields().iter().map(|field| field.name().clone());
        let scan = taken.scan(Stored::Unwritten, columns.collect(), Vec::new());
        let rows = self.table.picture.backend.scan(taken.engine, scan).await?;
        Ok(rows.map_err(Into::into).boxed())
    }

    async fn profiles(&self, day: Day, context: &Arc<TaskContext>) -> Result<Batches> {
        let picture = &self.table.picture;
        let state = picture.board.partitions.iter().find(|(_, it)| it.partition == self.partition);
        if state.is_some_and(|(_, state)| state.state == "running" && state.customers == 0) {
            return Ok(stream::empty().boxed());
        }
        let found = self.found.get_or_try_init(|| self.find(Kind::Profiles)).await?;
        let own = found.iter().filter(|(file, _)| file.partition.0 == self.partition);
        let mut own: Vec<_> = own.map(|(file, meta)| (*file, meta.clone())).collect();
        own.sort_by_key(|(file, _)| file.place);
        let whole = (0..).zip(&own).all(|(part, (file, _))| file.place.part == part)
            && own.last().is_some_and(|(file, _)| file.last);
        let before = state.and_then(|(_, state)| state.profiled_before);
        if !whole || before.is_none_or(|before| day.0 >= before) {
            let missing = self.missing(day, before).await?;
            picture.without(self.partition, missing)?;
            return Ok(stream::empty().boxed());
        }
        self.read(own.into_iter(), context)
    }

    /// Why there are no profiles of a day, and of which there are.
    async fn missing(&self, day: Day, before: Option<i32>) -> Result<Error> {
        let folder = Path::from(Kind::Profiles.folder());
        let listed = self.table.files.0.list_with_delimiter(Some(&folder)).await;
        let folders = listed.map_err(unread)?.common_prefixes;
        let days = folders.iter().filter_map(|path| day_of(path.filename()?));
        let known = |other: &Day| *other != day && before.is_some_and(|before| other.0 < before);
        let mut days: Vec<Day> = days.filter(known).collect();
        days.sort_unstable();
        let after = days.partition_point(|other| *other < day);
        let near: Vec<String> = [after.checked_sub(1), Some(after)]
            .into_iter()
            .filter_map(|at| days.get(at?).map(ToString::to_string))
            .collect();
        let partition = self.partition;
        let near = match near.as_slice() {
            [] => "there are none of any other day".to_owned(),
            near => format!("the nearest: {}", near.join(", ")),
        };
        Ok(Error::Refused(format!("partition {partition} has no profiles of {day}; {near}")))
    }

    /// Files of the days wanted.
    async fn find(&self, kind: Kind) -> Result<Found> {
        let (first, last) = self.days;
        let folder = Path::from(kind.folder());
        let store = &self.table.files.0;
        let mut listed = match (&self.table.source, Day(first).civil().0) {
            (Source::Profiles(day), _) => store.list(Some(&folder.clone().join(folder_of(*day)))),
            (Source::Changes(_), 1..=9_999) => {
                let from = folder.clone().join(folder_of(Day(first)));
                store.list_with_offset(Some(&folder), &from)
            }
            (Source::Changes(_), _) => store.list(Some(&folder)),
        };
        let mut found = Vec::new();
        while let Some(meta) = listed.next().await.transpose().map_err(unread)? {
            let mut parts = meta.location.parts().skip(1);
            let names = parts.next().zip(parts.next());
            let file = names.and_then(|(day, name)| File::parse(day.as_ref(), name.as_ref()));
            let wanted = |file: &File| (first..=last).contains(&file.place.day.0);
            found.extend(file.filter(wanted).map(|file| (file, meta)));
        }
        Ok(found)
    }

    /// Rows of files, in their order.
    fn read(
        &self,
        files: impl Iterator<Item = (File, ObjectMeta)>,
        context: &Arc<TaskContext>,
    ) -> Result<Batches> {
        let with_day = |(file, meta): (File, ObjectMeta)| {
            let day = ScalarValue::Date32(Some(file.place.day.0));
            PartitionedFile::new_from_meta(meta).with_partition_values(vec![day])
        };
        let files: Vec<PartitionedFile> = files.map(with_day).collect();
        if files.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let url = ObjectStoreUrl::parse(URL)?;
        let store = Arc::clone(&self.table.files.0);
        context.runtime_env().register_object_store(url.as_ref(), store);
        let fields = self
            .table
            .schema
            .fields()
            .iter()
            .map(|field| Arc::new(Field::clone(field).with_nullable(true)));
        let (day, rest): (Vec<_>, Vec<_>) = fields.partition(|field| field.name() == DAY);
        let columns = TableSchema::builder(Arc::new(Schema::new(rest)));
        let mut source = ParquetSource::new(columns.with_table_partition_cols(day).build());
        if let Some(passing) = &self.passing {
            source = source.with_predicate(Arc::clone(passing));
        }
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_group(FileGroup::new(files))
            .with_projection_indices(Some(self.columns.clone()))?
            .build();
        let rows = DataSourceExec::from_data_source(config).execute(0, Arc::clone(context))?;
        Ok(rows.boxed())
    }
}

fn unread(error: datafusion::object_store::Error) -> Error {
    Error::History(error.to_string())
}
