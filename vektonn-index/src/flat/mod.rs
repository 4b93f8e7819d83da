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

use crate::collector::Collector;
use crate::dense_rows::{DenseQuery, DenseRows};
use crate::distance::int8::CodeKernels;
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::Batch;
use bound::Space;
use plane::CodePlane;

/// Fewer rows are compared themselves: that takes some microseconds, and no memory for codes.
const CODED_ROWS_MIN: usize = 4096;

/// A thread has a part of an index for itself if it has at least so many coordinates: that takes it some 100 microseconds.
pub(crate) const PART_COORDINATES_MIN: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };

/// Rows of f32, with codes. `T` is what the owner keeps with each row.
pub(crate) struct FlatIndex<T> {
    rows: DenseRows<T>,
    plane: CodePlane,
}

impl<T> FlatIndex<T> {
    pub(crate) fn new(rows: DenseRows<T>) -> Self {
        Self::with_rows_min(rows, CODED_ROWS_MIN)
    }

    /// Codes only for so many rows and more.
    fn with_rows_min(rows: DenseRows<T>, rows_min: usize) -> Self {
        let kernels = CodeKernels::new(rows.kernels().instruction_set());
        let plane = CodePlane::new(kernels, Space::of(rows.metric()), rows.dimension(), rows_min);
        Self { rows, plane }
    }

    pub(crate) fn slots(&self) -> &Slots<T, f32> {
        self.rows.slots()
    }

    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, row: &[f32]) -> Result<u32, IndexFull> {
        let slot = self.rows.insert(batch, entry, row)?;
        self.plane.inserted(slot as usize, self.slots().capacity());
        Ok(slot)
    }

    /// To be called after the last change of a batch, before it is published.
    pub(crate) fn finish(&self, batch: &Batch<'_>) {
        let reader = self.slots().writer_view(batch);
        self.plane.finish(self.slots().capacity(), |slot| self.rows.row_to_code(reader, slot as u32));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.plane.bytes()
    }

    /// How many threads may search parts of the rows at the same time: handing a part over has to cost little beside it.
    pub(crate) fn parts_max(&self, reader: Reader<'_, T, f32>) -> usize {
        (reader.end() as usize).saturating_mul(self.rows.dimension()) / PART_COORDINATES_MIN
    }

    /// Offers to each query's collector the nearest live rows of a part, and some more, with their final distances. Several
    /// queries together take less time than each alone.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, f32>,
        queries: &[DenseQuery<'_>],
        options: &SearchOptions,
        part: Part,
        collectors: &mut [Collector<impl FnMut(f32, u32) -> f32>],
    ) -> Result<(), SearchError> {
        let rows = reader.end() as usize;
        if !self.plane.is_used(rows) || options.wants_many_of(rows) {
            return self.rows.search_rows(reader, queries, options, part, collectors);
        }
        // Where all rows are equally far there is nothing to exclude.
        let mut collectors = collectors;
        for queries in queries.chunk_by(|a, b| a.has_direction == b.has_direction) {
            let (these, others) = collectors.split_at_mut(queries.len());
            collectors = others;
            match queries[0].has_direction {
                true => self.search_codes(reader, queries, options, part, these)?,
                false => self.rows.search_rows(reader, queries, options, part, these)?,
            }
        }
        Ok(())
    }
}
