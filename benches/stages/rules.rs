//! Stages: rules over rows, and what becomes of judged rows.
//!
//! Limit: comparisons and sums over columns, 1 to 7 ns a row and expression where it was measured;
//! 168 to 178 ns a row for 14 expressions of another engine at 4,096 rows. A standing is one line
//! a row.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use cardlens_benches::load::population::Population;
use cardlens_benches::load::rules::w1_deployment;
use cardlens_engine::Deployment;
use cardlens_features::{Point, Table};
use cardlens_lens::{Judged, RuleSet, Standings};
use cardlens_model::Batch;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Rows of a deployment's columns.
fn rows(deployment: &Deployment, count: usize) -> (Vec<Point>, arrow_array::RecordBatch) {
    let shared = deployment.shared().unwrap();
    let population = Population { customers: 2_000, records: 120 };
    let mut table = Table::new(shared.table.clone());
    let mut rows = table.rows();
    let mut batch = Batch::default();
    for customer in 0..population.customers {
        batch.clear();
        population.record(customer, 0).push(&shared.table.categories, &mut batch);
        let mut from = 0;
        while from < batch.transactions.len() {
            let applied = table.apply(&batch, from, &mut rows);
            from = applied.next;
            if let Some(day) = applied.closes {
                table.close_day(day);
            }
        }
    }
    drop(rows.take());
    for at in 0..count {
        let slot = cardlens_features::Slot(u32::try_from(at % table.customers()).unwrap());
        table.gather(slot, table.as_of(slot), &mut rows);
    }
    rows.take()
}

fn rules(criterion: &mut Criterion) {
    let default = Deployment::new(RuleSet::parse(&RuleSet::default_files()).unwrap());
    let sets = [("W1's", w1_deployment().unwrap()), ("the default", default)];
    for (name, deployment) in sets {
        let shared = deployment.shared().unwrap();
        let title = format!("judge by {name} rules (limit 1 to 7 ns a row and expression)");
        let mut group = criterion.benchmark_group(title);
        for count in [64, 1_024, 4_096] {
            let (points, columns) = rows(&deployment, count);
            let mut judged = Judged::default();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("evaluate", count), |bencher| {
                bencher.iter(|| shared.lens.evaluate_into(&columns, &mut judged).unwrap());
            });
            if count < 4_096 {
                continue;
            }
            let mut standings = Standings::new(&shared.lens);
            let mut moves = Vec::new();
            group.bench_function(BenchmarkId::new("observe", count), |bencher| {
                bencher.iter(|| {
                    for (row, point) in points.iter().enumerate() {
                        let seen = cardlens_lens::Point {
                            slot: point.slot.0,
                            row,
                            as_of: point.as_of,
                            judge_needs: true,
                            day_closed: false,
                        };
                        standings.observe(seen, &judged, &mut moves);
                    }
                    std::mem::take(&mut moves).len()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, rules);
criterion_main!(benches);
