//! Rows of f32 in slots, and comparing them one by one: what exact and approximate dense search share.

use std::ops::{Range, RangeInclusive};

use vektonn_core::Metric;

use crate::collector::Collector;
use crate::distance::{self, DenseKernels};
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::prefetch::prefetch;
use crate::store::block::BLOCK;
use crate::store::chunks::Chunks;
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::Batch;
use crate::sync::{AtomicU64, Ordering};
use crate::top_k::TopK;

/// Rows scanned between two looks at the clock.
const ROWS_PER_DEADLINE_CHECK: usize = 64 * BLOCK;

/// Runs of neighbouring rows that are asked for before the first of them is compared.
const RUNS_FETCHED: usize = 16;
/// Coordinates of a run that are asked for; by then the processor reads on by itself.
pub(crate) const FETCHED_MAX: usize = 256;

/// A product of norms within this range bounds an inner product, and every part of it, that f32 can hold with all of its
/// precision. The cosine of shorter or longer vectors is made in f64.
const NORMS_OF_F32: RangeInclusive<f64> = 1e-30..=1e37;

/// Rows of f32. `T` is what the owner keeps with each row.
pub(crate) struct DenseRows<T> {
    metric: Metric,
    dimension: usize,
    kernels: DenseKernels,
    slots: Slots<T, f32>,
    /// Bits of each row's Euclidean norm as f64; only used for cosine.
    norms: Chunks<AtomicU64>,
}

/// A query, and what is the same whatever it is compared with.
#[derive(Clone, Copy)]
pub(crate) struct DenseQuery<'q> {
    pub(crate) coordinates: &'q [f32],
    /// As [`DenseRows::norm_of`] gives it of rows.
    pub(crate) norm: f64,
    /// Whether some rows may be nearer than others: a cosine or an inner product with the zero vector is the same for all.
    pub(crate) has_direction: bool,
}

/// What a vector of this norm, as [`DenseRows::norm_of`] gives it, is multiplied with before it is coded. A zero vector has no
/// direction: it stays as it is.
pub(crate) fn factor(norm: f64) -> f64 {
    if norm > 0.0 { 1.0 / norm } else { 1.0 }
}

impl<'q> DenseQuery<'q> {
    pub(crate) fn new(metric: Metric, coordinates: &'q [f32]) -> Self {
        let norm = if metric == Metric::Cosine { distance::norm(coordinates) } else { 1.0 };
        let has_direction = match metric {
            Metric::Cosine => norm > 0.0,
            Metric::InnerProduct => coordinates.iter().any(|&x| x != 0.0),
            Metric::L2 | Metric::JaccardBinary => true,
        };
        Self { coordinates, norm, has_direction }
    }
}

impl<T> DenseRows<T> {
    /// Rows in these slots, which are as wide as the dimension. The metric is none of sparse vectors only.
    pub(crate) fn new(metric: Metric, dimension: usize, kernels: DenseKernels, slots: Slots<T, f32>) -> Self {
        Self { metric, dimension, kernels, slots, norms: Chunks::new(1) }
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(crate) fn kernels(&self) -> DenseKernels {
        self.kernels
    }

    pub(crate) fn slots(&self) -> &Slots<T, f32> {
        &self.slots
    }

    /// Adds a row; visible once the batch is published.
    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, row: &[f32]) -> Result<u32, IndexFull> {
        let slot = self.slots.insert(batch, entry, row.iter().copied())?;
        if self.metric == Metric::Cosine {
            self.norms.reserve(slot, |n| (0..n).map(|_| AtomicU64::new(0)).collect());
            // Relaxed: readers see the slot only after its batch was published, and that orders this store too.
            self.norms.get(slot)[0].store(distance::norm(row).to_bits(), Ordering::Relaxed);
        }
        Ok(slot)
    }

    /// The Euclidean norm that the distances of the row in a slot are divided by: 1 unless the metric is the cosine.
    pub(crate) fn norm_of(&self, slot: u32) -> f64 {
        match self.metric {
            Metric::Cosine => f64::from_bits(self.norms.get(slot)[0].load(Ordering::Relaxed)),
            _ => 1.0,
        }
    }

    /// Whether the row in a slot is nearer to some queries than to others: by its cosine the zero vector is not.
    pub(crate) fn has_direction(&self, slot: u32) -> bool {
        self.norm_of(slot) > 0.0
    }

    pub(crate) fn bytes(&self) -> usize {
        let norm = if self.metric == Metric::Cosine { size_of::<u64>() } else { 0 };
        self.slots.bytes() + self.slots.capacity() * norm
    }

    /// The row of a slot, if it is alive, and what it is multiplied with before it is coded.
    pub(crate) fn row_to_code<'p>(&self, reader: Reader<'p, T, f32>, slot: u32) -> Option<(&'p [f32], f64)> {
        reader.row(slot).map(|row| (row, factor(self.norm_of(slot))))
    }

    /// Offers every live row of a part to the collector of each query.
    pub(crate) fn search_rows(
        &self,
        reader: Reader<'_, T, f32>,
        queries: &[DenseQuery<'_>],
        options: &SearchOptions,
        part: Part,
        collectors: &mut [Collector<impl FnMut(f32, u32) -> f32>],
    ) -> Result<(), SearchError> {
        for first in part.of((0..reader.end() as usize).step_by(ROWS_PER_DEADLINE_CHECK)) {
            for (query, collector) in queries.iter().zip(&mut *collectors) {
                options.check_deadline()?;
                self.compare_range(reader, first..first + ROWS_PER_DEADLINE_CHECK, query, collector);
            }
        }
        Ok(())
    }

    /// Offers every live row of a range of slots, which begins and ends with blocks.
    pub(crate) fn compare_range(
        &self,
        reader: Reader<'_, T, f32>,
        slots: Range<usize>,
        query: &DenseQuery<'_>,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) {
        let mut distances = [0.0; BLOCK];
        let slots = slots.start as u32..u32::try_from(slots.end).unwrap_or(u32::MAX);
        let mut runs = reader.runs(slots);
        let mut fetched = [(0, &[][..]); RUNS_FETCHED];
        loop {
            // Where few rows are left, each of them is somewhere else in memory.
            let mut count = 0;
            for (first, rows) in runs.by_ref().take(RUNS_FETCHED) {
                prefetch(&rows[..rows.len().min(FETCHED_MAX)]);
                fetched[count] = (first, rows);
                count += 1;
            }
            if count == 0 {
                return;
            }
            for &(first, rows) in &fetched[..count] {
                let distances = &mut distances[..rows.len() / self.dimension];
                self.distances(query, rows, first, distances);
                for (&distance, slot) in distances.iter().zip(first..) {
                    collector.offer(distance, slot);
                }
            }
        }
    }

    /// Offers some rows, which come in about the order of their distances, until the `k` nearest do not seem to
    /// change any more. Offers nothing and says so if fewer than `k` of them are alive.
    pub(crate) fn offer_best(
        &self,
        reader: Reader<'_, T, f32>,
        query: &DenseQuery<'_>,
        slots: &[u32],
        k: usize,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> bool {
        // The order is that of approximate distances: more than so many in a row that come too late are not expected.
        let late_max = k / 4 + slots.len() / 8 + 2;
        slots.iter().take(k + late_max).for_each(|&slot| reader.prefetch(slot));
        if slots.iter().filter(|&&slot| reader.sees(slot)).take(k).count() < k {
            return false;
        }
        let mut nearest = TopK::new(k);
        let mut late = 0;
        let rows = slots.iter().filter_map(|&slot| Some((slot, reader.row(slot)?)));
        for (i, (slot, row)) in rows.enumerate() {
            let distance = self.distance(query, row, slot);
            collector.offer(distance, slot);
            late = if i < k || distance < nearest.bound() { 0 } else { late + 1 };
            if late > late_max {
                break;
            }
            nearest.offer(distance, slot);
        }
        true
    }

    /// The final distance of the row that is in the slot.
    pub(crate) fn distance(&self, query: &DenseQuery<'_>, row: &[f32], slot: u32) -> f32 {
        let mut distance = [0.0];
        self.distances(query, row, slot, &mut distance);
        distance[0]
    }

    /// The final distances of neighbouring rows, the first of which is in the slot `first`.
    fn distances(&self, query: &DenseQuery<'_>, rows: &[f32], first: u32, out: &mut [f32]) {
        let DenseQuery { coordinates, norm, has_direction } = *query;
        match self.metric {
            Metric::InnerProduct if !has_direction => out.fill(distance::inner_product_distance(0.0)),
            Metric::Cosine if !has_direction => out.fill(distance::cosine_distance(0.0, 0.0)),
            Metric::L2 => {
                self.kernels.l2_many(coordinates, rows, self.dimension, out);
                out.iter_mut().for_each(|squared| *squared = distance::l2_distance(*squared));
            }
            Metric::InnerProduct => {
                self.kernels.dot_many(coordinates, rows, self.dimension, out);
                out.iter_mut().for_each(|dot| *dot = distance::inner_product_distance(f64::from(*dot)));
            }
            Metric::Cosine => {
                self.kernels.dot_many(coordinates, rows, self.dimension, out);
                let rows = rows.chunks_exact(self.dimension);
                for ((out, row), slot) in out.iter_mut().zip(rows).zip(first..) {
                    let norms = norm * self.norm_of(slot);
                    // With a zero vector the product does not count.
                    let dot = if NORMS_OF_F32.contains(&norms) || norms == 0.0 {
                        f64::from(*out)
                    } else {
                        distance::dot(coordinates, row)
                    };
                    *out = distance::cosine_distance(dot, norms);
                }
            }
            Metric::JaccardBinary => unreachable!("IndexSpec::check refuses Jaccard for dense vectors"),
        }
    }
}
