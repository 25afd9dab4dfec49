//! Any bytes as stored state: reading a table or a journal never panics, and a count in the bytes
//! never makes it allocate what the bytes could not hold.
//!
//! Checksums would hide all of this, so they are made right here: an input is edits of the parts
//! inside the frames of a table that was written before.
#![no_main]

#[path = "../../crates/engine/src/journal.rs"]
#[allow(dead_code, reason = "only its reader is tried; the crate around it has rules to compile")]
mod journal;

use std::sync::{Arc, LazyLock};

use cardlens_features::{Plan, Rows, Table, TableConfig, snapshot};
use cardlens_model::{
    Batch, Calendar, CategoryTable, DAY_MS, Kind, NoHeaders, Position, Record, ValueModel,
};
use cardlens_wire::{Decoder, DecoderConfig};
use libfuzzer_sys::fuzz_target;

/// Magic and version before the first frame, the bytes of a frame before its pieces, and the bytes
/// that a piece stands for.
const HEAD: usize = 12;
const FRAME_HEAD: usize = 12;
const PIECE: usize = 1 << 16;
/// Bytes of an edit: where, what is done, with what.
const EDIT: usize = 4;

static CONFIG: LazyLock<TableConfig> = LazyLock::new(|| {
    let ranges = [(5_411, 5_411, "grocery"), (5_800, 5_899, "dining")];
    let categories = CategoryTable::new(&ranges, &[8_661]).expect("ranges are in order");
    let names = ["txn_7d".to_owned(), "grocery_spend_30d".to_owned()];
    TableConfig {
        columns: Plan::new(&names, &categories).expect("both are features"),
        categories: Arc::new(categories),
        value: ValueModel::default(),
        calendar: Calendar::utc(),
        settle_ms: 0,
        allowed_lateness_ms: 7 * DAY_MS,
        moves_windows: Kind::Purchase,
    }
});

/// A table of a few customers as it is written, and the same records as a journal.
static WRITTEN: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let decoding = DecoderConfig::canonical("USD", "US", Arc::clone(&CONFIG.categories));
    let decoding = DecoderConfig { key_is_customer: false, ..decoding };
    let mut decoder = Decoder::new(decoding).expect("the configuration is valid");
    let mut batch = Batch::default();
    for number in 0..40 {
        let kind = ["purchase", "purchase", "refund", "cash", "payment"][number % 5];
        let value = format!(
            "{{\"id\":\"t{number}\",\"customer\":\"C{}\",\"time\":\"2026-06-01T{:02}:05:11Z\",\
             \"kind\":\"{kind}\",\"amount_minor\":{},\"currency\":\"USD\",\"mcc\":\"5411\"}}",
            number % 7,
            number % 24,
            number * 37,
        );
        let record = Record {
            position: Position(0),
            appended_at: None,
            key: None,
            value: value.as_bytes(),
            headers: &NoHeaders,
        };
        decoder.decode(&record, 0, &mut batch).expect("it is a transaction");
    }
    let mut table = Table::new(CONFIG.clone());
    let mut rows = Rows::new(&CONFIG.columns);
    table.apply(&batch, 0, &mut rows);
    let mut bytes = Vec::new();
    snapshot::encode(&table, &mut bytes);
    let mut journal = journal::Journal::default();
    journal.batch(&batch);
    (bytes, journal.bytes().to_vec())
});

/// What is packed into the frames of a table, in order.
fn parts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    bytes = &bytes[HEAD..];
    while let Some((head, rest)) = bytes.split_at_checked(FRAME_HEAD) {
        let word = |at: usize| {
            let word = head[at..at + 4].try_into().expect("four bytes are four bytes");
            u32::from_le_bytes(word) as usize
        };
        let (pieces, after) = rest.split_at(word(0));
        parts.push(unpacked(pieces, word(4)));
        bytes = after;
    }
    parts
}

/// What the pieces of a frame stand for.
fn unpacked(mut pieces: &[u8], len: usize) -> Vec<u8> {
    let mut part = Vec::new();
    while let Some((length, rest)) = pieces.split_first_chunk::<4>() {
        let (piece, after) = rest.split_at(u32::from_le_bytes(*length) as usize);
        let wanted = PIECE.min(len - part.len());
        if piece.len() == wanted {
            part.extend_from_slice(piece);
        } else {
            part.extend(zstd::bulk::decompress(piece, wanted).expect("it was packed"));
        }
        pieces = after;
    }
    part
}

/// A table of such parts, nothing packed, with checksums that are right.
fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = WRITTEN.0[..HEAD].to_vec();
    for part in parts {
        let length = |bytes: usize| u32::try_from(bytes).expect("an input is small").to_le_bytes();
        let piece = |piece: &[u8]| [&length(piece.len())[..], piece].concat();
        let pieces: Vec<u8> = part.chunks(PIECE).flat_map(piece).collect();
        let start = bytes.len();
        bytes.extend_from_slice(&length(pieces.len()));
        bytes.extend_from_slice(&length(part.len()));
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[start..]), &pieces);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&pieces);
    }
    bytes
}

/// Sets, inserts, removes or cuts off bytes, as an input says.
fn edit(bytes: &mut Vec<u8>, edits: &[u8]) {
    let (edits, _) = edits.as_chunks::<EDIT>();
    for [low, high, what, with] in edits.iter().take(64) {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (bytes.len() + 1);
        match what % 8 {
            0 => bytes.insert(at, *with),
            1 => drop(bytes.drain(at..(at + usize::from(*with)).min(bytes.len()))),
            2 => bytes.truncate(at),
            3 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = *with),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *with),
        }
    }
}

fn read_journal(bytes: &[u8]) {
    let mut records = 0;
    let _total = journal::read(bytes, &mut |entry| {
        if let journal::Entry::Batch(batch) = entry {
            records += batch.transactions.len();
        }
        Ok(())
    });
    assert!(records <= bytes.len());
}

fn read_table(bytes: &[u8]) {
    if let Ok(table) = snapshot::decode(bytes, CONFIG.clone()) {
        assert!(table.customers() <= 1 << 20, "no customer without a byte");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    match first % 4 {
        0 => {
            read_table(rest);
            read_journal(rest);
        }
        1 => {
            let mut bytes = WRITTEN.1.clone();
            edit(&mut bytes, rest);
            read_journal(&bytes);
        }
        of => {
            let mut parts = parts(&WRITTEN.0);
            let last = parts.len() - 1;
            edit(&mut parts[if of == 2 { 0 } else { last }], rest);
            read_table(&framed(&parts));
        }
    }
});
