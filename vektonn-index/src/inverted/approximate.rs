//! The approximate search in windows: the points that look the nearest by the postings that matter the most.

use super::InvertedIndex;
use super::lists::Postings;
use super::plan::{Plan, Weights};
use super::row::SparseRow;
use super::search::{Scratch, add_long, add_short, subtract_short};
use super::window::Window;
use super::windows::Layout;
use crate::distance::sparse::{self, BLOCK, SparseKernels};
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::Reader;

/// So many rows are compared for each neighbour that is asked for, and one more for so many terms of the query beyond the
/// first few: the more there are, the less do the largest shares tell.
const CANDIDATES_PER_NEIGHBOUR: usize = 4;
const TERMS_FEW: usize = 30;
const TERMS_PER_CANDIDATE: usize = 5;

/// Windows whose lists are asked for together.
const WINDOWS_PLANNED: usize = 16;

/// If as many postings were added, it is faster to make all sums zero than theirs.
const POSTINGS_MAX: usize = 2500;

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
        let more = weights.len().saturating_sub(TERMS_FEW) / TERMS_PER_CANDIDATE;
        let per_neighbor = CANDIDATES_PER_NEIGHBOUR + more;
        let wanted = options.k.saturating_mul(per_neighbor);
        let mut candidates = Candidates { wanted, found: Vec::new(), bound: f32::INFINITY };
        let share = f64::from(share).clamp(0.0, 1.0);
        let mut number = 0;
        for windows in layout.windows.chunks(WINDOWS_PLANNED) {
            for (window, plan) in windows.iter().zip(&Plan::approximate(weights, windows, share)) {
                options.check_deadline()?;
                candidates.take(self.kernels, plan, window, number, scratch);
                candidates.drop_unwanted();
                number += 1;
            }
        }
        Ok(rows(reader, layout, &candidates.found))
    }
}

/// The slots and rows of candidates, those that are alive. Each step asks for the memory that the next one reads.
fn rows<'r, T>(
    reader: Reader<'r, T, SparseRow>,
    layout: &Layout,
    candidates: &[Candidate],
) -> Vec<(u32, &'r SparseRow)> {
    let slot_of = |candidate: &Candidate| {
        let window = &layout.windows[candidate.window as usize];
        let slot = window.slots()[usize::from(candidate.point)];
        reader.prefetch(slot);
        (slot, window.made_in())
    };
    let row_of = |(slot, made_in): (u32, u64)| {
        let [row] = reader.row_born_by(slot, made_in)? else { return None };
        row.prefetch();
        Some((slot, row))
    };
    let slots: Vec<_> = candidates.iter().map(slot_of).collect();
    slots.into_iter().filter_map(row_of).collect()
}

impl Candidates {
    /// Takes of a window the points that have something of the query and do not look farther than the bound, and makes all
    /// sums zero.
    fn take(
        &mut self,
        kernels: SparseKernels,
        plan: &Plan<'_>,
        window: &Window,
        number: u32,
        scratch: &mut Scratch,
    ) {
        let are_few = adds_to_few(plan);
        if self.bound == f32::INFINITY && !are_few {
            add_short(plan, scratch);
            add_long(kernels, window, plan, scratch);
            self.bound = bound_of(plan, &scratch.maxima, self.wanted);
            scratch.note_blocks(self.at_least(plan));
        } else {
            self.note_while_adding(kernels, plan, window, scratch);
        }
        let candidate = |point: u16| {
            let point_sum = scratch.sums[usize::from(point)];
            let estimate = plan.estimate(point_sum, usize::from(point) / BLOCK);
            Candidate { estimate, window: number, point }
        };
        self.found.extend(scratch.noted.drain(..).map(candidate));
        if are_few {
            let points = plan.short_plus.iter().flat_map(|(postings, _)| postings.points);
            points.for_each(|&point| scratch.sums[usize::from(point)] = 0);
        } else {
            scratch.clear(window);
        }
    }

    /// The sum that a point must have. What adds nothing is no candidate.
    fn at_least(&self, plan: &Plan<'_>) -> u16 {
        // No block asks for less than the first one.
        let at_least = plan.at_least(self.bound, 0).max(u32::from(plan.bias) + 1);
        u16::try_from(at_least).unwrap_or(u16::MAX)
    }

    /// Adds up all sums, and notes each point at the moment when its sum suffices. So there is no need to look for them.
    fn note_while_adding(
        &self,
        kernels: SparseKernels,
        plan: &Plan<'_>,
        window: &Window,
        scratch: &mut Scratch,
    ) {
        let at_least = self.at_least(plan);
        subtract_short(plan, scratch);
        if changes_all(plan) {
            add_long(kernels, window, plan, scratch);
            scratch.note_blocks(at_least);
        }
        // Sums only grow now: each point is noted once.
        for &(Postings { points, impacts, .. }, weight) in &plan.short_plus {
            let Scratch { sums, noted, .. } = scratch;
            sparse::add_and_note(sums, points, impacts, weight, at_least, noted);
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

/// Whether the sums of points that are in no short list change, too.
fn changes_all(plan: &Plan<'_>) -> bool {
    !plan.long.plus.is_empty() || plan.bias > 0
}

/// Whether few sums change: it is faster to look at these, and to make these zero, than all.
fn adds_to_few(plan: &Plan<'_>) -> bool {
    let postings = plan.short_plus.iter().map(|(postings, _)| postings.len()).sum::<usize>();
    !changes_all(plan) && postings < POSTINGS_MAX
}

/// A distance that at least `wanted` points do not exceed, by the largest sums of blocks.
fn bound_of(plan: &Plan<'_>, maxima: &[u16], wanted: usize) -> f32 {
    if maxima.len() <= wanted {
        return f32::INFINITY;
    }
    let mut largest: Vec<(u16, usize)> = maxima.iter().copied().zip(0..).collect();
    largest.select_nth_unstable_by(wanted - 1, |a, b| b.0.cmp(&a.0));
    // Of those the farthest: for Jaccard, the sizes of the points tell too.
    let estimates = largest[..wanted].iter().map(|&(sum, block)| plan.estimate(sum, block));
    estimates.fold(f32::NEG_INFINITY, f32::max)
}
