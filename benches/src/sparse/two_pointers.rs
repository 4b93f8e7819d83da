//! The plain way to search sparse vectors: merge the query with every row.

use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use vektonn_index::Metric;

use crate::affinity;
use crate::contest::{Contender, Elapsed, Search, Turn};
use crate::datasets::SparseSet;
use crate::formats::csr::SparseRows;

/// Compares the query with every row by two pointers that move through both in the order of the terms.
pub(super) struct TwoPointers<'s> {
    set: &'s SparseSet,
    /// For cosine, one divided by each row's norm; else 1.
    scales: Vec<f32>,
}

impl<'s> TwoPointers<'s> {
    /// For inner products and cosine.
    pub(super) fn new(set: &'s SparseSet, metric: Metric) -> Self {
        let scale = |row: sprs::CsVecViewI<'_, f32, u32>| {
            let norm = row.data().iter().map(|x| x * x).sum::<f32>().sqrt();
            if metric == Metric::Cosine && norm > 0.0 { 1.0 / norm } else { 1.0 }
        };
        Self { set, scales: set.base.outer_iterator().map(scale).collect() }
    }

    fn nearest(&self, query: usize, k: usize) -> Result<Vec<u32>> {
        let query = self.set.queries.outer_view(query).context("no such query")?;
        let mut heap: BinaryHeap<(Reversed, u32)> = BinaryHeap::with_capacity(k + 1);
        for (row, scale) in self.scales.iter().enumerate() {
            let (indices, values) = slices(&self.set.base, row);
            let similarity = scale * dot(query.indices(), query.data(), indices, values);
            let candidate = (Reversed(similarity), row as u32);
            if heap.len() < k {
                heap.push(candidate);
            } else if heap.peek().is_some_and(|farthest| candidate < *farthest) {
                heap.pop();
                heap.push(candidate);
            }
        }
        Ok(heap.into_sorted_vec().into_iter().map(|(_, row)| row).collect())
    }
}

/// The larger, the smaller.
#[derive(Clone, Copy, PartialEq)]
struct Reversed(f32);

impl Eq for Reversed {}

impl Ord for Reversed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl PartialOrd for Reversed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn slices(rows: &SparseRows, row: usize) -> (&[u32], &[f32]) {
    let range = rows.indptr().outer_inds_sz(row);
    (&rows.indices()[range.clone()], &rows.data()[range])
}

fn dot(a_terms: &[u32], a: &[f32], b_terms: &[u32], b: &[f32]) -> f32 {
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < a_terms.len() && j < b_terms.len() {
        match a_terms[i].cmp(&b_terms[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += a[i] * b[j];
                i += 1;
                j += 1;
            }
        }
    }
    sum
}

impl Contender for TwoPointers<'_> {
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        affinity::pin(cores)
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
        for query in turn.first..turn.first + turn.queries {
            black_box(self.nearest(query % self.set.queries.rows(), turn.search.k)?);
        }
        let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
        Ok(Elapsed { queries: turn.queries, wall_s, cpu_s })
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let mut ids = vec![];
        for query in 0..self.set.queries.rows() {
            let found = self.nearest(query, search.k)?.into_iter().map(|row| row as i32);
            ids.extend(found.chain(std::iter::repeat(-1)).take(search.k));
        }
        Ok(ids)
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        let timed = |query: usize| {
            let started = Instant::now();
            black_box(self.nearest(query % self.set.queries.rows(), turn.search.k)?);
            Ok(started.elapsed().as_secs_f64())
        };
        (turn.first..turn.first + turn.queries).map(timed).collect()
    }

    fn call_overhead(&mut self, _k: usize) -> Result<f64> {
        Ok(0.0)
    }
}
