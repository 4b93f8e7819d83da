//! Which candidates become neighbours.

use super::codes::Codes;
use super::pool::Candidate;
use crate::distance::row_codes::{ROWS, RowKernel};

/// A candidate is left out if a neighbour is nearer to it than it is to the point, by this factor of their squared
/// distances. Above 1, so that some longer links remain: they shorten the way through the graph.
const ALPHA: f32 = 1.1;

/// Adds to the neighbours of a point, up to `degree`, from candidates, given nearest first: RobustPrune of Subramanya et al.,
/// "DiskANN" (NeurIPS 2019), algorithm 2; with an alpha of 1 it is SELECT-NEIGHBORS-HEURISTIC of HNSW.
#[inline(always)]
pub(super) fn select_neighbors(
    codes: &Codes,
    kernel: impl RowKernel,
    candidates: &[Candidate],
    degree: usize,
    selected: &mut Vec<u32>,
) {
    'candidates: for candidate in candidates {
        if selected.len() >= degree {
            return;
        }
        let (row, lift) = (codes.row(candidate.slot()), codes.lift(candidate.slot()));
        let distance = candidate.score() as f32;
        // Loops, since a closure would have to be compiled for the instruction set.
        for some in selected.chunks(ROWS) {
            // The last ones are compared with copies of the first.
            let slots = [some[0], some[1 % some.len()], some[2 % some.len()], some[3 % some.len()]];
            let [a, b, c, d] = slots;
            let rows = [codes.row(a), codes.row(b), codes.row(c), codes.row(d)];
            let [a, b, c, d] = codes.distances(kernel, slots, rows, row, lift);
            // One branch for all: nobody can foresee it.
            if a.min(b).min(c.min(d)) as f32 * ALPHA <= distance {
                continue 'candidates;
            }
        }
        selected.push(candidate.slot());
    }
}
