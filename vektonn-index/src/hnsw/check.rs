//! What must hold of a graph between batches. For tests.

use super::HnswIndex;
use super::delete::SlotSet;
use super::graph::Graph;
use crate::store::timeline::Batch;

impl<T> HnswIndex<T> {
    /// Checks each list, and the way to every live point; `batch` keeps writers away.
    ///
    /// # Errors
    /// What is wrong, with slots.
    pub(crate) fn check(&self, batch: &Batch<'_>) -> Result<(), String> {
        let Some(built) = self.built.load_full() else { return Ok(()) };
        let (graph, writer) = (&built.graph, self.writer.lock());
        let view = self.slots().writer_view(batch);
        let end = graph.codes.load().end();
        // Nobody may link to the other dead ones, since they are free to be used again.
        let mut dying = SlotSet::new(end);
        writer.upkeep.linked_dead().for_each(|slot| _ = dying.insert(slot));
        for slot in 0..end {
            let is_linked = view.sees(slot) && self.rows.has_direction(slot);
            if is_linked == graph.dead.contains(slot) {
                return Err(format!("slot {slot}: linked and alive is {is_linked}"));
            }
            if is_linked || dying.contains(slot) {
                graph.check_list(slot, end, &dying)?;
            }
            if is_linked {
                graph.check_parent(slot)?;
            }
        }
        let unreachable = graph.unreachable();
        if unreachable > 0 { Err(format!("{unreachable} of {end} cannot be reached")) } else { Ok(()) }
    }
}

impl Graph {
    fn check_list(&self, slot: u32, end: u32, dying: &SlotSet) -> Result<(), String> {
        let mut links: Vec<u32> = self.links.of(slot).collect();
        let count = links.len();
        links.sort_unstable();
        links.dedup();
        let is_dangling = |&link: &u32| link >= end || self.dead.contains(link) && !dying.contains(link);
        if count > self.links.degree || links.len() < count || links.contains(&slot) {
            return Err(format!("slot {slot}: {count} links, {} others: {links:?}", links.len()));
        }
        match links.iter().find(|link| is_dangling(link)) {
            Some(link) => Err(format!("slot {slot} links to {link}, which is free")),
            None => Ok(()),
        }
    }

    fn check_parent(&self, slot: u32) -> Result<(), String> {
        match self.parents.of(slot) {
            Some(parent) if parent == slot || self.links.of(parent).any(|link| link == slot) => Ok(()),
            parent => Err(format!("slot {slot} hangs on {parent:?}, which does not link to it")),
        }
    }

    /// Live points that cannot be reached from the entry points.
    pub(super) fn unreachable(&self) -> usize {
        let end = self.codes.load().end();
        let mut reached = SlotSet::new(end);
        let mut queue: Vec<u32> = self.entry_points.load().slots.clone();
        queue.retain(|&slot| reached.insert(slot));
        while let Some(slot) = queue.pop() {
            queue.extend(self.links.of(slot).filter(|&link| reached.insert(link)));
        }
        (0..end).filter(|&slot| !self.dead.contains(slot) && !reached.contains(slot)).count()
    }
}
