//! Exact dense search: every live row is compared.

use std::ops::RangeInclusive;
use std::sync::Arc;

use vektonn_core::Metric;

use crate::collector::Collector;
use crate::distance::{self, DenseKernels};
use crate::options::{SearchError, SearchOptions};
use crate::store::chunks::{BLOCK, Chunks};
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::{Batch, Timeline};
use crate::sync::{AtomicU64, Ordering};

/// Rows scanned between two looks at the clock.
const ROWS_PER_DEADLINE_CHECK: u32 = 64 * BLOCK as u32;

/// A product of norms within this range bounds an inner product, and every part of it, that f32 can hold with all of its
/// precision. The cosine of shorter or longer vectors is made in f64.
const NORMS_OF_F32: RangeInclusive<f64> = 1e-30..=1e37;

/// Rows of f32, scanned block by block. `T` is what the owner keeps with each row.
pub(crate) struct FlatIndex<T> {
    metric: Metric,
    dimension: usize,
    kernels: DenseKernels,
    slots: Slots<T, f32>,
    /// Bits of each row's Euclidean norm as f64; only used for cosine.
    norms: Chunks<AtomicU64>,
}

impl<T> FlatIndex<T> {
    pub(crate) fn new(
        metric: Metric,
        dimension: usize,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
    ) -> Self {
        Self { metric, dimension, kernels, slots: Slots::new(timeline, dimension), norms: Chunks::new(1) }
    }

    pub(crate) fn slots(&self) -> &Slots<T, f32> {
        &self.slots
    }

    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, row: &[f32]) -> Result<u32, IndexFull> {
        let slot = self.slots.insert(batch, entry, row.iter().copied())?;
        if self.metric == Metric::Cosine {
            self.norms.reserve(slot, |n| (0..n).map(|_| AtomicU64::new(0)).collect());
            // Relaxed: readers see the slot only after its batch was published, and that orders this store too.
            self.norms.get(slot)[0].store(distance::norm(row).to_bits(), Ordering::Relaxed);
        }
        Ok(slot)
    }

    pub(crate) fn bytes(&self) -> usize {
        let norm = if self.metric == Metric::Cosine { size_of::<u64>() } else { 0 };
        self.slots.capacity() * (self.slots.bytes_per_slot() + norm)
    }

    /// Offers every live row with its final distance.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, f32>,
        query: &[f32],
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        let query_norm = distance::norm(query);
        let norm_of = |slot: u32| f64::from_bits(self.norms.get(slot)[0].load(Ordering::Relaxed));
        match self.metric {
            Metric::L2 => self.scan(reader, options, |rows, squared, first| {
                self.kernels.l2_many(query, rows, self.dimension, squared);
                for (&squared, slot) in squared.iter().zip(first..) {
                    collector.offer(distance::l2_distance(squared), slot);
                }
            }),
            Metric::InnerProduct => self.scan(reader, options, |rows, dots, first| {
                self.kernels.dot_many(query, rows, self.dimension, dots);
                for (&dot, slot) in dots.iter().zip(first..) {
                    collector.offer(distance::inner_product_distance(f64::from(dot)), slot);
                }
            }),
            Metric::Cosine => self.scan(reader, options, |rows, dots, first| {
                self.kernels.dot_many(query, rows, self.dimension, dots);
                let rows = rows.chunks_exact(self.dimension);
                for ((&dot, row), slot) in dots.iter().zip(rows).zip(first..) {
                    let norms = query_norm * norm_of(slot);
                    let dot = if NORMS_OF_F32.contains(&norms) {
                        f64::from(dot)
                    } else {
                        distance::dot(query, row)
                    };
                    collector.offer(distance::cosine_distance(dot, norms), slot);
                }
            }),
            Metric::JaccardBinary => unreachable!("IndexSpec::check refuses Jaccard for dense vectors"),
        }
    }

    /// Calls `compare(rows, raw values to fill, first slot)` for every run of live rows.
    fn scan(
        &self,
        reader: Reader<'_, T, f32>,
        options: &SearchOptions,
        mut compare: impl FnMut(&[f32], &mut [f32], u32),
    ) -> Result<(), SearchError> {
        let mut raw = [0.0; BLOCK];
        for first in (0..reader.end()).step_by(ROWS_PER_DEADLINE_CHECK as usize) {
            options.check_deadline()?;
            for (first, rows) in reader.runs(first..first.saturating_add(ROWS_PER_DEADLINE_CHECK)) {
                compare(rows, &mut raw[..rows.len() / self.dimension], first);
            }
        }
        Ok(())
    }
}
