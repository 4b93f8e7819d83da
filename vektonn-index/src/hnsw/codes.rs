//! The coded rows that a graph is walked by.

use std::sync::atomic::{AtomicU32, Ordering};

use super::quantizer::Quantizer;
use crate::distance;
use crate::distance::row_codes::{LINE, Line, ROWS, RowKernel, Width, write_bytes};
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
    pub(super) fn new(quantizer: Quantizer, norm_max: Option<f64>) -> Self {
        let lines_per_row = quantizer.width.lines(quantizer.dimension());
        Self {
            quantizer,
            rows: Chunks::new(lines_per_row),
            lines_per_row,
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

    /// The codes of a slot that there is room for.
    #[inline(always)]
    pub(super) fn row(&self, slot: u32) -> &[Line] {
        self.rows.get(slot)
    }

    /// Makes room for a slot. Only for the writer.
    pub(super) fn reserve(&self, slot: u32) {
        self.rows.reserve_zeroed(slot);
        if let Some(lifts) = &self.lifts {
            lifts.values.reserve_zeroed(slot);
        }
    }

    /// Puts the codes of a query into lines.
    pub(super) fn write_query(&self, codes: &[u8], lines: &mut Vec<Line>) {
        lines.resize_with(self.quantizer.width.query_lines(codes.len()), Line::default);
        write_bytes(codes, lines);
    }

    /// Codes a vector times `factor` for a slot that nobody can reach, and that there is room for; returns what is lost as
    /// [`Quantizer::encode`] does.
    pub(super) fn write(&self, slot: u32, row: &[f32], factor: f64) -> f64 {
        let mut codes = Vec::new();
        let lost = self.quantizer.encode(row, factor, &mut Vec::new(), &mut codes);
        self.quantizer.width.write_row(&codes, self.row(slot));
        let (squared_lift, too_long) = self.squared_lift(row);
        if let Some(lifts) = &self.lifts {
            let lift = (squared_lift.sqrt() * self.quantizer.inverse_step()).min(LIFT_MAX) as u32;
            lifts.values.get(slot)[0].store(lift, Ordering::Relaxed);
        }
        self.end.fetch_max(slot + 1, Ordering::Release);
        lost + too_long
    }

    /// What [`write`](Self::write) would lose.
    pub(super) fn lost(&self, row: &[f32], factor: f64) -> f64 {
        self.quantizer.encode(row, factor, &mut Vec::new(), &mut Vec::new()) + self.squared_lift(row).1
    }

    /// The square of a vector's lift; and by how much that of its norm exceeds all before, which leaves no room for one.
    fn squared_lift(&self, row: &[f32]) -> (f64, f64) {
        let Some(lifts) = &self.lifts else { return (0.0, 0.0) };
        let norm = distance::norm(row);
        let squared = lifts.norm_max * lifts.norm_max - norm * norm;
        (squared.max(0.0), (-squared).max(0.0))
    }

    /// What the codes of a slot stand for.
    pub(super) fn decode(&self, slot: u32) -> Vec<f32> {
        self.quantizer.decode(self.quantizer.width.read_row(self.row(slot)))
    }

    #[inline(always)]
    pub(super) fn lift(&self, slot: u32) -> u32 {
        self.lifts.as_ref().map_or(0, |lifts| lifts.values.get(slot)[0].load(Ordering::Relaxed))
    }

    /// The squared distances of a coded query to rows.
    #[inline(always)]
    pub(super) fn distances_to(
        &self,
        kernel: impl RowKernel,
        query: &[Line],
        rows: [&[Line]; ROWS],
    ) -> [u32; ROWS] {
        match self.quantizer.width {
            Width::Byte => kernel.squared_l2_of::<false>(query, rows),
            Width::Nibble => kernel.squared_l2_of::<true>(query, rows),
        }
    }

    /// The inner products of a coded query with rows.
    #[inline(always)]
    pub(super) fn products_with(
        &self,
        kernel: impl RowKernel,
        query: &[Line],
        rows: [&[Line]; ROWS],
    ) -> [i32; ROWS] {
        match self.quantizer.width {
            Width::Byte => kernel.dot_of::<false>(query, rows),
            Width::Nibble => kernel.dot_of::<true>(query, rows),
        }
    }

    /// The squared distances of slots, whose rows are given too, to another, of which the row and the lift are given.
    #[inline(always)]
    pub(super) fn distances(
        &self,
        kernel: impl RowKernel,
        slots: [u32; ROWS],
        rows: [&[Line]; ROWS],
        row: &[Line],
        lift: u32,
    ) -> [u32; ROWS] {
        let mut distances = match self.quantizer.width {
            Width::Byte => kernel.squared_l2_among::<false>(row, rows),
            Width::Nibble => kernel.squared_l2_among::<true>(row, rows),
        };
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
    pub(super) fn bytes_per_slot(&self) -> usize {
        self.lines_per_row * LINE + if self.lifts.is_some() { size_of::<u32>() } else { 0 }
    }
}
