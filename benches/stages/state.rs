//! Stages: a record into its ledger with its row of features, a table to a snapshot and back.
//!
//! Limits: a ledger's lines come from memory once a record, 119 to 223 ns for a dependent miss on
//! huge pages and 39 to 76 ns for an update behind a prefetched index; a snapshot is bounded by
//! packing columns, 1.7 GB/s with zstd.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;

use cardlens_benches::load::population::Population;
use cardlens_benches::load::rules::w1_deployment;
use cardlens_benches::load::w1::{DAYS, FIRST_DAY};
use cardlens_benches::pipeline::Pipeline;
use cardlens_features::snapshot;
use cardlens_model::{Batch, Day};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CUSTOMERS: u32 = 50_000;
const RUN: u32 = 4_096;

/// Customers with 120 records each, and days that stay open.
fn filled() -> (Pipeline, Population) {
    let population = Population { customers: CUSTOMERS, records: 120 };
    let mut pipeline = Pipeline::new(&w1_deployment().unwrap()).unwrap();
    pipeline.table.close_day(Day(i32::try_from(FIRST_DAY - DAYS).unwrap()));
    let mut batch = Batch::default();
    for customer in 0..CUSTOMERS {
        batch.clear();
        for at in 0..population.records {
            population.record(customer, at).push(&pipeline.shared.table.categories, &mut batch);
        }
        pipeline.fill(&batch).unwrap();
    }
    pipeline.place_everybody().unwrap();
    (pipeline, population)
}

fn state(criterion: &mut Criterion) {
    let (mut pipeline, population) = filled();
    let mut snapshot = Vec::new();
    snapshot::encode(&pipeline.table, &mut snapshot);
    let postings = u64::from(CUSTOMERS) * 120 * 16;

    let mut group = criterion.benchmark_group("snapshot (limit 1.7 GB/s of postings: zstd)");
    group.sample_size(10).throughput(Throughput::BytesDecimal(postings));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::with_capacity(snapshot.len());
            snapshot::encode(&pipeline.table, &mut out);
            out
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            snapshot::decode(&*snapshot, pipeline.shared.table.clone()).unwrap().customers()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("state (limit 40 to 76 ns a record: its lines)");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(RUN)));
    // Every run has records that were never seen, or all of them would be duplicates.
    let (mut day, mut rest) = (0, Vec::new());
    let mut next = |pipeline: &Pipeline| {
        if rest.is_empty() {
            let drawn: Vec<_> = population.later(day, RUN * 64).collect();
            day += 1;
            rest.extend(drawn.chunks(RUN as usize).rev().map(|run| {
                let mut batch = Batch::default();
                run.iter().for_each(|it| it.push(&pipeline.shared.table.categories, &mut batch));
                batch
            }));
        }
        rest.pop().unwrap()
    };
    group.bench_function("apply and gather a row", |bencher| {
        bencher.iter_custom(|times| {
            let mut took = std::time::Duration::ZERO;
            for _ in 0..times {
                let batch = next(&pipeline);
                let started = cardlens_benches::measure::now();
                pipeline.fill(&batch).unwrap();
                took += started.elapsed();
            }
            took
        });
    });
    group.bench_function("apply, gather, judge, observe", |bencher| {
        bencher.iter_custom(|times| {
            let mut took = std::time::Duration::ZERO;
            for _ in 0..times {
                let batch = next(&pipeline);
                let started = cardlens_benches::measure::now();
                pipeline
                    .take(&batch, &mut |_, _, moves| {
                        black_box(moves);
                        Ok(())
                    })
                    .unwrap();
                took += started.elapsed();
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, state);
criterion_main!(benches);
