//! Files as a source and a sink: what `backtest` reads and writes.
//!
//! CSV, TSV, JSON lines and Parquet, the texts plain or gzip, go through the same decoder and worker as a live
//! stream. Records are dealt to partitions as Kafka's own producers would, so that a backtest can
//! be compared with a topic.

mod csv;
mod lines;
mod murmur;
mod sink;
mod source;
mod tables;

pub use csv::CsvLayout;
pub use murmur::partition_of;
pub use sink::FileSink;
pub use source::{FileOptions, FileSource, Places, ReadProgress};
pub use tables::{customers, write_tables};
