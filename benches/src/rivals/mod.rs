//! What the product is measured against.

pub mod duckdb;
pub mod flink;
mod foreign;
pub mod plain;
pub mod serde;
