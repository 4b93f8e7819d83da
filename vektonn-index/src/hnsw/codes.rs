//! The coded rows that a graph is walked by.

use std::sync::atomic::{AtomicU32, Ordering};

use super::quantizer::Quantizer;
use crate::distance;
use crate::distance::row_codes::{LINE, Line, ROWS, RowKernel, write_codes};
use crate::store::chunks::Chunks;

/// Beyond this, scores would not fit 31 bits.
pub(super) const DIMENSION_MAX: usize = 1 << 16;
/// The largest lift: its square leaves room for a distance of codes.
const LIFT_MAX: f64 = 32_767.0;
const SCORE_MAX: u32 = (1 << 31) - 1;

/// Codes by slot, all made by one quantizer.
///
/// A slot's codes are written before anything links to it. A search that began before codes were made anew goes on with
/// the old ones, which do not know what came later: it must not look beyond [`end`](Self::end) as it was when it
/// began.
pub(super) struct Codes {
    pub(super) quantizer: Quantizer,
    rows: Chunks<Line>,
    lines_per_row: usize,
    lifts: Option<Lifts>,
    end: AtomicU32,
}

/// One more coordinate, that makes all vectors equally long: then the nearest ones have the greatest inner products
/// (Bachrach et al., "Speeding up the Xbox recommender system", RecSys 2014). Searches do not need it, since a query's is 0.
struct Lifts {
    norm_max: f64,
    values: Chunks<AtomicU32>,
}

impl Codes {
    /// No codes yet. With `norm_max`, for inner products of vectors up to this norm.
    pub(super) fn new(quantizer: Quantizer, dimension: usize, norm_max: Option<f64>) -> Self {
        Self {
            quantizer,
            rows: Chunks::new(dimension.div_ceil(LINE)),
            lines_per_row: dimension.div_ceil(LINE),
            lifts: norm_max.map(|norm_max| Lifts { norm_max, values: Chunks::new(1) }),
            end: AtomicU32::new(0),
        }
    }

    /// Slots from this one on have no codes.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(super) fn lines_per_row(&self) -> usize {
        self.lines_per_row
    }

    /// The codes of a slot below [`end`](Self::end).
    #[inline(always)]
    pub(super) fn row(&self, slot: u32) -> &[Line] {
        self.rows.get(slot)
    }

    /// Codes a vector times `factor` for a slot that nobody can reach; returns what is lost as
    /// [`Quantizer::encode`] does.
    pub(super) fn write(&self, slot: u32, row: &[f32], factor: f64) -> f64 {
        let mut codes = vec![0; row.len()];
        let error = self.quantizer.encode(row, factor, &mut codes);
        self.rows.reserve_zeroed(slot);
        write_codes(&codes, self.row(slot));
        if let Some(lifts) = &self.lifts {
            lifts.values.reserve_zeroed(slot);
            let norm = distance::norm(row);
            let lift = (lifts.norm_max * lifts.norm_max - norm * norm).max(0.0).sqrt();
            let lift = (lift * self.quantizer.inverse_step()).min(LIFT_MAX) as u32;
            lifts.values.get(slot)[0].store(lift, Ordering::Relaxed);
        }
        self.end.fetch_max(slot + 1, Ordering::Release);
        error
    }

    /// What the codes of a slot stand for.
    pub(super) fn decode(&self, slot: u32, dimension: usize) -> Vec<f32> {
        let words = self.row(slot).iter().flat_map(Line::words);
        let codes = words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        codes.take(dimension).enumerate().map(|(j, code)| self.quantizer.decode(code, j)).collect()
    }

    #[inline(always)]
    pub(super) fn lift(&self, slot: u32) -> u32 {
        self.lifts.as_ref().map_or(0, |lifts| lifts.values.get(slot)[0].load(Ordering::Relaxed))
    }

    /// The squared distance of a slot to another, of which the row and the lift are given.
    #[inline(always)]
    pub(super) fn distance(&self, kernel: impl RowKernel, slot: u32, row: &[Line], lift: u32) -> u32 {
        self.lifted(kernel.squared_l2(row, self.row(slot)), slot, lift)
    }

    /// The same of several slots, whose rows are given too.
    #[inline(always)]
    pub(super) fn distances(
        &self,
        kernel: impl RowKernel,
        slots: [u32; ROWS],
        rows: [&[Line]; ROWS],
        row: &[Line],
        lift: u32,
    ) -> [u32; ROWS] {
        let mut distances = kernel.squared_l2_of(row, rows);
        for (distance, slot) in distances.iter_mut().zip(slots) {
            *distance = self.lifted(*distance, slot, lift);
        }
        distances
    }

    /// Adds the square of what a slot's lift differs.
    #[inline(always)]
    fn lifted(&self, squared: u32, slot: u32, lift: u32) -> u32 {
        if self.lifts.is_none() {
            return squared;
        }
        let lift = lift.abs_diff(self.lift(slot));
        (squared + lift * lift).min(SCORE_MAX)
    }

    /// Bytes that each slot takes.
    pub(super) fn bytes_per_slot(&self, dimension: usize) -> usize {
        dimension.next_multiple_of(LINE) + if self.lifts.is_some() { size_of::<u32>() } else { 0 }
    }
}
