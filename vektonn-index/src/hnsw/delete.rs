//! Dead points leave the graph: what linked to them is linked to their neighbours, then their slots are free.
//!
//! A dead point stays a way to others, and is hidden from searches, until no search can see it any more. Then it is
//! *condemned*: a sweep, a little with every change, walks over all lists and gives whoever links to condemned points
//! some of their neighbours instead (Xu et al., "In-place updates of a graph index for streaming approximate nearest
//! neighbor search", arXiv 2502.13826, relinks a few per link, too; the sweep finds all links, where a search for the
//! dead point finds most). When it has come to the end, nothing links to the condemned, and a walk through the graph has
//! made sure that every live point can be reached.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::codes::Codes;
use super::graph::Graph;
use super::insert::PARALLEL_MIN;
use super::pool::Candidate;
use super::search::{Scorer, Scratch, ToPoint, search};
use super::select::select_neighbors;
use crate::distance::row_codes::{RowKernel, Task};

/// A sweep begins when one in so many slots is dead, but not for fewer than [`SWEPT_TOGETHER_MIN`].
const SLOTS_PER_SWEPT: usize = 64;
const SWEPT_TOGETHER_MIN: usize = 64;
/// Slots that the sweep advances with every change: it ends before as many have died again.
const SLOTS_PER_CHANGE: usize = 64;
/// New links replace others, and once so many points have come, relative to all, a walk looks for points that have
/// none left.
const SLOTS_PER_WALKED: usize = 16;
const WALKED_TOGETHER_MIN: usize = 1024;
/// How many dead points one that loses links looks beyond.
const DEAD_PASSED_MAX: usize = 128;
/// Walks through the graph until every point can be reached; each new link may have taken the place of another.
const WALKS_MAX: usize = 4;

const WORD: usize = u64::BITS as usize;

/// The dead of a graph, how far they have been forgotten, and what else is done every now and then.
#[derive(Default)]
pub(super) struct Upkeep {
    /// With the epochs of their deaths, oldest first.
    dying: VecDeque<(u64, u32)>,
    sweep: Option<Sweep>,
    /// Changes since the last walk.
    changes: usize,
}

struct Sweep {
    condemned: Vec<u32>,
    marks: SlotSet,
    /// The next slot to look at.
    next: u32,
}

/// One bit for each slot.
struct SlotSet(Vec<u64>);

impl SlotSet {
    fn new(end: u32) -> Self {
        Self(vec![0; (end as usize).div_ceil(WORD)])
    }

    fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / WORD).is_some_and(|word| word >> (slot as usize % WORD) & 1 != 0)
    }

    /// Whether the slot is new.
    fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (&mut self.0[slot as usize / WORD], 1 << (slot as usize % WORD));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

impl Upkeep {
    /// A slot has died in this epoch.
    pub(super) fn died(&mut self, epoch: u64, slot: u32) {
        self.dying.push_back((epoch, slot));
    }

    /// Goes on after so many changes; returns slots that nothing links to any more.
    pub(super) fn advance(
        &mut self,
        graph: &Graph,
        changes: usize,
        is_free: impl Fn(u64) -> bool,
    ) -> Vec<u32> {
        let end = graph.codes.load().end();
        self.changes += changes;
        if self.changes > (end as usize / SLOTS_PER_WALKED).max(WALKED_TOGETHER_MIN) {
            self.changes = 0;
            graph.reach_all();
        }
        if self.sweep.is_none() {
            let free = self.dying.partition_point(|&(epoch, _)| is_free(epoch));
            if free < (end as usize / SLOTS_PER_SWEPT).max(SWEPT_TOGETHER_MIN) {
                return Vec::new();
            }
            let condemned: Vec<u32> = self.dying.drain(..free).map(|(_, slot)| slot).collect();
            let mut marks = SlotSet::new(end);
            condemned.iter().for_each(|&slot| _ = marks.insert(slot));
            self.sweep = Some(Sweep { condemned, marks, next: 0 });
        }
        let Some(sweep) = &mut self.sweep else { return Vec::new() };
        // Slots that came after the sweep began were never linked to what had died before.
        let slots = u32::try_from(changes.saturating_mul(SLOTS_PER_CHANGE)).unwrap_or(u32::MAX);
        let stop = sweep.next.saturating_add(slots).min(end);
        graph.relink(sweep.next..stop, &sweep.marks);
        sweep.next = stop;
        if stop < end {
            return Vec::new();
        }
        graph.choose_entry_points(&[], |slot| sweep.marks.contains(slot));
        self.changes = 0;
        graph.reach_all();
        self.sweep.take().map_or_else(Vec::new, |sweep| sweep.condemned)
    }
}

impl Graph {
    /// A slot has died; only for the writer.
    pub(super) fn remove(&self, slot: u32) {
        self.dead.set(slot, true);
        self.hidden.set(slot, true);
    }

    fn relink(&self, slots: std::ops::Range<u32>, condemned: &SlotSet) {
        let codes = &**self.codes.load();
        let relink = |slot: u32| {
            let links_to_condemned = self.links.of(slot).any(|link| condemned.contains(link));
            if links_to_condemned && !condemned.contains(slot) {
                self.kernels.run(Relink { graph: self, codes, slot, condemned });
            }
        };
        // Most lists need nothing.
        if slots.len() < PARALLEL_MIN * 256 {
            slots.for_each(relink);
        } else {
            slots.into_par_iter().with_min_len(256).for_each(relink);
        }
    }

    /// Makes sure that every live point can be reached from the entry points.
    pub(super) fn reach_all(&self) {
        let codes = &**self.codes.load();
        // Who has given up a link for another. They are asked once: else they might give up what they have just got.
        let mut givers = SlotSet::new(codes.end());
        let mut last = None;
        for _ in 0..WALKS_MAX {
            let mut reached = SlotSet::new(codes.end());
            let mut queue: Vec<u32> = self.entry_points.load().slots.clone();
            queue.retain(|&slot| reached.insert(slot));
            let mut is_whole = true;
            self.walk(&mut queue, &mut reached);
            for slot in 0..codes.end() {
                if !self.dead.contains(slot) && !reached.contains(slot) {
                    is_whole = false;
                    let mut near = self.kernels.run(FindNearest { graph: self, codes, slot });
                    near.retain(|&near| !givers.contains(near));
                    // Many equal points find the same ones; they become a chain.
                    near.extend(last.filter(|_| near.is_empty()));
                    if let Some(giver) = self.link_to(slot, &near) {
                        givers.insert(giver);
                    }
                    last = Some(slot);
                    reached.insert(slot);
                    queue.push(slot);
                    self.walk(&mut queue, &mut reached);
                }
            }
            if is_whole {
                return;
            }
        }
    }

    /// Reaches what can be reached from the queue.
    fn walk(&self, queue: &mut Vec<u32>, reached: &mut SlotSet) {
        while let Some(slot) = queue.pop() {
            queue.extend(self.links.of(slot).filter(|&link| reached.insert(link)));
        }
    }

    /// Live points that cannot be reached from the entry points.
    #[cfg(test)]
    pub(super) fn unreachable(&self) -> usize {
        let end = self.codes.load().end();
        let mut reached = SlotSet::new(end);
        let mut queue: Vec<u32> = self.entry_points.load().slots.clone();
        queue.retain(|&slot| reached.insert(slot));
        self.walk(&mut queue, &mut reached);
        (0..end).filter(|&slot| !self.dead.contains(slot) && !reached.contains(slot)).count()
    }
}

/// Takes the condemned out of a list, and some of their neighbours in.
struct Relink<'g> {
    graph: &'g Graph,
    codes: &'g Codes,
    slot: u32,
    condemned: &'g SlotSet,
}

impl Task for Relink<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) {
        let Self { graph, codes, slot, condemned } = self;
        let (mut gone, mut neighbors): (Vec<u32>, Vec<u32>) =
            graph.links.of(slot).partition(|&link| condemned.contains(link));
        if !graph.dead.contains(slot) {
            let (scorer, direct) = (ToPoint::new(codes, slot), gone.len());
            let mut scratch = Scratch::take();
            let candidates = &mut scratch.candidates;
            candidates.clear();
            // Where many have died, the way to the living leads through several of them.
            let mut i = 0;
            while let Some(&dead) = gone.get(i)
                && (i < direct || candidates.len() < graph.links.degree)
            {
                i += 1;
                for link in graph.links.of(dead) {
                    if !graph.dead.contains(link) {
                        if link != slot && !neighbors.contains(&link) {
                            candidates
                                .push(Candidate::new(scorer.score(kernel, link, codes.row(link)), link));
                        }
                    } else if gone.len() < DEAD_PASSED_MAX && !gone.contains(&link) {
                        gone.push(link);
                    }
                }
            }
            candidates.sort_unstable();
            candidates.dedup();
            select_neighbors(codes, kernel, candidates, graph.links.degree, &mut neighbors);
            scratch.give_back();
        }
        graph.links.set(slot, &neighbors);
    }
}

/// The nearest live points of a point, other than itself.
struct FindNearest<'g> {
    graph: &'g Graph,
    codes: &'g Codes,
    slot: u32,
}

impl Task for FindNearest<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) -> Vec<u32> {
        let Self { graph, codes, slot } = self;
        let mut scratch = Scratch::take();
        let is_alive = |slot| !graph.dead.contains(slot);
        search(
            graph,
            codes,
            kernel,
            ToPoint::new(codes, slot),
            graph.ef_construction,
            &is_alive,
            &mut scratch,
        );
        let found = scratch.pool.candidates().iter().map(|candidate| candidate.slot());
        let found = found.filter(|&other| other != slot).collect();
        scratch.give_back();
        found
    }
}
