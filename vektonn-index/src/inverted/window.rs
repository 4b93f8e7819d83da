//! A window: up to 65,536 points with posting lists. Made at once, never changed.

use vektonn_core::Metric;

use super::drafts::{Coordinates, scratch};
use super::lists::Lists;
use super::row::SparseRow;
use crate::distance::sparse::{BLOCK, WINDOW_POINTS_MAX};
use crate::store::mapped::Memory;

/// Smaller windows are read as a whole in no time, and are made too often for an order by impact.
const POINTS_BY_IMPACT_MIN: usize = 4096;

/// Far enough for memory to answer.
const ROWS_AHEAD: usize = 8;

pub(super) struct Window {
    /// The batch in which it was made. A slot with a later birth holds another point than it did then.
    made_in: u64,
    /// The slot of each point.
    slots: Memory<u32>,
    pub(super) positive: Lists,
    pub(super) negative: Lists,
    /// The largest norm of a point, as its magnitudes have it.
    pub(super) norm_max: f64,
    /// For Jaccard, the smallest number of terms of a point in each block; empty otherwise.
    sizes_min: Box<[u32]>,
    postings: u64,
}

impl Window {
    /// A window of these points, in any order.
    ///
    /// # Panics
    /// If there are more than [`WINDOW_POINTS_MAX`].
    pub(super) fn new(metric: Metric, made_in: u64, mut points: Vec<(u32, &SparseRow)>) -> Self {
        assert!(points.len() <= WINDOW_POINTS_MAX, "a window has at most {WINDOW_POINTS_MAX} points");
        let is_jaccard = metric == Metric::JaccardBinary;
        let mut sizes_min = Vec::new();
        if is_jaccard {
            // Blocks of points of the same size have tight bounds.
            let mut by_size = scratch(points.len());
            by_size.extend(points.iter().zip(rows(&points)).map(|(&point, row)| (row.size() as u32, point)));
            by_size.sort_unstable_by_key(|&(size, (slot, _))| (size, slot));
            sizes_min.extend(by_size.chunks(BLOCK).map(|block| block[0].0));
            points = by_size.into_iter().map(|(_, point)| point).collect();
        }
        let ([positive, negative], mut norms) = coordinates_by_sign(&points, is_jaccard);
        let norm_max = match metric {
            Metric::Cosine => 1.0,
            _ => norms.iter().copied().fold(0.0, f64::max),
        };
        let factor = |norm: f64| if metric == Metric::Cosine { 1.0 / norm } else { 1.0 };
        norms.iter_mut().for_each(|norm| *norm = factor(*norm));
        let factors = norms;
        let mut slots = Memory::zeroed_apart(points.len());
        slots.iter_mut().zip(&points).for_each(|(out, &(slot, _))| *out = slot);
        // Where all impacts are 1 there is nothing to order.
        let by_impact = !is_jaccard && points.len() >= POINTS_BY_IMPACT_MIN;
        Self {
            made_in,
            positive: Lists::new(positive, &factors, is_jaccard, by_impact),
            negative: Lists::new(negative, &factors, is_jaccard, by_impact),
            norm_max,
            sizes_min: sizes_min.into(),
            postings: points.iter().map(|(_, row)| row.len() as u64).sum(),
            slots,
        }
    }

    /// The slots of its points.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The batch after which a slot of it may hold another point.
    pub(super) fn made_in(&self) -> u64 {
        self.made_in
    }

    /// For Jaccard, the smallest number of terms of a point in the block; 0 otherwise.
    pub(super) fn size_min(&self, block: usize) -> u32 {
        self.sizes_min.get(block).copied().unwrap_or_default()
    }

    /// How many postings it has, or a few more.
    pub(super) fn postings(&self) -> u64 {
        self.postings
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.slots)
            + size_of_val(&*self.sizes_min)
            + self.positive.bytes()
            + self.negative.bytes()
    }
}

/// The rows of points. Each one is somewhere else, so some are asked for ahead.
fn rows<'p>(points: &'p [(u32, &'p SparseRow)]) -> impl Iterator<Item = &'p SparseRow> {
    points.iter().enumerate().map(|(i, (_, row))| {
        if let Some((_, ahead)) = points.get(i + ROWS_AHEAD) {
            ahead.prefetch();
        }
        *row
    })
}

/// The coordinates above and below zero, all of them in the first place, as 1, if they are only counted; and the norms.
fn coordinates_by_sign(points: &[(u32, &SparseRow)], are_counted: bool) -> ([Coordinates; 2], Vec<f64>) {
    let coordinates = rows(points).map(SparseRow::len).sum();
    let [mut positive, mut negative] = [0, 1].map(|_| Coordinates::with_room(coordinates, points.len()));
    let mut norms = scratch(points.len());
    for row in rows(points) {
        let mut squares = 0.0;
        for (term, value) in row.non_zeros() {
            let of_sign = if value > 0.0 || are_counted { &mut positive } else { &mut negative };
            of_sign.terms.push(term);
            of_sign.magnitudes.push(if are_counted { 1.0 } else { value.abs() });
            squares += f64::from(value) * f64::from(value);
        }
        norms.push(squares.sqrt());
        positive.ends.push(positive.terms.len());
        negative.ends.push(negative.terms.len());
    }
    ([positive, negative], norms)
}
