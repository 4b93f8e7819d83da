//! Which candidates become neighbours.

use super::codes::Codes;
use super::pool::Candidate;
use crate::distance::row_codes::RowKernel;

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
        if selected.len() == degree {
            return;
        }
        let (row, lift) = (codes.row(candidate.slot()), codes.lift(candidate.slot()));
        let distance = candidate.score() as f32;
        // A loop, since a closure would have to be compiled for the instruction set.
        for &neighbor in &*selected {
            if codes.distance(kernel, neighbor, row, lift) as f32 * ALPHA <= distance {
                continue 'candidates;
            }
        }
        selected.push(candidate.slot());
    }
}
