//! Numbers of the catalogue by name: what `'customers'::regclass` and its kin mean.
//!
//! A name is looked up by a function rather than by a query within the query, because clients write
//! such casts where a query cannot stand, as in the condition of a join.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

use super::functions::{Body, function, integers, texts};

/// Tables of the catalogue itself that others point at, by the numbers they have everywhere.
const CATALOGUE: [(&str, i32); 8] = [
    ("pg_attribute", 1_249),
    ("pg_class", super::tables::RELATIONS),
    ("pg_constraint", 2_606),
    ("pg_database", 1_262),
    ("pg_description", 2_609),
    ("pg_namespace", 2_615),
    ("pg_proc", 1_255),
    ("pg_type", 1_247),
];

/// Types by the names that SQL has for them beside their own.
const TYPES: [(&str, &str); 10] = [
    ("bigint", "int8"),
    ("boolean", "bool"),
    ("character varying", "varchar"),
    ("decimal", "numeric"),
    ("double precision", "float8"),
    ("int", "int4"),
    ("integer", "int4"),
    ("real", "float4"),
    ("smallint", "int2"),
    ("timestamp with time zone", "timestamptz"),
];

/// Names by kind.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Of `pg_class`: schema, name, number.
    pub(super) relations: Vec<(String, String, i32)>,
    /// Of `pg_namespace`.
    pub(super) schemas: BTreeMap<String, i32>,
    /// Of `pg_type`.
    pub(super) types: BTreeMap<String, i32>,
}

impl Names {
    /// Functions that look up.
    pub(super) fn functions(self) -> Vec<Arc<ScalarUDF>> {
        let mut relations = BTreeMap::new();
        let mut visible = BTreeSet::new();
        for (schema, name, number) in self.relations {
            // What can be named without its schema.
            if schema != "ops" {
                visible.insert(number);
            }
            if schema == "public" {
                relations.insert(name.clone(), number);
            }
            relations.insert(format!("{schema}.{name}"), number);
        }
        for (name, number) in CATALOGUE {
            relations.insert(name.to_owned(), number);
            relations.insert(format!("pg_catalog.{name}"), number);
        }
        let mut types = self.types;
        for (name, own) in TYPES {
            if let Some(number) = types.get(own).copied() {
                types.insert(name.to_owned(), number);
            }
        }
        let visible: Body = Arc::new(move |args, rows| {
            let numbers = integers(args.first(), rows)?;
            let told = numbers.iter().map(|oid| Some(visible.contains(&oid?)));
            Ok(ColumnarValue::Array(Arc::new(told.collect::<BooleanArray>())))
        });
        vec![
            function("pg_table_is_visible", &[1], DataType::Boolean, visible),
            lookup("to_regclass", relations),
            lookup("to_regnamespace", self.schemas),
            lookup("to_regtype", types),
        ]
    }
}

fn lookup(name: &'static str, known: BTreeMap<String, i32>) -> Arc<ScalarUDF> {
    let body: Body = Arc::new(move |args, rows| {
        let names = texts(args.first(), rows)?;
        let numbers = names.iter().map(|name| known.get(&plain(name?)).copied());
        Ok(ColumnarValue::Array(Arc::new(numbers.collect::<Int32Array>())))
    });
    function(name, &[1], DataType::Int32, body)
}

/// A name without its quotes; one without quotes is in lower case.
fn plain(name: &str) -> String {
    let part = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.to_ascii_lowercase(),
    };
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").filter(|it| !it.starts_with("pg_")).unwrap_or(name);
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for (given, expected) in [
            ("customers", "customers"),
            ("Public.Customers", "public.customers"),
            ("\"ops\".\"Odd\"", "ops.Odd"),
            ("pg_catalog.pg_class", "pg_catalog.pg_class"),
            ("pg_catalog.int4", "int4"),
        ] {
            assert_eq!(plain(given), expected);
        }
    }
}
