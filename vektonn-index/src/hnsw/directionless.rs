//! Rows that no graph can find.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

/// Slots with zero vectors in an index of cosines, where these are equally far from everything; empty in others.
///
/// A slot stays here after its death until it is used again: who looks asks its reader.
#[derive(Default)]
pub(super) struct Directionless {
    slots: RwLock<BTreeSet<u32>>,
    /// Mostly there are none, and searches need not lock for that.
    count: AtomicUsize,
}

impl Directionless {
    /// Whether there is such a row in a slot from now on. Only for the writer, before the slot can be seen.
    pub(super) fn set(&self, slot: u32, is_directionless: bool) {
        if !is_directionless && self.count() == 0 {
            return;
        }
        let mut slots = self.slots.write();
        if is_directionless {
            slots.insert(slot);
        } else {
            slots.remove(&slot);
        }
        // A search that sees the slot began after its batch was published, and so after this.
        self.count.store(slots.len(), Ordering::Relaxed);
    }

    /// How many slots these are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn for_each(&self, look: impl FnMut(u32)) {
        if self.count() > 0 {
            self.slots.read().iter().copied().for_each(look);
        }
    }
}
