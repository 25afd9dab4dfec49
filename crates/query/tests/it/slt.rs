//! The files of `tests/slt`, through the Postgres wire of a gateway over customers in memory.
//!
//! Each statement is described by the extended protocol and run by the simple one, so the two are
//! held together. `UPDATE_GOLDEN=1` writes the answers into the files; the difference is then read
//! like code.

use std::path::{Path, PathBuf};

use cardlens_query::budget::Limits;
use cardlens_query::relations::{Catalog, FUNCTIONS, Fixed};
use postgres::types::Type;
use postgres::{Client, SimpleQueryMessage};
use sqllogictest::{
    DB, DBOutput, DefaultColumnType, Runner, default_normalizer, default_validator,
    strict_column_validator,
};

use crate::drivers::connect;
use crate::support::Gateway;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl From<postgres::Error> for Failed {
    fn from(error: postgres::Error) -> Self {
        match error.as_db_error() {
            Some(told) => Self(format!("{}: {}", told.code().code(), told.message())),
            None => Self(error.to_string()),
        }
    }
}

struct Wire(Client);

impl DB for Wire {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let statement = self.0.prepare(sql)?;
        let types = statement.columns().iter().map(|column| shown(column.type_())).collect();
        let mut rows = Vec::new();
        let mut count = 0;
        for message in self.0.simple_query(sql)? {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let value = |at| match row.get(at) {
                        None => "NULL".to_owned(),
                        Some("") => "(empty)".to_owned(),
                        Some(text) => text.to_owned(),
                    };
                    rows.push((0..row.len()).map(value).collect());
                }
                SimpleQueryMessage::CommandComplete(rows) => count = rows,
                _ => {}
            }
        }
        if statement.columns().is_empty() {
            return Ok(DBOutput::StatementComplete(count));
        }
        Ok(DBOutput::Rows { types, rows })
    }

    fn engine_name(&self) -> &'static str {
        "cardlens"
    }
}

fn shown(kind: &Type) -> DefaultColumnType {
    match *kind {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => DefaultColumnType::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt");
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no file in {}", folder.display());
    files
}

#[test]
fn files_are_answered() {
    let gateway = Gateway::start(Limits::default(), 20, true);
    let mut failed = Vec::new();
    let files = files();
    for file in &files {
        let connection = || std::future::ready(connect(&gateway).map(Wire).map_err(Failed::from));
        let mut runner = Runner::new(connection);
        runner.with_column_validator(strict_column_validator);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let update = runner.update_test_file(
                file,
                " ",
                default_validator,
                default_normalizer,
                strict_column_validator,
            );
            futures::executor::block_on(update).unwrap();
        } else if let Err(error) = runner.run_file(file) {
            failed.push(error.to_string());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    println!("proved: {} files of SQL logic tests", files.len());
}

#[tokio::test]
async fn every_relation_and_function_is_asked() {
    let texts: Vec<String> =
        files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let asked = |name: &str| texts.iter().any(|text| text.contains(name));
    let catalog = Catalog::fixed(Fixed::sample(10, 1).unwrap());
    for table in catalog.comments().await.unwrap().iter() {
        let name = match table.schema {
            "public" => format!("FROM {}", table.table),
            schema => format!("FROM {schema}.{}", table.table),
        };
        assert!(asked(&name), "no file of tests/slt has `{name}`");
        for (column, _) in &table.columns {
            let own = table.table == "features" || asked(column);
            assert!(own, "no file of tests/slt asks for {column} of {}", table.table);
        }
    }
    for function in FUNCTIONS {
        assert!(asked(&format!("{}(", function.name)), "nothing calls {}()", function.name);
    }
}
