//! Best-first search (Malkov and Yashunin, arXiv 1603.09320, algorithm 2, SEARCH-LAYER) over codes.

use std::cell::Cell;

use super::codes::Codes;
use super::graph::{Bits, Graph, Links};
use super::pool::{Candidate, Pool};
use super::visited::Visited;
use crate::distance::row_codes::{Line, ROWS, RowKernel, Task};
use crate::prefetch::prefetch;

/// How many lines are asked for ahead of the row that is scored. With twice as many nothing is gained any more.
const LINES_AHEAD: usize = 64;
/// And rows, at most.
const ROWS_AHEAD_MAX: usize = 32;

/// Entry points that a walk begins with: the nearest ones.
const ENTRY_POINTS_KEPT: usize = 4;

/// Candidates expanded between two looks at the clock: some ten microseconds.
const EXPANDED_PER_DEADLINE_CHECK: usize = 128;

/// More than any inner product of codes, so that a score is not negative.
const DOT_BIAS: i32 = 1 << 30;

/// What one search needs to write on, kept by its thread for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) pool: Pool,
    /// What was met on the way, but is not seen by the search.
    passed: Pool,
    visited: Visited,
    /// Entry points, then unvisited neighbours of the point that is expanded.
    neighbors: Vec<u32>,
    /// Those of them that are near enough.
    near: Vec<Candidate>,
    pub(super) query: CodedQuery,
    /// For writers.
    pub(super) candidates: Vec<Candidate>,
    pub(super) slots: Vec<u32>,
    pub(super) links: Vec<u32>,
}

/// A query on its way to its codes.
#[derive(Default)]
pub(super) struct CodedQuery {
    pub(super) coordinates: Vec<f64>,
    pub(super) codes: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Borrows this thread's scratch. Not by a closure: that would have to be compiled for the instruction set.
    #[inline]
    pub(super) fn take() -> Box<Self> {
        SCRATCH.take().unwrap_or_default()
    }

    /// Whether the last walk met more points that it does not see, near enough to lead to others, than it could keep.
    pub(super) fn has_lost_ways(&self) -> bool {
        self.passed.bound() < self.pool.bound()
    }

    /// Returns it.
    #[inline]
    pub(super) fn give_back(self: Box<Self>) {
        SCRATCH.set(Some(self));
    }
}

/// How far are slots from what is searched for?
pub(super) trait Scorer: Copy {
    fn scores(self, kernel: impl RowKernel, slots: [u32; ROWS], rows: [&[Line]; ROWS]) -> [u32; ROWS];
}

/// The squared distance to a coded query.
#[derive(Clone, Copy)]
pub(super) struct ByDistance<'q>(pub(super) &'q Codes, pub(super) &'q [Line]);

/// The inner product with a coded query, the greatest first.
#[derive(Clone, Copy)]
pub(super) struct ByInnerProduct<'q>(pub(super) &'q Codes, pub(super) &'q [Line]);

/// The squared distance to a point of the index.
#[derive(Clone, Copy)]
pub(super) struct ToPoint<'c> {
    codes: &'c Codes,
    row: &'c [Line],
    lift: u32,
}

impl Scorer for ByDistance<'_> {
    #[inline(always)]
    fn scores(self, kernel: impl RowKernel, _slots: [u32; ROWS], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        self.0.distances_to(kernel, self.1, rows)
    }
}

impl Scorer for ByInnerProduct<'_> {
    #[inline(always)]
    fn scores(self, kernel: impl RowKernel, _slots: [u32; ROWS], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        self.0.products_with(kernel, self.1, rows).map(|dot| (DOT_BIAS - dot) as u32)
    }
}

impl<'c> ToPoint<'c> {
    pub(super) fn new(codes: &'c Codes, slot: u32) -> Self {
        Self { codes, row: codes.row(slot), lift: codes.lift(slot) }
    }
}

impl Scorer for ToPoint<'_> {
    #[inline(always)]
    fn scores(self, kernel: impl RowKernel, slots: [u32; ROWS], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        self.codes.distances(kernel, slots, rows, self.row, self.lift)
    }
}

/// A walk over the graph from its entry points.
#[derive(Clone, Copy)]
pub(super) struct Walk<'s> {
    pub(super) graph: &'s Graph,
    pub(super) codes: &'s Codes,
    pub(super) ef: usize,
    /// How many points that the search does not see are kept, at most, as ways to others.
    pub(super) ways: usize,
    /// Slots that the search may not want.
    pub(super) hidden: &'s Bits,
    /// Whether it wants such a slot.
    pub(super) sees_hidden: &'s dyn Fn(u32) -> bool,
    /// Whether to give up; what was found until then is of no use.
    pub(super) is_over: &'s dyn Fn() -> bool,
}

/// A walk for a query; leaves the nearest candidates in the scratch's pool.
pub(super) struct Search<'s, S> {
    pub(super) walk: Walk<'s>,
    pub(super) scorer: S,
    pub(super) scratch: &'s mut Scratch,
}

impl<S: Scorer> Task for Search<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) {
        self.walk.run(kernel, self.scorer, self.scratch);
    }
}

impl<'s> Walk<'s> {
    /// From a point of the graph to near ones that are alive.
    pub(super) fn from_point(graph: &'s Graph, codes: &'s Codes) -> Self {
        let ef = graph.ef_construction;
        let (hidden, sees_hidden, is_over) = (&graph.dead, &|_| false, &|| false);
        Self { graph, codes, ef, ways: ef, hidden, sees_hidden, is_over }
    }

    /// Leaves the nearest candidates in the scratch's pool.
    #[inline(always)]
    pub(super) fn run(self, kernel: impl RowKernel, scorer: impl Scorer, scratch: &mut Scratch) {
        let Self { graph, codes, ef, ways, hidden, sees_hidden, is_over } = self;
        let Scratch { pool, passed, visited, neighbors, near, .. } = scratch;
        let end = codes.end();
        // Most of the entry points are far away: few of them need to be kept.
        pool.reset(ef.min(ENTRY_POINTS_KEPT));
        passed.reset(ways);
        visited.reset(end);
        let entry_points = graph.entry_points.load();
        let most = entry_points.slots.len().max(graph.links.degree) + ROWS;
        neighbors.resize(most, 0);
        near.resize(most, Candidate::default());
        let mut new = 0;
        for &slot in &entry_points.slots {
            if slot < end {
                neighbors[new] = slot;
                new += 1;
            }
        }
        for expanded in 1_usize.. {
            let near_count = score_all(kernel, scorer, codes, (&mut *neighbors, new), pool.bound(), near);
            for &candidate in &near[..near_count] {
                offer(&graph.links, (hidden, sees_hidden), candidate, pool, passed);
            }
            if expanded == 1 {
                // Others may be met again: with more room, some of them may be among the nearest after all.
                let kept = pool.candidates().iter().chain(passed.candidates());
                kept.for_each(|candidate| _ = visited.insert(candidate.slot()));
                pool.widen(ef);
            }
            let Some(candidate) = expand_next(pool, passed) else { return };
            if expanded.is_multiple_of(EXPANDED_PER_DEADLINE_CHECK) && is_over() {
                return;
            }
            // Probably the next one, unless a neighbour is nearer.
            if let Some(next) = pool.peek() {
                graph.links.prefetch(next.slot());
            }
            new = 0;
            // Loops, since iterators are not always compiled into one.
            'links: for line in graph.links.lines(candidate.slot()) {
                for word in line.words() {
                    let Some(neighbor) = Links::neighbor(word) else { break 'links };
                    if neighbor < end {
                        neighbors[new] = neighbor;
                        new += usize::from(visited.insert(neighbor));
                    }
                }
            }
        }
    }
}

/// Scores slots, and adds those before `bound` to `near`.
#[inline(always)]
pub(super) fn score_before(
    kernel: impl RowKernel,
    scorer: impl Scorer,
    codes: &Codes,
    slots: &mut Vec<u32>,
    bound: Candidate,
    near: &mut Vec<Candidate>,
) {
    let count = slots.len();
    if count == 0 {
        return;
    }
    let before = near.len();
    slots.resize(count + ROWS, 0);
    near.resize(before + count + ROWS, Candidate::default());
    let found = score_all(kernel, scorer, codes, (&mut *slots, count), bound, &mut near[before..]);
    near.truncate(before + found);
    slots.truncate(count);
}

/// Scores the first `new` of some slots, after which there is room for [`ROWS`] more; leaves what comes before `bound` in `near`
/// and returns how many they are.
///
/// All are scored before any is looked at, and without a branch for each: whether one is near enough cannot be foreseen, and a
/// branch that was foreseen wrongly costs more than a score.
#[inline(always)]
fn score_all(
    kernel: impl RowKernel,
    scorer: impl Scorer,
    codes: &Codes,
    (slots, new): (&mut [u32], usize),
    bound: Candidate,
    near: &mut [Candidate],
) -> usize {
    let rows_ahead = (LINES_AHEAD / codes.lines_per_row()).clamp(ROWS, ROWS_AHEAD_MAX);
    for &slot in slots[..new].iter().take(rows_ahead) {
        prefetch(codes.row(slot));
    }
    // The last ones are scored with copies of the first.
    let first = slots[0];
    for copy in &mut slots[new..new + ROWS - 1] {
        *copy = first;
    }
    let (groups, _) = slots[..new + ROWS - 1].as_chunks::<ROWS>();
    let mut count = 0;
    for (i, &group) in groups.iter().enumerate() {
        if let Some(ahead) = slots[..new].get(i * ROWS + rows_ahead..) {
            for &slot in ahead.iter().take(ROWS) {
                prefetch(codes.row(slot));
            }
        }
        let [a, b, c, d] = group;
        let scores = scorer.scores(kernel, group, [codes.row(a), codes.row(b), codes.row(c), codes.row(d)]);
        for j in 0..ROWS {
            let candidate = Candidate::new(scores[j], group[j]);
            near[count] = candidate;
            count += usize::from(candidate < bound && i * ROWS + j < new);
        }
    }
    count
}

/// The nearest candidate that was not expanded yet, of both pools, as long as it may lead to nearer ones.
#[inline(always)]
fn expand_next(pool: &mut Pool, passed: &mut Pool) -> Option<Candidate> {
    let is_next = |candidate| pool.is_open_to(candidate) && pool.peek().is_none_or(|next| candidate < next);
    if passed.peek().is_some_and(is_next) { passed.expand_next() } else { pool.expand_next() }
}

/// A point that the search does not see is a way to others, but takes no place among the nearest.
#[inline(always)]
fn offer(
    links: &Links,
    (hidden, sees_hidden): (&Bits, &dyn Fn(u32) -> bool),
    candidate: Candidate,
    pool: &mut Pool,
    passed: &mut Pool,
) {
    if pool.is_open_to(candidate) {
        let slot = candidate.slot();
        let pool = if hidden.contains(slot) && !sees_hidden(slot) { passed } else { pool };
        if pool.offer(candidate) {
            links.prefetch(slot);
        }
    }
}
