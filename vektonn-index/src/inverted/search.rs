//! The search in windows: what cannot be excluded by its sum is compared itself.

use std::cell::RefCell;
use std::collections::BinaryHeap;

use super::InvertedIndex;
use super::plan::{Plan, Weights};
use super::query::SparseQuery;
use super::row::SparseRow;
use super::window::Window;
use super::windows::Layout;
use crate::collector::Collector;
use crate::distance::sparse::{self, BLOCK, SparseKernels, WINDOW_POINTS_MAX};
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::Reader;
use crate::top_k::TopK;

/// An approximate search compares so many rows for each neighbour that is asked for.
const CANDIDATES_PER_NEIGHBOUR: usize = 8;

thread_local! {
    /// What the next search of this thread can use.
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Memory of a search. Between two windows all sums are zero.
pub(super) struct Scratch {
    pub(super) sums: Box<[u16; WINDOW_POINTS_MAX]>,
    maxima: Vec<u16>,
}

/// One query on one window.
struct Search<'s, D, F> {
    window: &'s Window,
    plan: &'s Plan<'s>,
    sums: &'s [u16],
    /// The distance of a point by its number, if it is alive.
    distance: D,
    collector: &'s mut Collector<F>,
    /// No point with a smaller sum is of interest.
    sum_min: u16,
    /// Points that were compared before their block's turn.
    seeds: Vec<usize>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let sums = vec![0; WINDOW_POINTS_MAX].into_boxed_slice();
        Self { sums: sums.try_into().expect("it has this length"), maxima: Vec::new() }
    }
}

impl<T> InvertedIndex<T> {
    /// Offers every live row that may be among the `k` nearest, or, if the search is approximate, most of them.
    pub(super) fn search_windows(
        &self,
        reader: Reader<'_, T, SparseRow>,
        query: &SparseQuery<'_>,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        let weights = Weights::new(query);
        let layout = self.windows.layout();
        // It is not put back if the search ends early, with sums that are not zero.
        let mut scratch = SCRATCH.take().unwrap_or_else(Scratch::new);
        let share = options.approximation.or(self.approximation).filter(|&share| share < 1.0);
        let candidates = match share {
            Some(share) => self.candidates(reader, &layout, &weights, share, options, &mut scratch)?,
            None => Vec::new(),
        };
        if candidates.len() >= options.k {
            for (slot, row) in candidates {
                collector.offer(query.distance(row), slot);
            }
        } else {
            // An exact search, or so few points have anything of the query that the others count, too.
            for window in &layout.windows {
                let plan = Plan::new(&weights, window, None);
                let distance = |point: usize, _| {
                    let [row] = reader.row_born_by(window.slots()[point], window.made_in())? else {
                        return None;
                    };
                    Some(query.distance(row))
                };
                self.search_window(window, &plan, 0, options, &mut scratch, distance, collector)?;
            }
        }
        for slot in layout.tail().filter(|&slot| slot < reader.end()) {
            if let Some([row]) = reader.row(slot) {
                collector.offer(query.distance(row), slot);
            }
        }
        SCRATCH.set(Some(scratch));
        Ok(())
    }

    /// The points, alive, that look the nearest by the lists that make up `share` of what all could add.
    fn candidates<'r>(
        &self,
        reader: Reader<'r, T, SparseRow>,
        layout: &Layout,
        weights: &Weights,
        share: f32,
        options: &SearchOptions,
        scratch: &mut Scratch,
    ) -> Result<Vec<(u32, &'r SparseRow)>, SearchError> {
        let mut nearest = TopK::new(options.k.saturating_mul(CANDIDATES_PER_NEIGHBOUR));
        for (window, i) in layout.windows.iter().zip(0_u32..) {
            let plan = Plan::new(weights, window, Some(share.max(0.0).into()));
            let mut candidates = Collector::new(nearest.bound(), |estimate, slot| {
                nearest.offer(estimate, (i, slot));
                nearest.bound()
            });
            let estimate = |point, sum| Some(plan.estimate(sum, point / BLOCK));
            let sum_min = plan.bias.saturating_add(1);
            self.search_window(window, &plan, sum_min, options, scratch, estimate, &mut candidates)?;
        }
        let row_of = |(window, slot): (u32, u32)| {
            let [row] = reader.row_born_by(slot, layout.windows[window as usize].made_in())? else {
                return None;
            };
            Some((slot, row))
        };
        Ok(nearest.into_sorted_vec().into_iter().filter_map(|candidate| row_of(candidate.item)).collect())
    }

    /// Offers every point of a window that may be near enough and has at least the sum `sum_min`. `distance` gives a
    /// live point's, by its number and sum.
    #[allow(clippy::too_many_arguments, reason = "a search is all of these")]
    fn search_window<F: FnMut(f32, u32) -> f32>(
        &self,
        window: &Window,
        plan: &Plan<'_>,
        sum_min: u16,
        options: &SearchOptions,
        scratch: &mut Scratch,
        distance: impl Fn(usize, u16) -> Option<f32>,
        collector: &mut Collector<F>,
    ) -> Result<(), SearchError> {
        options.check_deadline()?;
        add_up(self.kernels, window, plan, scratch);
        let blocks = window.slots().len().div_ceil(BLOCK);
        let sums = &scratch.sums[..blocks * BLOCK];
        let search = Search { window, plan, sums, distance, collector, sum_min, seeds: Vec::new() };
        search.sweep(&scratch.maxima[..blocks], options)?;
        scratch.sums[..blocks * BLOCK].fill(0);
        Ok(())
    }
}

/// Makes the sum of each point, and the largest of each block.
pub(super) fn add_up(kernels: SparseKernels, window: &Window, plan: &Plan<'_>, scratch: &mut Scratch) {
    for &(points, impacts, weight) in &plan.short_plus {
        sparse::add(&mut scratch.sums, points, impacts, weight);
    }
    for &(points, impacts, weight) in &plan.short_minus {
        sparse::subtract(&mut scratch.sums, points, impacts, weight);
    }
    let blocks = window.slots().len().div_ceil(BLOCK);
    if scratch.maxima.len() < blocks {
        scratch.maxima.resize(blocks, 0);
    }
    let sums = &mut scratch.sums.as_chunks_mut().0[..blocks];
    kernels.add_dense(sums, &plan.long, plan.bias, &mut scratch.maxima[..blocks]);
}

impl<D: Fn(usize, u16) -> Option<f32>, F: FnMut(f32, u32) -> f32> Search<'_, D, F> {
    /// Compares what may be near enough, the most promising blocks first.
    fn sweep(mut self, maxima: &[u16], options: &SearchOptions) -> Result<(), SearchError> {
        let bound = self.collector.bound();
        // No block asks for less than the first one.
        let whole = self.plan.at_least(bound, 0);
        let may_be_near = |&(block, &largest): &(usize, &u16)| {
            largest >= self.sum_min
                && u32::from(largest) >= whole
                && u32::from(largest) >= self.plan.at_least(bound, block)
        };
        let order = |(block, &largest): (usize, &u16)| (self.plan.promise(largest, block), block);
        let blocks: Vec<_> = maxima.iter().enumerate().filter(may_be_near).map(order).collect();
        let mut blocks = BinaryHeap::from(blocks);
        // As long as there is no bound, only the most promising point of each block is compared.
        let mut opened = Vec::new();
        while self.collector.bound() == f32::INFINITY
            && let Some((_, block)) = blocks.pop()
        {
            let first = block * BLOCK;
            let sums = &self.sums[first..first + BLOCK];
            let point = first + sums.iter().position(|&sum| sum == maxima[block]).unwrap_or_default();
            self.compare(point);
            self.seeds.push(point);
            opened.push(block);
        }
        self.seeds.sort_unstable();
        for block in opened {
            options.check_deadline()?;
            self.compare_block(block, maxima[block]);
        }
        while let Some((_, block)) = blocks.pop() {
            if !self.compare_block(block, maxima[block]) {
                break;
            }
            options.check_deadline()?;
        }
        Ok(())
    }

    /// Compares the points of a block that may be near enough. Returns whether there might have been any.
    fn compare_block(&mut self, block: usize, largest: u16) -> bool {
        let mut at_least = self.plan.at_least(self.collector.bound(), block);
        if u32::from(largest) < at_least {
            return false;
        }
        at_least = at_least.max(self.sum_min.into());
        for point in block * BLOCK..self.window.slots().len().min((block + 1) * BLOCK) {
            if u32::from(self.sums[point]) >= at_least && self.seeds.binary_search(&point).is_err() {
                self.compare(point);
                at_least = self.plan.at_least(self.collector.bound(), block).max(self.sum_min.into());
            }
        }
        true
    }

    fn compare(&mut self, point: usize) {
        let Some(&slot) = self.window.slots().get(point) else { return };
        if let Some(distance) = (self.distance)(point, self.sums[point]) {
            self.collector.offer(distance, slot);
        }
    }
}
