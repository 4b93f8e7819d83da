//! Exact sparse search: every live row is compared.
//!
//! Rows are kept forward, each with its own indices and values. The query is spread out once, so that comparing a
//! row is one look-up per coordinate of the row.

mod convert;
mod query;
#[cfg(test)]
mod tests;

use std::mem::size_of_val;
use std::sync::Arc;

use vektonn_core::{Metric, SparseVector};

use crate::collector::Collector;
use crate::distance;
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::{Batch, Timeline};
use crate::sync::{AtomicU64, Ordering};

pub use convert::sparse_from_sprs;
pub(crate) use query::SparseQuery;

/// Rows scanned between two looks at the clock.
const ROWS_PER_DEADLINE_CHECK: u32 = 4096;

/// A stored sparse vector.
pub(crate) struct SparseRow {
    vector: SparseVector,
    norm: f64,
    non_zeros: usize,
}

impl SparseRow {
    pub(crate) fn new(vector: SparseVector) -> Self {
        let (norm, non_zeros) = (distance::norm(vector.values()), query::count_non_zeros(vector.values()));
        Self { vector, norm, non_zeros }
    }

    pub(crate) fn to_vector(&self) -> SparseVector {
        self.vector.clone()
    }

    /// Bytes on the heap.
    fn bytes(&self) -> usize {
        size_of_val(self.vector.indices()) + size_of_val(self.vector.values())
    }
}

/// Sparse rows, scanned one by one. `T` is what the owner keeps with each row.
pub(crate) struct InvertedIndex<T> {
    metric: Metric,
    slots: Slots<T, SparseRow>,
    /// Bytes on the heap of all live rows.
    row_bytes: AtomicU64,
}

impl<T> InvertedIndex<T> {
    pub(crate) fn new(metric: Metric, timeline: Arc<Timeline>) -> Self {
        Self { metric, slots: Slots::new(timeline, 1), row_bytes: AtomicU64::new(0) }
    }

    pub(crate) fn slots(&self) -> &Slots<T, SparseRow> {
        &self.slots
    }

    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, vector: SparseVector) -> Result<u32, IndexFull> {
        let row = SparseRow::new(vector);
        let bytes = row.bytes() as u64;
        let slot = self.slots.insert(batch, entry, std::iter::once(row))?;
        self.row_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(slot)
    }

    /// Ends the life of a slot that is alive in this batch.
    pub(crate) fn remove(&self, batch: &Batch<'_>, slot: u32) {
        if let Some([row]) = self.slots.writer_view(batch).row(slot) {
            self.row_bytes.fetch_sub(row.bytes() as u64, Ordering::Relaxed);
        }
        self.slots.remove(batch, slot);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * self.slots.bytes_per_slot() + self.row_bytes.load(Ordering::Relaxed) as usize
    }

    /// Offers every live row with its final distance.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, SparseRow>,
        query: &SparseVector,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        let query = SparseQuery::new(self.metric, query);
        for first in (0..reader.end()).step_by(ROWS_PER_DEADLINE_CHECK as usize) {
            options.check_deadline()?;
            for (first, rows) in reader.runs(first..first.saturating_add(ROWS_PER_DEADLINE_CHECK)) {
                for (row, slot) in rows.iter().zip(first..) {
                    collector.offer(query.distance(row), slot);
                }
            }
        }
        Ok(())
    }
}
