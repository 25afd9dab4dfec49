//! Tables of the catalogue that are our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int16Array, Int32Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Int16Type, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::prelude::SessionContext;

use super::functions::{Comments, numbers};
use super::names::Names;
use super::procs;
use crate::front::{DATABASE, Fault, State};
use crate::relations::TableComment;

/// Tables by name.
pub(super) type Tables = BTreeMap<String, Arc<dyn TableProvider>>;

/// `pg_class` of relations.
pub(super) const RELATIONS: i32 = 1_259;

/// Our tables, the comments by number, and the numbers by name.
pub(super) async fn own(
    context: &SessionContext,
    comments: &[TableComment],
) -> Result<(Tables, Comments, Names), Fault> {
    // The first look at a table gives every relation its number for good.
    let namespaces = whole(context, "pg_namespace").await?;
    let relations = whole(context, "pg_class").await?;
    let columns = whole(context, "pg_attribute").await?;
    let by_number = by_number(&namespaces, &relations, &columns, comments)?;
    let descriptions = described(&by_number, context).await?;
    let types = whole(context, "pg_type").await?;
    let functions = procs::rows(&whole(context, "pg_proc").await?, &types, public(&namespaces)?)?;
    let columns = with_precision(context, &relations, columns).await?;
    let relations = with_options(&relations)?;
    let names = names(&namespaces, &relations, &types)?;
    let mut tables = Tables::new();
    for (name, batch) in [
        ("pg_namespace", namespaces),
        ("pg_class", relations),
        ("pg_attribute", columns),
        ("pg_description", descriptions),
        ("pg_proc", functions),
    ] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        tables.insert(name.to_owned(), Arc::new(table));
    }
    Ok((tables, by_number, names))
}

fn names(
    namespaces: &RecordBatch,
    relations: &RecordBatch,
    types: &RecordBatch,
) -> Result<Names, Fault> {
    let of = |batch: &RecordBatch, name: &str| -> Result<BTreeMap<String, i32>, Fault> {
        Ok(texts(batch, name)?.into_iter().zip(numbers(column(batch, "oid")?)).collect())
    };
    let schemas = of(namespaces, "nspname")?;
    let within = numbers(column(relations, "relnamespace")?);
    let oids = numbers(column(relations, "oid")?);
    let mut found = Vec::new();
    for ((name, schema), oid) in texts(relations, "relname")?.into_iter().zip(within).zip(oids) {
        if let Some((schema, _)) = schemas.iter().find(|(_, number)| **number == schema) {
            found.push((schema.clone(), name, oid));
        }
    }
    Ok(Names { relations: found, schemas, types: of(types, "typname")? })
}

/// The number of the schema `public`.
fn public(namespaces: &RecordBatch) -> Result<i32, Fault> {
    let names = texts(namespaces, "nspname")?;
    let oids = numbers(column(namespaces, "oid")?);
    let found = names.iter().zip(oids).find(|(name, _)| *name == "public");
    found
        .map(|(_, oid)| oid)
        .ok_or_else(|| Fault::new(State::Internal, "there is no schema public"))
}

async fn whole(context: &SessionContext, table: &str) -> Result<RecordBatch, Fault> {
    let frame = context.table(format!("{DATABASE}.pg_catalog.{table}")).await?;
    let schema = Arc::clone(frame.schema().inner());
    let batches = frame.collect().await?;
    // The batches know the metadata of their columns, and the frame may not.
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    concat_batches(&schema, &batches).map_err(|e| Fault::new(State::Internal, e.to_string()))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Fault> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Fault::new(State::Internal, format!("the catalogue has no column `{name}`")))
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<String>, Fault> {
    let array = column(batch, name)?.as_string_opt::<i32>();
    let texts = array.map(|array| array.iter().map(|t| t.unwrap_or_default().to_owned()));
    Ok(texts.map_or_else(Vec::new, Iterator::collect))
}

/// Comments by the numbers of what they are about.
fn by_number(
    namespaces: &RecordBatch,
    relations: &RecordBatch,
    columns: &RecordBatch,
    comments: &[TableComment],
) -> Result<Comments, Fault> {
    let schemas: BTreeMap<i32, String> = numbers(column(namespaces, "oid")?)
        .into_iter()
        .zip(texts(namespaces, "nspname")?)
        .collect();
    let oids = numbers(column(relations, "oid")?);
    let within = numbers(column(relations, "relnamespace")?);
    let names = texts(relations, "relname")?;
    let mut relation_of: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    for ((oid, schema), name) in oids.iter().zip(&within).zip(&names) {
        if let Some(schema) = schemas.get(schema) {
            relation_of.insert((schema.as_str(), name.as_str()), *oid);
        }
    }
    let attributes = numbers(column(columns, "attrelid")?);
    let attribute_names = texts(columns, "attname")?;
    let places = column(columns, "attnum")?.as_primitive::<Int16Type>();
    let mut by_number = Comments::new();
    for table in comments {
        let Some(oid) = relation_of.get(&(table.schema, table.table.as_str())) else { continue };
        by_number.insert((*oid, 0), table.comment.clone());
        let told: BTreeMap<&str, &str> =
            table.columns.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        for (row, relation) in attributes.iter().enumerate() {
            if relation == oid
                && let Some(text) = told.get(attribute_names[row].as_str())
            {
                by_number.insert((*oid, i32::from(places.value(row))), (*text).to_owned());
            }
        }
    }
    Ok(by_number)
}

/// `pg_description` with our comments before those of the types.
async fn described(comments: &Comments, context: &SessionContext) -> Result<RecordBatch, Fault> {
    let given = whole(context, "pg_description").await?;
    let keep = |name: &str| {
        let kind = column(&given, name).map(|array| array.data_type().clone());
        kind.unwrap_or(DataType::Int32)
    };
    let build = |name: &str, values: Vec<i32>| -> Result<ArrayRef, Fault> {
        let array: ArrayRef = Arc::new(Int32Array::from(values));
        datafusion::arrow::compute::cast(&array, &keep(name))
            .map_err(|error| Fault::new(State::Internal, error.to_string()))
    };
    let objects = comments.keys().map(|(object, _)| *object).collect();
    let places = comments.keys().map(|(_, place)| *place).collect();
    let texts: ArrayRef =
        Arc::new(comments.values().map(|text| Some(text.as_str())).collect::<StringArray>());
    let arrays = given
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "objoid" => build("objoid", Vec::clone(&objects)),
            "classoid" => build("classoid", vec![RELATIONS; comments.len()]),
            "objsubid" => build("objsubid", Vec::clone(&places)),
            _ => Ok(Arc::clone(&texts)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let ours = RecordBatch::try_new(given.schema(), arrays)
        .map_err(|error| Fault::new(State::Internal, error.to_string()))?;
    concat_batches(&given.schema(), [&ours, &given])
        .map_err(|error| Fault::new(State::Internal, error.to_string()))
}

/// `pg_class` with the options of relations, which have none; SQLAlchemy asks for them.
fn with_options(relations: &RecordBatch) -> Result<RecordBatch, Fault> {
    let name = "reloptions";
    if relations.column_by_name(name).is_some() {
        return Ok(relations.clone());
    }
    let kind = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let schema = relations.schema();
    let fields = schema.fields().iter().map(Arc::clone);
    let fields: Vec<_> = fields.chain([Arc::new(Field::new(name, kind.clone(), true))]).collect();
    let mut arrays = relations.columns().to_vec();
    arrays.push(new_null_array(&kind, relations.num_rows()));
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays)
        .map_err(|error| Fault::new(State::Internal, error.to_string()))
}

/// `pg_attribute` with the precision of decimals, which tells clients how to show money.
async fn with_precision(
    context: &SessionContext,
    relations: &RecordBatch,
    columns: RecordBatch,
) -> Result<RecordBatch, Fault> {
    let mut precision: BTreeMap<(String, String), (i32, i16)> = BTreeMap::new();
    for schema_name in super::SCHEMAS {
        let catalog = context.catalog(DATABASE);
        let Some(schema) = catalog.and_then(|catalog| catalog.schema(schema_name)) else {
            continue;
        };
        for name in schema.table_names() {
            let Some(table) = schema.table(&name).await? else { continue };
            for field in table.schema().fields() {
                let modifier = type_modifier(field.data_type());
                let dimensions = i16::from(matches!(field.data_type(), DataType::List(_)));
                precision.insert((name.clone(), field.name().clone()), (modifier, dimensions));
            }
        }
    }
    let names: BTreeMap<i32, String> =
        numbers(column(relations, "oid")?).into_iter().zip(texts(relations, "relname")?).collect();
    let owners = numbers(column(&columns, "attrelid")?);
    let attributes = texts(&columns, "attname")?;
    let told: Vec<(i32, i16)> = owners
        .iter()
        .zip(&attributes)
        .map(|(owner, attribute)| {
            let name = names.get(owner).cloned().unwrap_or_default();
            precision.get(&(name, attribute.clone())).copied().unwrap_or((-1, 0))
        })
        .collect();
    let mut arrays = columns.columns().to_vec();
    let schema = columns.schema();
    if let Ok(at) = schema.index_of("atttypmod") {
        arrays[at] = Arc::new(Int32Array::from_iter_values(told.iter().map(|(m, _)| *m)));
    }
    if let Ok(at) = schema.index_of("attndims")
        && schema.field(at).data_type() == &DataType::Int32
    {
        let dimensions = told.iter().map(|(_, dimensions)| i32::from(*dimensions));
        arrays[at] = Arc::new(Int32Array::from_iter_values(dimensions));
    } else if let Ok(at) = schema.index_of("attndims") {
        arrays[at] = Arc::new(Int16Array::from_iter_values(told.iter().map(|(_, d)| *d)));
    }
    RecordBatch::try_new(schema, arrays)
        .map_err(|error| Fault::new(State::Internal, error.to_string()))
}

/// `atttypmod` of a type: precision and scale of a decimal, -1 of everything else.
pub(crate) fn type_modifier(kind: &DataType) -> i32 {
    match kind {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
        }
        _ => -1,
    }
}
