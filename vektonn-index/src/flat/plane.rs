//! The code plane: a second, four times smaller copy of the rows, kept up to date by writers.
//!
//! Codes are made for many rows at once, some time after the rows: a chunk of codes is never changed, but replaced
//! by one that has more. What has no codes yet is compared itself. So a search that has pinned its batch may read
//! whatever chunk it finds:
//!
//! - Where the chunk says that a row is coded and the search sees the slot, the codes are those of the row that it
//!   sees. For when a slot is used again, the chunk of that moment is told (`ChunkCodes::forget`) before the new row
//!   is published, and later chunks either code the new row or go on saying that it is not coded; and a slot that the
//!   search sees is not used again before it ends.
//! - What it does not see it must not use, coded or not.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;

use super::bound::Space;
use super::codes::{CHUNK, ChunkCodes, Row};
use super::ranges::{Ranges, SAMPLE};
use crate::distance::int8::CodeKernels;
use crate::store::chunks::Chunks;
use crate::sync::{AtomicU64, Ordering};

/// Rows that are coded together, once so many wait for it in one chunk.
const WAITING_MAX: usize = 32;
/// Ranges are fitted anew if the errors of rows exceed what was good enough by this factor, and exchanged if that makes
/// them smaller by the same. Queries are coded for each of the ranges, so there should be few.
const DRIFT: f64 = 1.5;
/// When there are twice as many rows, the ranges are exchanged if that makes errors smaller by this factor.
const BETTER: f64 = 1.25;
/// The 32-bit dot products of codes have room for more, but f32 scores would lose their precision.
const DIMENSION_MAX: usize = 1 << 16;

pub(super) struct CodePlane {
    kernels: CodeKernels,
    space: Space,
    dimension: usize,
    /// No codes for fewer rows.
    rows_min: usize,
    chunks: Chunks<ArcSwapOption<ChunkCodes>>,
    /// There is room for so many chunks.
    reserved: AtomicU64,
    /// What new chunks are coded with; nothing while there are no codes. Only for writers.
    ranges: Mutex<Option<Arc<Ranges>>>,
    bytes: AtomicU64,
}

/// What is in a slot, if anything is.
pub(super) trait RowOf<'r>: Fn(usize) -> Option<(&'r [f32], f64)> {}
impl<'r, F: Fn(usize) -> Option<(&'r [f32], f64)>> RowOf<'r> for F {}

impl CodePlane {
    pub(super) fn new(kernels: CodeKernels, space: Space, dimension: usize, rows_min: usize) -> Self {
        let rows_min = if dimension <= DIMENSION_MAX { rows_min } else { usize::MAX };
        Self {
            kernels,
            space,
            dimension,
            rows_min,
            chunks: Chunks::new(1),
            reserved: AtomicU64::new(0),
            ranges: Mutex::default(),
            bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn space(&self) -> Space {
        self.space
    }

    /// Whether an index of so many slots has codes.
    pub(super) fn is_used(&self, slots: usize) -> bool {
        slots >= self.rows_min
    }

    /// The codes of the chunk `i`, if there are any.
    pub(super) fn chunk(&self, i: usize) -> Option<Guard<Option<Arc<ChunkCodes>>>> {
        (i < self.reserved.load(Ordering::Acquire) as usize).then(|| self.chunks.get(i as u32)[0].load())
    }

    fn reserve(&self, chunks: usize) {
        for i in self.reserved.load(Ordering::Relaxed) as usize..chunks {
            self.chunks.reserve(i as u32, |n| (0..n).map(|_| ArcSwapOption::empty()).collect());
        }
        self.reserved.fetch_max(chunks as u64, Ordering::Release);
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) as usize
    }

    /// A row was put into `slot`, but is not visible to searches yet. `slots` were ever used; `row` gives the row of
    /// each that is alive, with its factor (see [`Space::factor`]).
    pub(super) fn inserted<'r>(&self, slot: usize, slots: usize, row: impl RowOf<'r>) {
        if !self.is_used(slots) {
            return;
        }
        let mut ranges = self.ranges.lock();
        self.reserve(slots.div_ceil(CHUNK));
        let Some(current) = &*ranges else {
            let fitted = Arc::new(self.fit(0..slots, &row));
            for i in 0..slots.div_ceil(CHUNK) {
                self.put(i, self.coded_anew(i, slots, &fitted, &row).0);
            }
            *ranges = Some(fitted);
            return;
        };
        // Twice as many as when this was last done: the ranges should know all of them.
        if slot + 1 == slots && slots.is_power_of_two() {
            let fitted = self.fit(0..slots, &row);
            if fitted.error * BETTER < current.error {
                *ranges = Some(Arc::new(fitted));
            }
        }
        let i = slot / CHUNK;
        let old = self.chunks.get(i as u32)[0].load_full();
        let waiting = match &old {
            Some(old) => {
                old.forget(slot % CHUNK);
                old.forgotten(slots - i * CHUNK)
            }
            None => slots - i * CHUNK,
        };
        if waiting >= WAITING_MAX
            && let Some(current) = &mut *ranges
        {
            self.put(i, self.coded(i, old.as_deref(), slots, current, &row));
        }
    }

    /// Codes the waiting rows of a chunk; all of its rows, with new ranges, if the errors have become too large.
    fn coded<'r>(
        &self,
        i: usize,
        old: Option<&ChunkCodes>,
        slots: usize,
        current: &mut Arc<Ranges>,
        row: &impl RowOf<'r>,
    ) -> ChunkCodes {
        let used = slots.min((i + 1) * CHUNK) - i * CHUNK;
        let (mut chunk, error) = match old {
            Some(old) => {
                let waiting = old.uncoded().take_while(|&place| place < used);
                let rows = rows_at(waiting, i, row);
                ChunkCodes::new(Some(old), &old.ranges, self.space, used, rows)
            }
            None => self.coded_anew(i, slots, current, row),
        };
        if error > chunk.error * DRIFT {
            // Ranges that suit all rows are better than some of its own for each chunk.
            let neighbours = if used < CHUNK / 2 { i.saturating_sub(1) * CHUNK } else { i * CHUNK };
            let better = [0..slots, neighbours..i * CHUNK + used].into_iter().find_map(|slots| {
                let fitted = Arc::new(self.fit(slots.clone(), row));
                let (chunk, error_now) = self.coded_anew(i, slots.end, &fitted, row);
                (error_now * DRIFT < error).then_some((chunk, fitted))
            });
            match better {
                Some((better, fitted)) => (chunk, *current) = (better, fitted),
                // It cannot be helped: do not try again until it is worse.
                None => chunk.error = error,
            }
        }
        chunk
    }

    fn coded_anew<'r>(
        &self,
        i: usize,
        slots: usize,
        ranges: &Arc<Ranges>,
        row: &impl RowOf<'r>,
    ) -> (ChunkCodes, f64) {
        let used = slots.min((i + 1) * CHUNK) - i * CHUNK;
        ChunkCodes::new(None, ranges, self.space, used, rows_at(0..used, i, row))
    }

    /// Ranges for the rows in these slots, by a sample of them.
    fn fit<'r>(&self, slots: Range<usize>, row: &impl RowOf<'r>) -> Ranges {
        let step = slots.len().div_ceil(SAMPLE).max(1);
        let mut sample: Vec<Vec<f32>> = slots
            .step_by(step)
            .filter_map(row)
            .map(|(row, factor)| row.iter().map(|&x| (f64::from(x) * factor) as f32).collect())
            .collect();
        if sample.is_empty() {
            // All of them have died. What comes next will soon be found to need other ranges.
            sample.push(vec![0.0; self.dimension]);
        }
        Ranges::fit(self.kernels, &sample, self.dimension, self.space.is_unit())
    }

    fn put(&self, i: usize, chunk: ChunkCodes) {
        let bytes = chunk.bytes() as u64;
        let old = self.chunks.get(i as u32)[0].swap(Some(Arc::new(chunk)));
        let old = old.map_or(0, |old| old.bytes() as u64);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes - old, Ordering::Relaxed);
    }
}

/// The rows in some places of the chunk `i`.
fn rows_at<'r>(
    places: impl Iterator<Item = usize>,
    i: usize,
    row: &impl RowOf<'r>,
) -> impl Iterator<Item = Row<'r>> {
    places.filter_map(move |place| row(i * CHUNK + place).map(|(row, factor)| (place, row, factor)))
}
