//! New points get their neighbours, many at a time and on all threads.
//!
//! Each point of a group is searched for in the graph as it was before the group, and compared with the others of the
//! group; then all links back are added, by target. So no two threads write one list, nobody waits for a lock, and the
//! graph does not depend on the number of threads (Manohar et al., "ParlayANN", PPoPP 2024, section 3, without its limit
//! on the size of a group relative to the graph: it is the comparison within the group that makes up for it).

use rayon::prelude::*;

use super::codes::Codes;
use super::graph::Graph;
use super::pool::Candidate;
use super::search::{Scratch, ToPoint, Walk, score_before};
use super::select::select_neighbors;
use crate::distance::row_codes::{RowKernel, Task};
use crate::workers;

/// Points that are linked together.
const GROUP: usize = 256;
/// Smaller groups are not worth waking other threads.
pub(super) const PARALLEL_MIN: usize = 4;
/// Lists that a thread adds links to before it asks for more.
const LISTS_TOGETHER: usize = 32;
/// A list that overflows is cut to this part of the degree, so that not every further link must cut it again.
pub(super) const fn cut(degree: usize) -> usize {
    degree - degree / 8
}

impl Graph {
    /// Links new points, whose codes are written, into the graph. Only for the writer.
    pub(super) fn link(&self, slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        slots.chunks(GROUP).for_each(|group| self.link_group(group));
        self.choose_entry_points(|_| false);
    }

    fn link_group(&self, group: &[u32]) {
        let codes = &**self.codes.load();
        let is_small = group.len() < PARALLEL_MIN;
        let find = |&slot: &u32| self.kernels.run(FindNeighbors { graph: self, codes, slot, group });
        let neighbors: Vec<Vec<u32>> = if is_small {
            group.iter().map(find).collect()
        } else {
            workers::in_parts(group.par_iter(), 1).map(find).collect()
        };
        let mut backlinks: Vec<(u32, u32)> = Vec::with_capacity(group.len() * self.links.degree);
        for (&slot, neighbors) in group.iter().zip(&neighbors) {
            self.links.set(slot, neighbors);
            backlinks.extend(neighbors.iter().map(|&neighbor| (neighbor, slot)));
        }
        backlinks.sort_unstable();
        let targets: Vec<&[(u32, u32)]> = backlinks.chunk_by(|a, b| a.0 == b.0).collect();
        let add = |links: &&[(u32, u32)]| self.kernels.run(AddLinks { graph: self, codes, links });
        if is_small {
            targets.iter().for_each(add)
        } else {
            workers::in_parts(targets.par_iter(), LISTS_TOGETHER).for_each(add)
        }
        self.begin_with(group);
        self.attach(group, &neighbors);
    }
}

/// Searches for the neighbours of a new point.
struct FindNeighbors<'g> {
    graph: &'g Graph,
    codes: &'g Codes,
    slot: u32,
    /// What is not in the graph yet: the point itself, and those that are linked together with it.
    group: &'g [u32],
}

impl Task for FindNeighbors<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) -> Vec<u32> {
        let Self { graph, codes, slot, group } = self;
        let scorer = ToPoint::new(codes, slot);
        let mut neighbors = Vec::with_capacity(graph.links.degree);
        let mut scratch = Scratch::take();
        Walk::from_point(graph, codes).run(kernel, scorer, &mut scratch);
        let Scratch { pool, slots: mates, candidates, .. } = &mut *scratch;
        mates.clear();
        mates.extend(group.iter().filter(|&&mate| mate != slot));
        candidates.clear();
        score_before(kernel, scorer, codes, mates, pool.bound(), candidates);
        candidates.iter().for_each(|&mate| _ = pool.offer(mate));
        select_neighbors(codes, kernel, pool.candidates(), graph.links.degree, &mut neighbors);
        scratch.give_back();
        neighbors
    }
}

/// Adds links to one point's list.
struct AddLinks<'g> {
    graph: &'g Graph,
    codes: &'g Codes,
    /// `(the point, its new neighbour)`, all of the same point.
    links: &'g [(u32, u32)],
}

impl Task for AddLinks<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, kernel: impl RowKernel) {
        let Self { graph, codes, links } = self;
        let (target, degree) = (links[0].0, graph.links.degree);
        // No memory is asked for: threads that did so for each list would wait for one another.
        let mut scratch = Scratch::take();
        let Scratch { slots, candidates, links: list, .. } = &mut *scratch;
        list.clear();
        list.extend(graph.links.of(target));
        let old = list.len();
        for &(_, neighbor) in links {
            if !list[..old].contains(&neighbor) {
                list.push(neighbor);
            }
        }
        if list.len() > degree {
            // The dead are left out.
            slots.clear();
            slots.extend(list.iter().filter(|&&neighbor| !graph.dead.contains(neighbor)));
            candidates.clear();
            score_before(kernel, ToPoint::new(codes, target), codes, slots, Candidate::LAST, candidates);
            candidates.sort_unstable();
            list.clear();
            select_neighbors(codes, kernel, candidates, cut(degree), list);
            graph.keep_children(target, list);
        }
        graph.links.set(target, list);
        scratch.give_back();
    }
}
