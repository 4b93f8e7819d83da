//! Sparse search: windows of points with posting lists of 8-bit impacts.
//!
//! A search adds up, for all points of a window, an upper bound of each one's similarity (`plan.rs`), and compares
//! those rows that it does not exclude. The answer is that of comparing all rows, to the bit; docs/sparse-search.md
//! derives the bound. New points are compared until they make a window (`windows.rs`).

mod approximate;
mod convert;
mod drafts;
mod lists;
mod plan;
mod query;
mod row;
mod search;
mod terms;
#[cfg(all(test, not(loom)))]
mod tests;
mod window;
mod windows;

use std::sync::Arc;

use vektonn_core::{Metric, SparseVector};

use crate::collector::Collector;
use crate::distance::InstructionSet;
use crate::distance::sparse::SparseKernels;
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::{Batch, Timeline};
use crate::sync::{AtomicU64, Ordering};

pub use convert::{sparse_from_sprs, sparse_to_sprs};
pub(crate) use query::SparseQuery;
pub(crate) use row::SparseRow;
use windows::Windows;

/// Rows scanned between two looks at the clock.
const ROWS_PER_DEADLINE_CHECK: u32 = 4096;

/// The share of approximate indexes: it finds most neighbours in text.
const APPROXIMATION: f32 = 0.7;

/// Sparse rows with windows. `T` is what the owner keeps with each row.
pub(crate) struct InvertedIndex<T> {
    metric: Metric,
    kernels: SparseKernels,
    /// For searches that ask for none.
    approximation: Option<f32>,
    slots: Slots<T, SparseRow>,
    windows: Windows,
    /// Bytes on the heap of all live rows.
    row_bytes: AtomicU64,
}

impl<T> InvertedIndex<T> {
    /// An empty index, whose searches are approximate unless they ask to be exact, or the reverse.
    pub(crate) fn new(
        metric: Metric,
        approximate: bool,
        instruction_set: InstructionSet,
        timeline: Arc<Timeline>,
    ) -> Self {
        Self {
            metric,
            approximation: approximate.then_some(APPROXIMATION),
            kernels: SparseKernels::new(instruction_set),
            slots: Slots::new(timeline, 1),
            windows: Windows::new(metric),
            row_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn slots(&self) -> &Slots<T, SparseRow> {
        &self.slots
    }

    pub(crate) fn insert(
        &self,
        batch: &Batch<'_>,
        entry: T,
        vector: &SparseVector,
    ) -> Result<u32, IndexFull> {
        let row = SparseRow::new(vector);
        let bytes = row.bytes() as u64;
        let slot = self.slots.insert(batch, entry, std::iter::once(row))?;
        self.row_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.windows.inserted(batch, &self.slots, slot);
        Ok(slot)
    }

    /// Ends the life of a slot that is alive in this batch.
    pub(crate) fn remove(&self, batch: &Batch<'_>, slot: u32) {
        if let Some([row]) = self.slots.writer_view(batch).row(slot) {
            self.row_bytes.fetch_sub(row.bytes() as u64, Ordering::Relaxed);
        }
        self.slots.remove(batch, slot);
        self.windows.removed(batch, &self.slots, slot);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes() + self.row_bytes.load(Ordering::Relaxed) as usize + self.windows.bytes()
    }

    /// Offers the nearest live rows, and some more, with their final distances.
    pub(crate) fn search_into(
        &self,
        reader: Reader<'_, T, SparseRow>,
        query: &SparseVector,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        let query = SparseQuery::new(self.metric, query);
        if collector.bound() == f32::NEG_INFINITY {
            // No neighbour is asked for.
            return Ok(());
        }
        // The zero vector is equally far from everything: there is nothing to exclude.
        if !(1..=plan::TERMS_MAX).contains(&query.len()) || options.wants_many_of(reader.end() as usize) {
            return self.search_rows(reader, &query, options, collector);
        }
        self.search_windows(reader, &query, options, collector)
    }

    /// Offers every live row.
    fn search_rows(
        &self,
        reader: Reader<'_, T, SparseRow>,
        query: &SparseQuery<'_>,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        let same = query.distance_to_all();
        for first in (0..reader.end()).step_by(ROWS_PER_DEADLINE_CHECK as usize) {
            options.check_deadline()?;
            for (first, rows) in reader.runs(first..first.saturating_add(ROWS_PER_DEADLINE_CHECK)) {
                for (row, slot) in rows.iter().zip(first..) {
                    collector.offer(same.unwrap_or_else(|| query.distance(row)), slot);
                }
            }
        }
        Ok(())
    }
}
