//! The approximate search in windows: the points that look the nearest by the postings that matter the most.

use super::InvertedIndex;
use super::plan::{Plan, Weights};
use super::row::SparseRow;
use super::search::{Scratch, add_long, add_short};
use super::window::Window;
use super::windows::Layout;
use crate::distance::sparse::BLOCK;
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::Reader;

/// So many rows are compared for each neighbour that is asked for.
const CANDIDATES_PER_NEIGHBOUR: usize = 4;

/// If more postings than these were added, it is faster to look at all points than at theirs.
const POSTINGS_MAX: usize = 1500;

/// The points that look the nearest so far.
struct Candidates {
    wanted: usize,
    found: Vec<Candidate>,
    /// Those that look farther are not wanted any more.
    bound: f32,
}

#[derive(Clone, Copy)]
struct Candidate {
    /// The distance, if nothing counts but what was added up.
    estimate: f32,
    window: u32,
    point: u16,
}

impl<T> InvertedIndex<T> {
    /// The points, alive, that look the nearest by what makes up `share` of all that could be added.
    pub(super) fn candidates<'r>(
        &self,
        reader: Reader<'r, T, SparseRow>,
        layout: &Layout,
        weights: &Weights,
        share: f32,
        options: &SearchOptions,
        scratch: &mut Scratch,
    ) -> Result<Vec<(u32, &'r SparseRow)>, SearchError> {
        let wanted = options.k.saturating_mul(CANDIDATES_PER_NEIGHBOUR);
        let mut candidates = Candidates { wanted, found: Vec::new(), bound: f32::INFINITY };
        for (window, number) in layout.windows.iter().zip(0..) {
            options.check_deadline()?;
            let plan = Plan::new(weights, window, Some(share.into()));
            add_short(&plan, scratch);
            let postings: usize = plan.short_plus.iter().map(|(postings, _)| postings.len()).sum();
            if plan.long.plus.is_empty() && plan.bias == 0 && postings < POSTINGS_MAX {
                candidates.take_touched(&plan, number, scratch);
            } else {
                add_long(self.kernels, window, &plan, scratch);
                candidates.take(&plan, window, number, scratch);
                scratch.clear();
            }
            candidates.drop_unwanted();
        }
        let row_of = |&Candidate { window, point, .. }: &Candidate| {
            let window = &layout.windows[window as usize];
            let slot = window.slots()[usize::from(point)];
            let [row] = reader.row_born_by(slot, window.made_in())? else { return None };
            row.prefetch();
            Some((slot, row))
        };
        Ok(candidates.found.iter().filter_map(row_of).collect())
    }
}

impl Candidates {
    /// Takes of a window the points that something was added to, and makes all sums zero.
    fn take_touched(&mut self, plan: &Plan<'_>, window: u32, scratch: &mut Scratch) {
        // No block asks for less than the first one.
        let at_least = plan.at_least(self.bound, 0).max(1);
        for &point in plan.short_plus.iter().flat_map(|(postings, _)| postings.points) {
            let sum = std::mem::take(&mut scratch.sums[usize::from(point)]);
            if u32::from(sum) >= at_least {
                let estimate = plan.estimate(sum, usize::from(point) / BLOCK);
                self.found.push(Candidate { estimate, window, point });
            }
        }
    }

    /// Takes of a window the points that have something of the query and are not farther than the bound.
    fn take(&mut self, plan: &Plan<'_>, window: &Window, number: u32, scratch: &Scratch) {
        if self.bound == f32::INFINITY {
            self.bound = bound_of(plan, &scratch.maxima, self.wanted);
        }
        let something = u32::from(plan.bias) + 1;
        let whole = plan.at_least(self.bound, 0).max(something);
        for (block, &largest) in scratch.maxima.iter().enumerate() {
            if u32::from(largest) < whole {
                continue;
            }
            let at_least = plan.at_least(self.bound, block).max(something);
            let points = block * BLOCK..window.slots().len().min((block + 1) * BLOCK);
            for (&sum, point) in scratch.sums[points.clone()].iter().zip(points) {
                if u32::from(sum) >= at_least {
                    let estimate = plan.estimate(sum, block);
                    self.found.push(Candidate { estimate, window: number, point: point as u16 });
                }
            }
        }
    }

    /// Drops the farthest, if there are more than are wanted.
    fn drop_unwanted(&mut self) {
        if self.found.len() > self.wanted {
            let order = |a: &Candidate, b: &Candidate| a.estimate.total_cmp(&b.estimate);
            self.bound = self.found.select_nth_unstable_by(self.wanted - 1, order).1.estimate;
            self.found.truncate(self.wanted);
        }
    }
}

/// A distance that at least `wanted` points do not exceed, by the largest sums of blocks.
fn bound_of(plan: &Plan<'_>, maxima: &[u16], wanted: usize) -> f32 {
    if maxima.len() <= wanted {
        return f32::INFINITY;
    }
    let mut nearest: Vec<f32> =
        maxima.iter().enumerate().map(|(block, &largest)| plan.estimate(largest, block)).collect();
    *nearest.select_nth_unstable_by(wanted - 1, f32::total_cmp).1
}
