//! `information_schema`: relations in the words of the SQL standard.
//!
//! DataFusion's table of columns names Arrow's types and counts from zero, so `columns` is ours, with
//! every column that PostgreSQL's has. There are no keys and no other constraints: the tables that
//! would tell of them are there and have no row. The rest is DataFusion's.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::common::Result;
use datafusion_postgres::arrow_pg::datatypes::field_into_pg_type;
use datafusion_postgres::pgwire::api::Type;

use crate::front::DATABASE;

/// Its name.
pub(super) const NAME: &str = "information_schema";

/// The columns of `columns`, in PostgreSQL's order.
const COLUMNS: &[&str] = &[
    "table_catalog",
    "table_schema",
    "table_name",
    "column_name",
    "ordinal_position",
    "column_default",
    "is_nullable",
    "data_type",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "interval_type",
    "interval_precision",
    "character_set_catalog",
    "character_set_schema",
    "character_set_name",
    "collation_catalog",
    "collation_schema",
    "collation_name",
    "domain_catalog",
    "domain_schema",
    "domain_name",
    "udt_catalog",
    "udt_schema",
    "udt_name",
    "scope_catalog",
    "scope_schema",
    "scope_name",
    "maximum_cardinality",
    "dtd_identifier",
    "is_self_referencing",
    "is_identity",
    "identity_generation",
    "identity_start",
    "identity_increment",
    "identity_maximum",
    "identity_minimum",
    "identity_cycle",
    "is_generated",
    "generation_expression",
    "is_updatable",
];

/// Columns of this schema that are numbers; all others are texts.
const NUMBERS: &[&str] = &[
    "ordinal_position",
    "position_in_unique_constraint",
    "character_maximum_length",
    "character_octet_length",
    "numeric_precision",
    "numeric_precision_radix",
    "numeric_scale",
    "datetime_precision",
    "interval_precision",
    "maximum_cardinality",
];

/// Tables about what there is none of, and the beginning of each.
const EMPTY: &[(&str, &[&str])] = &[
    (
        "check_constraints",
        &["constraint_catalog", "constraint_schema", "constraint_name", "check_clause"],
    ),
    (
        "constraint_column_usage",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
        ],
    ),
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "position_in_unique_constraint",
        ],
    ),
    (
        "referential_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "unique_constraint_catalog",
            "unique_constraint_schema",
            "unique_constraint_name",
            "match_option",
            "update_rule",
            "delete_rule",
        ],
    ),
    (
        "table_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "constraint_type",
            "is_deferrable",
            "initially_deferred",
            "enforced",
        ],
    ),
];

/// The schema over the relations of one statement.
#[derive(Debug)]
pub(super) struct Information {
    catalog: Arc<dyn CatalogProvider>,
    inner: InformationSchemaProvider,
}

impl Information {
    /// Over a catalogue without this schema.
    pub(super) fn new(catalog: Arc<dyn CatalogProvider>) -> Self {
        let list = MemoryCatalogProviderList::new();
        list.register_catalog(DATABASE.to_owned(), Arc::clone(&catalog));
        Self { catalog, inner: InformationSchemaProvider::new(Arc::new(list)) }
    }

    async fn columns(&self) -> Result<RecordBatch> {
        let mut told = Vec::new();
        for schema in self.catalog.schema_names() {
            let Some(provider) = self.catalog.schema(&schema) else { continue };
            for table in provider.table_names() {
                let Some(found) = provider.table(&table).await? else { continue };
                for (field, place) in found.schema().fields().iter().zip(1..) {
                    told.push(Told::new([&schema, &table], place, field));
                }
            }
        }
        let arrays = COLUMNS.iter().map(|name| -> ArrayRef {
            if NUMBERS.contains(name) {
                Arc::new(told.iter().map(|it| it.number(name)).collect::<Int32Array>())
            } else {
                Arc::new(told.iter().map(|it| it.text(name)).collect::<StringArray>())
            }
        });
        let arrays = arrays.collect();
        Ok(RecordBatch::try_new(Arc::new(schema(COLUMNS)), arrays)?)
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        let empty = EMPTY.iter().map(|(name, _)| (*name).to_owned());
        let mut names = self.inner.table_names();
        names.extend(empty.chain(["character_sets".to_owned()]));
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let batch = match name {
            "columns" => self.columns().await?,
            "character_sets" => character_sets()?,
            name => match EMPTY.iter().find(|(known, _)| *known == name) {
                Some((_, columns)) => RecordBatch::new_empty(Arc::new(schema(columns))),
                None => return self.inner.table(name).await,
            },
        };
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

fn schema(columns: &[&str]) -> Schema {
    let fields = columns.iter().map(|name| {
        let kind = if NUMBERS.contains(name) { DataType::Int32 } else { DataType::Utf8 };
        Field::new(*name, kind, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The one set of characters that texts are in.
fn character_sets() -> Result<RecordBatch> {
    let told = [
        ("character_set_catalog", None),
        ("character_set_schema", None),
        ("character_set_name", Some("UTF8")),
        ("character_repertoire", Some("UCS")),
        ("form_of_use", Some("UTF8")),
        ("default_collate_catalog", Some(DATABASE)),
        ("default_collate_schema", Some("pg_catalog")),
        ("default_collate_name", Some("C")),
    ];
    let arrays = told.iter().map(|(_, text)| Arc::new(StringArray::from(vec![*text])) as ArrayRef);
    let schema = schema(&told.map(|(name, _)| name));
    Ok(RecordBatch::try_new(Arc::new(schema), arrays.collect())?)
}

/// A column of a relation.
struct Told {
    schema: String,
    table: String,
    place: i32,
    field: FieldRef,
    /// As it travels; none when it could not.
    wire: Option<Type>,
}

impl Told {
    fn new([schema, table]: [&str; 2], place: i32, field: &FieldRef) -> Self {
        let (schema, table) = (schema.to_owned(), table.to_owned());
        let wire = field_into_pg_type(field).ok();
        Self { schema, table, place, field: Arc::clone(field), wire }
    }

    fn text(&self, column: &str) -> Option<String> {
        let text = match column {
            "table_catalog" | "udt_catalog" => DATABASE,
            "table_schema" => &self.schema,
            "table_name" => &self.table,
            "column_name" => self.field.name(),
            "is_nullable" if self.field.is_nullable() => "YES",
            "is_nullable"
            | "is_self_referencing"
            | "is_identity"
            | "identity_cycle"
            | "is_updatable" => "NO",
            "data_type" => return Some(data_type(self.wire.as_ref()?).to_owned()),
            "udt_schema" => "pg_catalog",
            "udt_name" => self.wire.as_ref()?.name(),
            "dtd_identifier" => return Some(self.place.to_string()),
            "is_generated" => "NEVER",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn number(&self, column: &str) -> Option<i32> {
        let wire = self.wire.as_ref()?;
        let (precision, radix, scale) = numeric(self.field.data_type(), wire);
        match column {
            "ordinal_position" => Some(self.place),
            // The longest value of a text in PostgreSQL.
            "character_octet_length" => (*wire == Type::TEXT).then_some(1 << 30),
            "numeric_precision" => precision,
            "numeric_precision_radix" => radix,
            "numeric_scale" => scale,
            "datetime_precision" => match *wire {
                Type::DATE => Some(0),
                Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => Some(6),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Precision, its base, and the digits after the point.
fn numeric(kind: &DataType, wire: &Type) -> (Option<i32>, Option<i32>, Option<i32>) {
    match (kind, wire) {
        (DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale), _) => {
            (Some(i32::from(*precision)), Some(10), Some(i32::from(*scale)))
        }
        (_, &Type::INT2) => (Some(16), Some(2), Some(0)),
        (_, &Type::INT4) => (Some(32), Some(2), Some(0)),
        (_, &Type::INT8) => (Some(64), Some(2), Some(0)),
        (_, &Type::FLOAT4) => (Some(24), Some(2), None),
        (_, &Type::FLOAT8) => (Some(53), Some(2), None),
        (_, &Type::NUMERIC) => (None, Some(10), None),
        _ => (None, None, None),
    }
}

/// The standard's name of a type, as `format_type` writes it.
fn data_type(wire: &Type) -> &str {
    match *wire {
        Type::BOOL => "boolean",
        Type::CHAR => "\"char\"",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::BPCHAR => "character",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ if wire.name().starts_with('_') => "ARRAY",
        // The others have one name: date, interval, numeric, text and the like.
        _ => wire.name(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[track_caller]
    fn check(kind: DataType, data_type: &str, udt_name: &str, precision: [Option<i32>; 3]) {
        let told = Told::new(["public", "a"], 1, &Arc::new(Field::new("b", kind, false)));
        assert_eq!(told.text("data_type").as_deref(), Some(data_type));
        assert_eq!(told.text("udt_name").as_deref(), Some(udt_name));
        let columns = ["numeric_precision", "numeric_precision_radix", "numeric_scale"];
        assert_eq!(columns.map(|column| told.number(column)), precision, "{data_type}");
    }

    #[test]
    fn types_have_the_names_of_the_standard() {
        let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        check(DataType::Int64, "bigint", "int8", [Some(64), Some(2), Some(0)]);
        check(DataType::Decimal128(18, 2), "numeric", "numeric", [Some(18), Some(10), Some(2)]);
        check(DataType::Float64, "double precision", "float8", [Some(53), Some(2), None]);
        check(DataType::Utf8, "text", "text", [None; 3]);
        check(DataType::Boolean, "boolean", "bool", [None; 3]);
        check(DataType::Date32, "date", "date", [None; 3]);
        check(zoned, "timestamp with time zone", "timestamptz", [None; 3]);
        check(texts, "ARRAY", "_text", [None; 3]);
    }
}
