//! The exact search in windows: what cannot be excluded by its sum is compared itself.

use std::cell::RefCell;
use std::collections::BinaryHeap;

use vektonn_core::Metric;

use super::InvertedIndex;
use super::plan::{Plan, Weights};
use super::query::SparseQuery;
use super::row::SparseRow;
use super::window::Window;
use crate::collector::Collector;
use crate::distance::sparse::{self, BLOCK, SparseKernels, WINDOW_POINTS_MAX};
use crate::options::{SearchError, SearchOptions};
use crate::store::slots::Reader;

thread_local! {
    /// What the next search of this thread can use.
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Memory of a search. Between two windows all sums are zero.
pub(super) struct Scratch {
    pub(super) sums: Box<[u16; WINDOW_POINTS_MAX]>,
    pub(super) maxima: Vec<u16>,
    /// Points that look near, of the window that is searched.
    pub(super) noted: Vec<u16>,
}

/// One query on one window.
struct Search<'s, D, F> {
    window: &'s Window,
    plan: &'s Plan<'s>,
    sums: &'s [u16],
    /// The distance of a point by its number, if it is alive.
    distance: D,
    collector: &'s mut Collector<F>,
    /// Points that were compared before their block's turn.
    seeds: Vec<usize>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        let sums = vec![0; WINDOW_POINTS_MAX].into_boxed_slice();
        let sums = sums.try_into().expect("it has this length");
        Self { sums, maxima: Vec::new(), noted: Vec::new() }
    }

    /// Makes all sums of a window zero.
    pub(super) fn clear(&mut self, window: &Window) {
        self.sums[..window.slots().len().next_multiple_of(BLOCK)].fill(0);
    }

    /// Notes all points with a sum of `at_least`, which is more than 0; the maxima are known.
    pub(super) fn note_blocks(&mut self, at_least: u16) {
        for (block, _) in self.maxima.iter().enumerate().filter(|(_, largest)| **largest >= at_least) {
            let points = block * BLOCK..(block + 1) * BLOCK;
            let near = points.filter(|&point| self.sums[point] >= at_least);
            self.noted.extend(near.map(|point| point as u16));
        }
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
        // Where all coordinates count the same, none can be left out.
        let share = share.filter(|_| self.metric != Metric::JaccardBinary);
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
                self.search_window(reader, query, &weights, window, options, &mut scratch, collector)?;
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

    /// Offers every point of a window that may be near enough.
    #[allow(clippy::too_many_arguments, reason = "a search is all of these")]
    fn search_window<F: FnMut(f32, u32) -> f32>(
        &self,
        reader: Reader<'_, T, SparseRow>,
        query: &SparseQuery<'_>,
        weights: &Weights,
        window: &Window,
        options: &SearchOptions,
        scratch: &mut Scratch,
        collector: &mut Collector<F>,
    ) -> Result<(), SearchError> {
        options.check_deadline()?;
        let plan = &Plan::new(weights, window);
        add_short(plan, scratch);
        add_long(self.kernels, window, plan, scratch);
        let distance = |point: usize| {
            let [row] = reader.row_born_by(window.slots()[point], window.made_in())? else { return None };
            Some(query.distance(row))
        };
        let sums = &scratch.sums[..scratch.maxima.len() * BLOCK];
        let search = Search { window, plan, sums, distance, collector, seeds: Vec::new() };
        search.sweep(&scratch.maxima, options)?;
        scratch.clear(window);
        Ok(())
    }
}

/// Adds the short lists to the sums.
pub(super) fn add_short(plan: &Plan<'_>, scratch: &mut Scratch) {
    for &(postings, weight) in &plan.short_plus {
        sparse::add(&mut scratch.sums, postings.points, postings.impacts, weight);
    }
    subtract_short(plan, scratch);
}

/// Takes the short lists of the other sign away from the sums.
pub(super) fn subtract_short(plan: &Plan<'_>, scratch: &mut Scratch) {
    for &(postings, weight) in &plan.short_minus {
        sparse::subtract(&mut scratch.sums, postings.points, postings.impacts, weight);
    }
}

/// Completes the sums of all points, and finds the largest of each block.
pub(super) fn add_long(kernels: SparseKernels, window: &Window, plan: &Plan<'_>, scratch: &mut Scratch) {
    let blocks = window.slots().len().div_ceil(BLOCK);
    scratch.maxima.resize(blocks, 0);
    let sums = &mut scratch.sums.as_chunks_mut().0[..blocks];
    kernels.add_dense(sums, &plan.long, plan.bias, &mut scratch.maxima);
}

impl<D: Fn(usize) -> Option<f32>, F: FnMut(f32, u32) -> f32> Search<'_, D, F> {
    /// Compares what may be near enough, the most promising blocks first.
    fn sweep(mut self, maxima: &[u16], options: &SearchOptions) -> Result<(), SearchError> {
        let bound = self.collector.bound();
        // No block asks for less than the first one.
        let whole = self.plan.at_least(bound, 0);
        let may_be_near = |&(block, &largest): &(usize, &u16)| {
            u32::from(largest) >= whole && u32::from(largest) >= self.plan.at_least(bound, block)
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
        for point in block * BLOCK..self.window.slots().len().min((block + 1) * BLOCK) {
            if u32::from(self.sums[point]) >= at_least && self.seeds.binary_search(&point).is_err() {
                self.compare(point);
                at_least = self.plan.at_least(self.collector.bound(), block);
            }
        }
        true
    }

    fn compare(&mut self, point: usize) {
        let Some(&slot) = self.window.slots().get(point) else { return };
        if let Some(distance) = (self.distance)(point) {
            self.collector.offer(distance, slot);
        }
    }
}
