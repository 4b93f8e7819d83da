//! What the micro-benchmarks of this repository measure and nobody else should use: it may change at any time.

use crate::distance::{DenseKernels, InstructionSet};
use crate::neighbor::Neighbor;
use crate::top_k::TopK;

/// The raw kernels of an instruction set.
pub struct Kernels(DenseKernels);

impl Kernels {
    /// None if this processor does not support it.
    pub fn new(instruction_set: InstructionSet) -> Option<Self> {
        instruction_set.is_supported().then(|| Self(DenseKernels::new(instruction_set)))
    }

    /// The inner products of a query with rows that lie one after another.
    pub fn dot_many(&self, query: &[f32], rows: &[f32], out: &mut [f32]) {
        self.0.dot_many(query, rows, query.len(), out);
    }

    /// The squared distances of a query to rows that lie one after another.
    pub fn l2_many(&self, query: &[f32], rows: &[f32], out: &mut [f32]) {
        self.0.l2_many(query, rows, query.len(), out);
    }
}

/// The `k` nearest of all distances, with their places.
pub fn top_k(k: usize, distances: &[f32]) -> Vec<Neighbor<u32>> {
    let mut nearest = TopK::new(k);
    for (place, &distance) in (0..).zip(distances) {
        nearest.offer(distance, place);
    }
    nearest.into_sorted_vec()
}
