//! Every live point can be reached at any time: one link to each of them is never given up.
//!
//! These links are a tree. Its root is an entry point; a point's *parent* is a near point that links to it. All other links
//! come and go as the selection of neighbours finds best, which alone would leave some points without a way to them: many
//! equal ones, or those that are nobody's neighbour.

use std::sync::atomic::{AtomicU32, Ordering};

use super::codes::Codes;
use super::delete::SlotSet;
use super::graph::Graph;
use super::search::{Scratch, ToPoint, Walk};
use crate::distance::row_codes::{RowKernel, Task};
use crate::store::chunks::Chunks;

/// The parent of each slot that is a part of the graph, as `slot + 1`, or 0. The root is its own. Only for the writer.
pub(super) struct Parents(Chunks<AtomicU32>);

/// At most this part of a list are links of the tree, so that others have a place.
fn children_max(degree: usize) -> usize {
    degree / 2
}

impl Parents {
    pub(super) fn new() -> Self {
        Self(Chunks::new(1))
    }

    /// Makes room for `slot`, without a parent.
    pub(super) fn reserve(&self, slot: u32) {
        self.0.reserve_zeroed(slot);
    }

    pub(super) fn of(&self, slot: u32) -> Option<u32> {
        self.0.get(slot)[0].load(Ordering::Relaxed).checked_sub(1)
    }

    pub(super) fn set(&self, slot: u32, parent: u32) {
        self.0.get(slot)[0].store(parent + 1, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, slot: u32) {
        self.0.get(slot)[0].store(0, Ordering::Relaxed);
    }
}

/// Which slots hang together with the root, as far as that was asked for.
struct Attached {
    known: SlotSet,
    attached: SlotSet,
}

impl Attached {
    fn new(end: u32) -> Self {
        Self { known: SlotSet::new(end), attached: SlotSet::new(end) }
    }

    fn contains(&mut self, parents: &Parents, slot: u32) -> bool {
        let (mut path, mut slot) = (vec![], slot);
        let is_attached = loop {
            if self.known.contains(slot) {
                break self.attached.contains(slot);
            }
            match parents.of(slot) {
                None => break false,
                Some(parent) if parent == slot => break true,
                Some(parent) => {
                    path.push(slot);
                    slot = parent;
                }
            }
        };
        for slot in path {
            self.known.insert(slot);
            if is_attached {
                self.attached.insert(slot);
            }
        }
        is_attached
    }
}

impl Graph {
    /// The points whose parent a slot is.
    pub(super) fn children(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.links.of(slot).filter(move |&link| link != slot && self.parents.of(link) == Some(slot))
    }

    /// Gives parents to new points, out of their neighbours; there is a root.
    pub(super) fn attach(&self, group: &[u32], neighbors: &[Vec<u32>]) {
        let mut waiting: Vec<_> = group.iter().copied().zip(neighbors).collect();
        waiting.retain(|&(slot, _)| self.parents.of(slot).is_none());
        while !waiting.is_empty() {
            let before = waiting.len();
            // Some are neighbours of each other only.
            waiting.retain(|(slot, neighbors)| {
                let is_attached = |&near: &u32| self.parents.of(near).is_some();
                !self.adopt(*slot, &neighbors.iter().copied().filter(is_attached).collect::<Vec<_>>())
            });
            if waiting.len() == before
                && let Some((slot, _)) = waiting.pop()
            {
                self.adopt(slot, &self.root());
            }
        }
    }

    /// Gives new parents to the points that have lost theirs to a sweep.
    pub(super) fn attach_orphans(&self, condemned: &SlotSet) {
        let end = self.codes.load().end();
        let is_orphan = |&slot: &u32| {
            !condemned.contains(slot)
                && self.parents.of(slot).is_some_and(|parent| condemned.contains(parent))
        };
        let mut orphans: Vec<u32> = (0..end).filter(is_orphan).collect();
        orphans.iter().for_each(|&slot| self.parents.forget(slot));
        (0..end).filter(|&slot| condemned.contains(slot)).for_each(|slot| self.parents.forget(slot));
        loop {
            let mut attached = Attached::new(end);
            let before = orphans.len();
            orphans.retain(|&slot| {
                let is_attached = |&near: &u32| attached.contains(&self.parents, near);
                !self.adopt(slot, &self.links.of(slot).filter(is_attached).collect::<Vec<_>>())
            });
            if orphans.len() == before {
                break;
            }
        }
        // What they link to hangs on one of them.
        let mut attached = Attached::new(end);
        let codes = &**self.codes.load();
        for slot in orphans {
            let mut near = self.kernels.run(FindNearest { graph: self, codes, slot });
            near.retain(|&near| attached.contains(&self.parents, near));
            let _ = self.adopt(slot, &near) || self.adopt(slot, &self.root());
        }
    }

    /// The root, if there is one.
    fn root(&self) -> Vec<u32> {
        self.entry_points.load().slots.first().copied().into_iter().collect()
    }

    /// Makes one of several points, nearest first, the parent of a slot, or one of their descendants. All of them hang
    /// together with the root, and `slot` does not. Tells whether there were any.
    fn adopt(&self, slot: u32, near: &[u32]) -> bool {
        let Some(&nearest) = near.first() else { return false };
        let has_room = |near: u32| self.children(near).count() < children_max(self.links.degree);
        let links_here = |near: u32| self.links.of(near).any(|link| link == slot);
        let best = near.iter().find(|&&near| links_here(near) && has_room(near));
        let mut parent = *best.or_else(|| near.iter().find(|&&near| has_room(near))).unwrap_or(&nearest);
        let mut chance = slot;
        // Somewhere down there is one without children.
        while !has_room(parent) {
            chance = chance.wrapping_mul(0x9e37_79b9).rotate_left(15);
            let children: Vec<u32> = self.children(parent).collect();
            parent = children[chance as usize % children.len()];
        }
        if !links_here(parent) && !self.links.append(parent, slot) {
            self.replace_link(parent, slot);
        }
        self.parents.set(slot, parent);
        true
    }

    /// Gives up one of the later links for `slot`, but none of the tree; which one is left to chance, so that it is not always
    /// the same.
    fn replace_link(&self, giver: u32, slot: u32) {
        let mut links: Vec<u32> = self.links.of(giver).collect();
        let free: Vec<usize> =
            (0..links.len()).filter(|&i| self.parents.of(links[i]) != Some(giver)).collect();
        let half = free.len() / 2;
        links[free[half + (slot.wrapping_mul(0x9e37_79b9) >> 8) as usize % (free.len() - half)]] = slot;
        self.links.set(giver, &links);
    }

    /// Puts the children of a slot back into its new list, in the place of the last ones if need be.
    pub(super) fn keep_children(&self, slot: u32, neighbors: &mut Vec<u32>) {
        let missing: Vec<u32> = self.children(slot).filter(|child| !neighbors.contains(child)).collect();
        let excess = (neighbors.len() + missing.len()).saturating_sub(self.links.degree);
        for _ in 0..excess {
            if let Some(last) = neighbors.iter().rposition(|&link| self.parents.of(link) != Some(slot)) {
                neighbors.remove(last);
            }
        }
        neighbors.extend(missing);
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
        Walk::from_point(graph, codes).run(kernel, ToPoint::new(codes, slot), &mut scratch);
        let found = scratch.pool.candidates().iter().map(|candidate| candidate.slot());
        let found = found.filter(|&other| other != slot).collect();
        scratch.give_back();
        found
    }
}
