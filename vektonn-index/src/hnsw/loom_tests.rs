//! Who may read the codes of a slot, and when are they written again? The protocol of `delete.rs`, with the store's own
//! timeline and slots; the graph's lists and codes are one atomic link and one plain word per slot, so that loom sees them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::store::slots::Slots;
use crate::store::timeline::{Batch, Timeline};
use crate::sync::{AtomicU64, Ordering};

/// Slots that can be used at the same time.
const SLOTS: usize = 5;

struct Graph {
    timeline: Arc<Timeline>,
    slots: Slots<u64, u64>,
    /// Slot + 1 of the one point that is linked to, as in `Links`.
    link: AtomicU64,
    codes: [UnsafeCell<u64>; SLOTS],
}

impl Graph {
    /// Codes a new point, then links to it.
    fn insert(&self, batch: &Batch<'_>, value: u64) -> u32 {
        let slot = self.slots.insert(batch, value, [value].into_iter()).unwrap();
        // Loom fails if this meets a read that is not ordered with it.
        self.codes[slot as usize].with_mut(|code| write(code, value));
        self.link.store(u64::from(slot) + 1, Ordering::Release);
        slot
    }

    /// What a search does: walks the list, scores codes, and asks the reader in the end.
    fn search(&self) -> Option<u64> {
        let pin = self.timeline.pin();
        let reader = self.slots.reader(&pin);
        let slot = self.link.load(Ordering::Acquire).checked_sub(1)? as u32;
        let code = self.codes[slot as usize].with(|code| read(code));
        if slot >= reader.end() {
            return None;
        }
        let &entry = reader.entry(slot)?;
        assert_eq!(code, entry, "the codes of the point that is seen");
        Some(entry)
    }
}

#[allow(unsafe_code, reason = "loom checks what a test is about: that nobody writes what is read")]
fn write(code: *mut u64, value: u64) {
    // SAFETY: loom fails the test before two threads get here for one code.
    unsafe { code.write(value) };
}

#[allow(unsafe_code, reason = "as above")]
fn read(code: *const u64) -> u64 {
    // SAFETY: as above.
    unsafe { code.read() }
}

/// A point is replaced three times while a search looks: its slot dies, nothing links to it any more, it is buried when
/// no reader can see it, and used again when no reader can have come across it.
#[test]
fn loom_codes_are_written_again_only_when_no_search_can_come_across_them() {
    loom::model(|| {
        let timeline = Arc::new(Timeline::new());
        let graph = Arc::new(Graph {
            slots: Slots::new(Arc::clone(&timeline), 1),
            timeline,
            link: AtomicU64::new(0),
            codes: std::array::from_fn(|_| UnsafeCell::new(0)),
        });
        let mut live = graph.insert(&graph.timeline.write(), 0);
        let searcher = {
            let graph = Arc::clone(&graph);
            loom::thread::spawn(move || _ = graph.search())
        };
        let mut dying = Vec::new();
        for value in 1..=4 {
            let batch = graph.timeline.write();
            // What no reader can see any more is not linked to either, here; the sweep of one list.
            dying.retain(|&(epoch, slot)| {
                let is_free = batch.is_free(epoch);
                if is_free {
                    graph.slots.bury(&batch, slot);
                }
                !is_free
            });
            graph.slots.end_life(&batch, live);
            dying.push((batch.epoch(), live));
            live = graph.insert(&batch, value);
        }
        searcher.join().unwrap();
    });
}
