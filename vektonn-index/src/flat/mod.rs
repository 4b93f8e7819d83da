//! Exact dense search.
//!
//! Small indexes compare every live row. Larger ones keep codes of one byte per coordinate beside the rows
//! (`plane.rs`), and exclude by them what cannot be among the nearest; what remains is compared itself. The answer
//! is the same, to the bit. docs/exact-search.md derives the bound.

mod bound;
mod codes;
mod plane;
mod ranges;
mod scan;
#[cfg(all(test, not(loom)))]
mod tests;

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use vektonn_core::Metric;

use crate::collector::Collector;
use crate::distance::int8::CodeKernels;
use crate::distance::{self, DenseKernels};
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::store::chunks::{BLOCK, Chunks};
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::{Batch, Timeline};
use crate::sync::{AtomicU64, Ordering};
use crate::top_k::TopK;
use bound::Space;
use plane::CodePlane;

/// Rows scanned between two looks at the clock.
const ROWS_PER_DEADLINE_CHECK: usize = 64 * BLOCK;

/// Fewer rows are compared themselves: that takes some microseconds, and no memory for codes.
const CODED_ROWS_MIN: usize = 4096;

/// A thread has a part of an index for itself if it has at least so many coordinates: that takes it some 100 microseconds.
const PART_COORDINATES_MIN: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// Codes exclude little if more than one in so many rows is asked for.
const ROWS_PER_NEIGHBOUR_MIN: usize = 8;

/// A product of norms within this range bounds an inner product, and every part of it, that f32 can hold with all of its
/// precision. The cosine of shorter or longer vectors is made in f64.
const NORMS_OF_F32: RangeInclusive<f64> = 1e-30..=1e37;

/// Rows of f32, with codes. `T` is what the owner keeps with each row.
pub(crate) struct FlatIndex<T> {
    metric: Metric,
    dimension: usize,
    kernels: DenseKernels,
    code_kernels: CodeKernels,
    slots: Slots<T, f32>,
    plane: CodePlane,
    /// Bits of each row's Euclidean norm as f64; only used for cosine.
    norms: Chunks<AtomicU64>,
}

/// A query and its norm.
struct DenseQuery<'q> {
    coordinates: &'q [f32],
    norm: f64,
}

impl<T> FlatIndex<T> {
    pub(crate) fn new(
        metric: Metric,
        dimension: usize,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
    ) -> Self {
        Self::with_rows_min(metric, dimension, kernels, timeline, CODED_ROWS_MIN)
    }

    /// Every search compares all rows, which are in files of a directory if there is one.
    pub(crate) fn without_codes(
        metric: Metric,
        dimension: usize,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
        directory: Option<Arc<Path>>,
    ) -> Self {
        let slots = Slots::with_rows_in(timeline, dimension, directory);
        Self::with_slots(metric, dimension, kernels, slots, usize::MAX)
    }

    /// Codes only for so many rows and more.
    fn with_rows_min(
        metric: Metric,
        dimension: usize,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
        rows_min: usize,
    ) -> Self {
        Self::with_slots(metric, dimension, kernels, Slots::new(timeline, dimension), rows_min)
    }

    fn with_slots(
        metric: Metric,
        dimension: usize,
        kernels: DenseKernels,
        slots: Slots<T, f32>,
        rows_min: usize,
    ) -> Self {
        let code_kernels = CodeKernels::new(kernels.instruction_set());
        Self {
            metric,
            dimension,
            kernels,
            code_kernels,
            slots,
            plane: CodePlane::new(code_kernels, Space::of(metric), dimension, rows_min),
            norms: Chunks::new(1),
        }
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
        self.plane.inserted(slot as usize, self.slots.capacity());
        Ok(slot)
    }

    /// To be called after the last change of a batch, before it is published.
    pub(crate) fn finish(&self, batch: &Batch<'_>) {
        let reader = self.slots.writer_view(batch);
        self.plane.finish(self.slots.capacity(), |slot| {
            let row = reader.row(slot as u32)?;
            let norm = if self.metric == Metric::Cosine { self.norm_of(slot as u32) } else { 1.0 };
            Some((row, self.plane.space().factor(norm)))
        });
    }

    fn norm_of(&self, slot: u32) -> f64 {
        f64::from_bits(self.norms.get(slot)[0].load(Ordering::Relaxed))
    }

    pub(crate) fn bytes(&self) -> usize {
        let norm = if self.metric == Metric::Cosine { size_of::<u64>() } else { 0 };
        self.slots.bytes() + self.slots.capacity() * norm + self.plane.bytes()
    }

    /// Offers the nearest live rows, and some more, with their final distances.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, f32>,
        query: &[f32],
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        self.search_many_into(reader, &[query], options, Part::WHOLE, std::slice::from_mut(collector))
    }

    /// How many threads may search parts of the rows at the same time: handing a part over has to cost little beside it.
    pub(crate) fn parts_max(&self, reader: Reader<'_, T, f32>) -> usize {
        (reader.end() as usize).saturating_mul(self.dimension) / PART_COORDINATES_MIN
    }

    /// The same for several queries, which together take less time than each alone, in a part of the rows.
    pub(crate) fn search_many_into(
        &self,
        reader: Reader<'_, T, f32>,
        queries: &[&[f32]],
        options: &SearchOptions,
        part: Part,
        collectors: &mut [Collector<impl FnMut(f32, u32) -> f32>],
    ) -> Result<(), SearchError> {
        let queries: Vec<_> = queries
            .iter()
            .map(|coordinates| DenseQuery { coordinates, norm: distance::norm(coordinates) })
            .collect();
        let rows = reader.end() as usize;
        // The zero vector has the same cosine with everything: there is nothing to exclude.
        let no_direction = |query: &DenseQuery<'_>| self.metric == Metric::Cosine && query.norm == 0.0;
        if !self.plane.is_used(rows)
            || options.k.saturating_mul(ROWS_PER_NEIGHBOUR_MIN) > rows
            || queries.iter().any(no_direction)
        {
            return self.search_rows(reader, &queries, options, part, collectors);
        }
        self.search_codes(reader, &queries, options, part, collectors)
    }

    /// Offers some rows, which come in about the order of their distances, until the `k` nearest do not seem to
    /// change any more. Offers nothing and says so if fewer than `k` of them are alive.
    pub(crate) fn offer_best(
        &self,
        reader: Reader<'_, T, f32>,
        query: &[f32],
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
        let norm = if self.metric == Metric::Cosine { distance::norm(query) } else { 0.0 };
        let query = DenseQuery { coordinates: query, norm };
        let mut nearest = TopK::new(k);
        let mut late = 0;
        for (i, &slot) in slots.iter().enumerate() {
            let Some(row) = reader.row(slot) else { continue };
            let mut distance = [0.0];
            self.distances(&query, row, slot, &mut distance);
            let [distance] = distance;
            collector.offer(distance, slot);
            late = if i < k || distance < nearest.bound() { 0 } else { late + 1 };
            if late > late_max {
                break;
            }
            nearest.offer(distance, slot);
        }
        true
    }

    /// Offers every live row of a part.
    fn search_rows(
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
    fn compare_range(
        &self,
        reader: Reader<'_, T, f32>,
        slots: Range<usize>,
        query: &DenseQuery<'_>,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) {
        let mut distances = [0.0; BLOCK];
        let slots = slots.start as u32..u32::try_from(slots.end).unwrap_or(u32::MAX);
        for (first, rows) in reader.runs(slots) {
            let distances = &mut distances[..rows.len() / self.dimension];
            self.distances(query, rows, first, distances);
            for (&distance, slot) in distances.iter().zip(first..) {
                collector.offer(distance, slot);
            }
        }
    }

    /// The final distances of neighbouring rows, the first of which is in the slot `first`.
    fn distances(&self, query: &DenseQuery<'_>, rows: &[f32], first: u32, out: &mut [f32]) {
        let DenseQuery { coordinates, norm } = *query;
        match self.metric {
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
                    let dot = if NORMS_OF_F32.contains(&norms) {
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
