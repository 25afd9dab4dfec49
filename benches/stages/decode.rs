//! Stage: bytes to transactions. 200,000 distinct W1 messages would not stay in the caches; here
//! a thousand do, so this is what the processor takes, and `bench --only G4` adds the memory.
//!
//! Limit: one pass over the bytes in memory, 14.5 to 18.5 GB/s a core where it was measured.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;
use std::sync::Arc;

use cardlens_benches::load::rules::w1;
use cardlens_benches::load::w1::W1;
use cardlens_benches::rivals::serde::Borrowed;
use cardlens_model::{Batch, NoHeaders, Position, Record};
use cardlens_wire::{Decoder, DecoderConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn decode(criterion: &mut Criterion) {
    let messages: Vec<Vec<u8>> = W1::STANDARD
        .draw()
        .take(1_024)
        .map(|drawn| {
            let mut message = Vec::new();
            drawn.write(&mut message).unwrap();
            message
        })
        .collect();
    let bytes: usize = messages.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("decode (limit 15 GB/s: one pass over memory)");
    group.throughput(Throughput::BytesDecimal(bytes as u64));
    let table = Arc::new(w1().unwrap().category_table(&[]));
    let mut config = DecoderConfig::canonical("USD", "US", table);
    config.key_is_customer = false;
    let mut decoder = Decoder::new(config).unwrap();
    let mut batch = Batch::default();
    let record = |message| Record {
        position: Position(0),
        appended_at: None,
        key: None,
        value: message,
        headers: &NoHeaders,
    };
    group.bench_function("cardlens-wire, by template", |bencher| {
        bencher.iter(|| {
            batch.clear();
            for message in &messages {
                decoder.decode(&record(message), 0, &mut batch).unwrap();
            }
        });
    });
    group.bench_function("cardlens-wire, general", |bencher| {
        bencher.iter(|| {
            batch.clear();
            for message in &messages {
                decoder.decode_general(&record(message), 0, &mut batch).unwrap();
            }
        });
    });
    group.bench_function("serde_json, borrowed", |bencher| {
        bencher.iter(|| {
            for message in &messages {
                black_box(Borrowed::read(message).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
