//! What the tests share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cardlens_model::{Batch, CategoryTable, NoHeaders, Position, Reason, Record, Transaction};
use cardlens_wire::{Decoder, DecoderConfig};

pub fn categories() -> Arc<CategoryTable> {
    let ranges = [(5_411, 5_411, "grocery"), (5_800, 5_899, "dining")];
    Arc::new(CategoryTable::new(&ranges, &[8_661]).unwrap())
}

/// Canonical records in USD without a key.
pub fn config() -> DecoderConfig {
    DecoderConfig { key_is_customer: false, ..DecoderConfig::canonical("USD", "US", categories()) }
}

pub fn record(value: &[u8]) -> Record<'_> {
    Record { position: Position(0), appended_at: None, key: None, value, headers: &NoHeaders }
}

/// A transaction with the texts that its spans mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub transaction: Transaction,
    pub customer: String,
    pub id: String,
}

/// What a decoder makes of a record, by both readers or the general one alone.
pub fn outcome(
    decoder: &mut Decoder,
    record: &Record<'_>,
    general: bool,
) -> Result<Outcome, Reason> {
    let mut batch = Batch::default();
    let done = if general {
        decoder.decode_general(record, 0, &mut batch)
    } else {
        decoder.decode(record, 0, &mut batch)
    };
    assert_eq!(batch.transactions.len(), usize::from(done.is_ok()));
    assert_eq!(batch.text.is_empty(), done.is_err(), "a rejected record leaves no text");
    done.map(|()| {
        let transaction = batch.transactions[0];
        let text = |span| String::from_utf8(batch.text(span).to_vec()).unwrap();
        Outcome { transaction, customer: text(transaction.customer), id: text(transaction.id) }
    })
}

pub fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// The examples of one schema, by name, in the order of their names.
pub fn examples(of: &str) -> Vec<(String, String)> {
    let folder = schemas().join("examples").join(of);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no example in {}", folder.display());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// JSON without white space between its tokens, in the order it has.
pub fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            if inside {
                inside = escaped || c != '"';
                escaped = c == '\\' && !escaped;
                return true;
            }
            inside = c == '"';
            !c.is_whitespace()
        })
        .collect()
}
