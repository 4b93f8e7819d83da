//! What is known of neighbouring slots together, so that nobody looks at each of them where most are empty.

use std::ops::Range;

use crate::sync::{AtomicU64, Ordering};

/// Slots whose visibility fits one machine word. No block straddles two chunks.
pub(crate) const BLOCK: usize = 64;

/// The batch in which a block that holds something was emptied.
const NEVER: u64 = u64::MAX;

/// How many of [`BLOCK`] slots are in use.
///
/// Relaxed, all of it: a reader has the values of its own batch at least, as with whatever was written before that was
/// published, and later ones tell no less of it. What they are not needed for is soundness: they only say where not to look.
pub(super) struct Block {
    /// How many are alive in the writer's batch.
    live: AtomicU64,
    /// The batch in which the last one died, or [`NEVER`]. In this batch and later ones there is nothing here.
    emptied: AtomicU64,
}

impl Block {
    /// A block that was never used.
    pub(super) fn empty() -> Self {
        Self { live: AtomicU64::new(0), emptied: AtomicU64::new(0) }
    }

    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// One more is alive. Only for the writer.
    pub(super) fn born(&self) {
        self.live.store(self.live() + 1, Ordering::Relaxed);
        self.emptied.store(NEVER, Ordering::Relaxed);
    }

    /// One of them dies with this batch. Only for the writer.
    pub(super) fn died(&self, batch: u64) {
        self.live.store(self.live() - 1, Ordering::Relaxed);
        if self.live() == 0 {
            self.emptied.store(batch, Ordering::Relaxed);
        }
    }

    /// Whether a reader of this batch need not look.
    pub(super) fn is_empty_in(&self, batch: u64) -> bool {
        self.emptied.load(Ordering::Relaxed) <= batch
    }
}

/// The runs of ones in a word, from the lowest bit.
pub(crate) fn ones(mut mask: u64) -> impl Iterator<Item = Range<u32>> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let start = mask.trailing_zeros();
        let length = (mask >> start).trailing_ones();
        mask = if start + length == u64::BITS { 0 } else { mask & (u64::MAX << (start + length)) };
        Some(start..start + length)
    })
}
