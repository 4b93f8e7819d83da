//! Dead points leave the graph: what linked to them is linked to their neighbours, then their slots are free.
//!
//! A dead point stays a way to others, and is hidden from searches, until no search can see it any more. Then it is
//! *condemned*: its children in the tree of `tree.rs` get other parents, and a sweep, a little with every change, walks over
//! all lists and gives whoever links to condemned points some of their neighbours instead (Xu et al., "In-place updates
//! of a graph index for streaming approximate nearest neighbor search", arXiv 2502.13826, relinks a few per link, too; the
//! sweep finds all links, where a search for the dead point finds most). At its end nothing links to the condemned.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::codes::Codes;
use super::graph::Graph;
use super::insert::{PARALLEL_MIN, cut};
use super::pool::Candidate;
use super::search::{Scratch, ToPoint, score_before};
use super::select::select_neighbors;
use crate::distance::row_codes::{RowKernel, Task};
use crate::workers;

/// A sweep begins when there is one dead point for so many live ones, but not for fewer than [`SWEPT_TOGETHER_MIN`].
const LIVE_PER_SWEPT: usize = 128;
const SWEPT_TOGETHER_MIN: usize = 64;
/// Slots that the sweep advances with every change, for each slot that a live point has: it ends before as many have died again.
const SLOTS_PER_CHANGE: usize = 128;
/// A sweep advances by this part of the dead with every batch, at least: of many that were deleted at once, searches are soon
/// rid.
const PART_PER_BATCH: usize = 8;
/// Lists that are made anew before any of them is replaced: some megabytes.
const RELINKED_TOGETHER: usize = 1 << 14;
/// Lists that a thread looks at before it asks for more: most need nothing.
const LISTS_TOGETHER: usize = 256;
/// How many dead points one that loses links looks beyond.
const DEAD_PASSED_MAX: usize = 128;
const WORD: usize = u64::BITS as usize;

/// The dead of a graph, and how far they have been forgotten.
#[derive(Default)]
pub(super) struct Upkeep {
    /// With the epochs of their deaths, oldest first.
    dying: VecDeque<(u64, u32)>,
    sweep: Option<Sweep>,
}

struct Sweep {
    condemned: Vec<u32>,
    marks: SlotSet,
    /// The next slot to look at.
    next: u32,
}

/// One bit for each slot.
pub(super) struct SlotSet(Vec<u64>);

impl SlotSet {
    pub(super) fn new(end: u32) -> Self {
        Self(vec![0; (end as usize).div_ceil(WORD)])
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / WORD).is_some_and(|word| word >> (slot as usize % WORD) & 1 != 0)
    }

    /// Whether the slot is new.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
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

    /// All the dead, once there is no graph any more.
    pub(super) fn into_dead(self) -> impl Iterator<Item = u32> {
        let condemned = self.sweep.into_iter().flat_map(|sweep| sweep.condemned);
        self.dying.into_iter().map(|(_, slot)| slot).chain(condemned)
    }

    /// The dead that may still be linked to.
    pub(super) fn linked_dead(&self) -> impl Iterator<Item = u32> {
        let condemned = self.sweep.iter().flat_map(|sweep| &sweep.condemned);
        self.dying.iter().map(|(_, slot)| slot).chain(condemned).copied()
    }

    /// Goes on after so many changes, with so many points alive; returns slots that nothing links to any more.
    pub(super) fn advance(
        &mut self,
        graph: &Graph,
        changes: usize,
        live: usize,
        is_free: impl Fn(u64) -> bool,
    ) -> Vec<u32> {
        graph.live.store(live, Ordering::Relaxed);
        let end = graph.codes.load().end();
        if self.sweep.is_none() {
            let free = self.dying.partition_point(|&(epoch, _)| is_free(epoch));
            if free < (live / LIVE_PER_SWEPT).max(SWEPT_TOGETHER_MIN) {
                return Vec::new();
            }
            let condemned: Vec<u32> = self.dying.drain(..free).map(|(_, slot)| slot).collect();
            let mut marks = SlotSet::new(end);
            condemned.iter().for_each(|&slot| _ = marks.insert(slot));
            graph.choose_entry_points(|slot| marks.contains(slot));
            graph.attach_orphans(&marks);
            self.sweep = Some(Sweep { condemned, marks, next: 0 });
        }
        let Some(sweep) = &mut self.sweep else { return Vec::new() };
        // Slots that came after the sweep began were never linked to what had died before.
        let slots_per_change = SLOTS_PER_CHANGE * (end as usize / live.max(1)).max(1);
        let slots = changes.saturating_mul(slots_per_change).max(sweep.condemned.len() / PART_PER_BATCH);
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let stop = sweep.next.saturating_add(slots).min(end);
        graph.relink(sweep.next..stop, &sweep.marks);
        sweep.next = stop;
        if stop < end {
            return Vec::new();
        }
        self.sweep.take().map_or_else(Vec::new, |sweep| sweep.condemned)
    }
}

impl Graph {
    /// A slot has died; only for the writer.
    pub(super) fn remove(&self, slot: u32) {
        self.dead.set(slot, true);
        self.hidden.set(slot, true);
    }

    fn relink(&self, slots: Range<u32>, condemned: &SlotSet) {
        let codes = &**self.codes.load();
        let relink = |slot: u32| {
            let links_to_condemned = self.links.of(slot).any(|link| condemned.contains(link));
            let is_kept = links_to_condemned && !condemned.contains(slot);
            is_kept.then(|| (slot, self.kernels.run(Relink { graph: self, codes, slot, condemned })))
        };
        // All new lists of a group are made of old ones, so that they are the same for any number of threads.
        for first in slots.clone().step_by(RELINKED_TOGETHER) {
            let group = first..slots.end.min(first.saturating_add(RELINKED_TOGETHER as u32));
            let lists: Vec<(u32, Vec<u32>)> = if group.len() < PARALLEL_MIN * LISTS_TOGETHER {
                group.filter_map(relink).collect()
            } else {
                workers::run(|| {
                    workers::in_parts(group.into_par_iter(), LISTS_TOGETHER).filter_map(relink).collect()
                })
            };
            lists.iter().for_each(|(slot, neighbors)| self.links.set(*slot, neighbors));
        }
    }
}

/// A list without the condemned, with some of their neighbours instead.
struct Relink<'g> {
    graph: &'g Graph,
    codes: &'g Codes,
    slot: u32,
    condemned: &'g SlotSet,
}

impl Task for Relink<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) -> Vec<u32> {
        let Self { graph, codes, slot, condemned } = self;
        let mut scratch = Scratch::take();
        let Scratch { slots, candidates, links: gone, .. } = &mut *scratch;
        let mut neighbors = Vec::with_capacity(graph.links.degree);
        gone.clear();
        for link in graph.links.of(slot) {
            if condemned.contains(link) { gone.push(link) } else { neighbors.push(link) }
        }
        if !graph.dead.contains(slot) {
            let direct = gone.len();
            slots.clear();
            // Where many have died, the way to the living leads through several of them.
            let mut i = 0;
            while let Some(&dead) = gone.get(i)
                && (i < direct || slots.len() < graph.links.degree)
            {
                i += 1;
                for link in graph.links.of(dead) {
                    if !graph.dead.contains(link) {
                        if link != slot && !neighbors.contains(&link) {
                            slots.push(link);
                        }
                    } else if gone.len() < DEAD_PASSED_MAX && !gone.contains(&link) {
                        gone.push(link);
                    }
                }
            }
            candidates.clear();
            score_before(kernel, ToPoint::new(codes, slot), codes, slots, Candidate::LAST, candidates);
            candidates.sort_unstable();
            candidates.dedup();
            // No more than lists have that overflowed: with full ones, every search would score more points.
            select_neighbors(codes, kernel, candidates, cut(graph.links.degree), &mut neighbors);
        }
        scratch.give_back();
        neighbors
    }
}
