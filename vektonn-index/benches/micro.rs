//! The parts of a search by themselves: `cargo bench --package vektonn-index --features bench`.
//!
//! Everything fits into the processor's cache, so these numbers say what instructions cost; what memory costs is measured by
//! `cargo xtask bench exact`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use vektonn_index::bench::{Kernels, top_k};
use vektonn_index::{IndexStore, InstructionSet, Metric, SearchOptions, StoreChange, StoredVector};

/// Coordinates of all rows: 128 KiB.
const COORDINATES: usize = 32 * 1024;
const DIMENSIONS: [usize; 3] = [32, 128, 768];

fn random(count: usize) -> Vec<f32> {
    let mut random = Rng::with_seed(1);
    (0..count).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Each instruction set's distances of one query to rows.
fn kernels(criterion: &mut Criterion) {
    type Kernel = fn(&Kernels, &[f32], &[f32], &mut [f32]);
    for (name, kernel) in [("dot", Kernels::dot_many as Kernel), ("l2", Kernels::l2_many)] {
        let mut group = criterion.benchmark_group(name);
        for dimension in DIMENSIONS {
            let rows = COORDINATES / dimension;
            let (query, block) = (random(dimension), random(rows * dimension));
            let mut out = vec![0.0; rows];
            group.throughput(Throughput::Elements(rows as u64));
            for set in InstructionSet::ALL {
                let Some(kernels) = Kernels::new(set) else { continue };
                group.bench_function(BenchmarkId::new(set.to_string(), dimension), |bencher| {
                    bencher.iter(|| kernel(&kernels, &query, black_box(&block), &mut out));
                });
            }
        }
        group.finish();
    }
}

/// The `k` smallest of 10,000 distances: in random order, where hardly any is kept, and falling, where every one is.
fn selection(criterion: &mut Criterion) {
    let distances = random(10_000);
    let mut falling = distances.clone();
    falling.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut group = criterion.benchmark_group("top_k");
    group.throughput(Throughput::Elements(distances.len() as u64));
    for k in [1, 10, 100] {
        for (order, distances) in [("random", &distances), ("falling", &falling)] {
            group.bench_function(BenchmarkId::new(order, k), |bencher| {
                bencher.iter(|| top_k(k, black_box(distances)));
            });
        }
    }
    group.finish();
}

/// A whole exact search of 8,192 points: scan of the codes, comparison of what is left, selection.
fn search(criterion: &mut Criterion) {
    const POINTS: usize = 8_192;
    let mut group = criterion.benchmark_group("exact_search");
    group.throughput(Throughput::Elements(POINTS as u64));
    for dimension in [32, 128] {
        let (query, rows) = (random(dimension), random(POINTS * dimension));
        for metric in [Metric::L2, Metric::InnerProduct] {
            let store = IndexStore::dense(metric, dimension).expect("a valid index");
            let changes = rows.chunks(dimension).zip(0_u32..).map(|(row, id)| {
                StoreChange::upsert(id, StoredVector::try_from(row).expect("finite coordinates"), ())
            });
            store.apply(changes).expect("vectors of the right dimension");
            group.bench_function(BenchmarkId::new(format!("{metric:?}"), dimension), |bencher| {
                bencher.iter(|| store.search(black_box(&query), &SearchOptions::new(10)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, kernels, selection, search);
criterion_main!(benches);
