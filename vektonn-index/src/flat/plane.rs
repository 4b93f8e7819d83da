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
use super::codes::{CHUNK, ChunkCodes, Room, Row, usual};
use super::ranges::{Ranges, SAMPLE};
use crate::distance::int8::CodeKernels;
use crate::store::chunks::Chunks;
use crate::sync::{AtomicU64, Ordering};

/// The codes of a chunk are copied when new rows are coded, about so many bytes for each of them: where a chunk has more, rows
/// wait until there are a few. More of them would make searches slow, which have to fetch them themselves, often from another core's cache.
const COPIED_PER_ROW: usize = 64 * 1024;
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
    writing: Mutex<Writing>,
}

/// Only for writers.
#[derive(Default)]
struct Writing {
    /// What new chunks are coded with; nothing while there are no codes.
    ranges: Option<Arc<Ranges>>,
    /// The number of slots when ranges for all of them were last fitted.
    slots_fitted: usize,
    /// The chunks that the batch has put rows into.
    touched: Vec<usize>,
    /// Chunks that were replaced while searches may have read them. The next ones are made in their memory.
    replaced: Vec<Arc<ChunkCodes>>,
}

impl Writing {
    /// Memory for a chunk. Searches leave theirs to us, whose thread would not get back what another one frees.
    fn room(&mut self) -> Room {
        let unread = self.replaced.iter().position(|chunk| Arc::strong_count(chunk) == 1);
        let chunk = unread.and_then(|i| Arc::into_inner(self.replaced.swap_remove(i)));
        chunk.map_or_else(Room::default, ChunkCodes::into_room)
    }
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
            writing: Mutex::default(),
        }
    }

    pub(super) fn kernels(&self) -> CodeKernels {
        self.kernels
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

    /// Bytes in use: those of all chunks, and the room for one more.
    pub(super) fn bytes(&self) -> usize {
        match self.reserved.load(Ordering::Relaxed) as usize {
            0 => 0,
            chunks => (chunks + 1) * ChunkCodes::bytes(self.dimension),
        }
    }

    /// A row was put into `slot`, but is not visible to searches yet. `slots` were ever used.
    pub(super) fn inserted(&self, slot: usize, slots: usize) {
        if !self.is_used(slots) {
            return;
        }
        let i = slot / CHUNK;
        if let Some(Some(chunk)) = self.chunk(i).as_deref() {
            chunk.forget(slot % CHUNK);
        }
        let touched = &mut self.writing.lock().touched;
        if touched.last() != Some(&i) {
            touched.push(i);
        }
    }

    /// Codes the rows that wait for it, where there are enough of them, before the batch is published that put the last of
    /// them there. `row` gives the row of each slot that is alive, and what it is multiplied with before.
    pub(super) fn finish<'r>(&self, slots: usize, row: impl RowOf<'r>) {
        let mut writing = self.writing.lock();
        if writing.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut writing.touched);
        self.reserve(slots.div_ceil(CHUNK));
        let mut waiting_min = (ChunkCodes::bytes(self.dimension) / COPIED_PER_ROW).max(1);
        if slots >= 2 * writing.slots_fitted {
            writing.slots_fitted = slots;
            let fitted = self.fit(0..slots, &row);
            match &writing.ranges {
                Some(current) if fitted.error * BETTER >= current.error => {}
                Some(_) => writing.ranges = Some(Arc::new(fitted)),
                None => {
                    writing.ranges = Some(Arc::new(fitted));
                    touched = (0..slots.div_ceil(CHUNK)).collect();
                    waiting_min = 1;
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for &i in &touched {
            self.code_waiting(i, slots, waiting_min, &mut writing, &row);
        }
        touched.clear();
        writing.touched = touched;
    }

    /// Replaces a chunk if so many of its rows wait for codes.
    fn code_waiting<'r>(
        &self,
        i: usize,
        slots: usize,
        waiting_min: usize,
        writing: &mut Writing,
        row: &impl RowOf<'r>,
    ) {
        let place = &self.chunks.get(i as u32)[0];
        let old = place.load_full();
        let waiting = slots.min((i + 1) * CHUNK) - i * CHUNK;
        let waiting = old.as_ref().map_or(waiting, |old| old.forgotten(waiting));
        if waiting < waiting_min {
            return;
        }
        let chunk = self.coded(i, old.as_deref(), slots, writing, row);
        drop(old);
        writing.replaced.extend(place.swap(Some(Arc::new(chunk))));
    }

    /// Codes the waiting rows of a chunk; all of its rows, with new ranges, if the errors have become too large.
    fn coded<'r>(
        &self,
        i: usize,
        old: Option<&ChunkCodes>,
        slots: usize,
        writing: &mut Writing,
        row: &impl RowOf<'r>,
    ) -> ChunkCodes {
        let used = slots.min((i + 1) * CHUNK) - i * CHUNK;
        let room = writing.room();
        let (mut chunk, mut errors) = match (old, &writing.ranges) {
            (Some(old), _) => {
                let waiting = old.uncoded().take_while(|&place| place < used);
                let rows = rows_at(waiting, i, row);
                ChunkCodes::new(room, Some(old), &old.ranges, self.space, used, rows)
            }
            (None, Some(current)) => self.coded_anew(room, i, slots, current, row),
            (None, None) => unreachable!("ranges are fitted before anything is coded"),
        };
        let mut error = usual(&mut errors);
        if let Some(old) = old
            && error > chunk.error * DRIFT
        {
            // A few rows tell little: only if the whole chunk has become worse it is worth the trouble.
            errors.extend(old.errors());
            error = usual(&mut errors);
        }
        if error > chunk.error * DRIFT {
            // Ranges that suit all rows are better than some of its own for each chunk.
            let neighbours = if used < CHUNK / 2 { i.saturating_sub(1) * CHUNK } else { i * CHUNK };
            let better = [0..slots, neighbours..i * CHUNK + used].into_iter().find_map(|slots| {
                let fitted = Arc::new(self.fit(slots.clone(), row));
                let (chunk, mut errors) = self.coded_anew(Room::default(), i, slots.end, &fitted, row);
                (usual(&mut errors) * DRIFT < error).then_some((chunk, fitted))
            });
            match better {
                Some((better, fitted)) => (chunk, writing.ranges) = (better, Some(fitted)),
                // It cannot be helped: do not try again until it is worse.
                None => chunk.error = error,
            }
        }
        chunk
    }

    fn coded_anew<'r>(
        &self,
        room: Room,
        i: usize,
        slots: usize,
        ranges: &Arc<Ranges>,
        row: &impl RowOf<'r>,
    ) -> (ChunkCodes, Vec<f64>) {
        let used = slots.min((i + 1) * CHUNK) - i * CHUNK;
        ChunkCodes::new(room, None, ranges, self.space, used, rows_at(0..used, i, row))
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
}

/// The rows in some places of the chunk `i`.
fn rows_at<'r>(
    places: impl Iterator<Item = usize>,
    i: usize,
    row: &impl RowOf<'r>,
) -> impl Iterator<Item = Row<'r>> {
    places.filter_map(move |place| row(i * CHUNK + place).map(|(row, factor)| (place, row, factor)))
}
