//! The order of batches, and when a slot that died may be used again.
//!
//! Reclamation by epochs, with one counter of readers for each of the two epochs that can have any (as in
//! K. Fraser, "Practical lock-freedom", section 5.2.3, and Linux's sleepable RCU). A reader counts itself into
//! the current epoch. The epoch moves from `e` to `e + 1` only when nobody is left in `e - 1`. A slot that
//! died in epoch `e` could be seen by readers of `e` and before, so it is free once the epoch is `e + 2`.

use std::sync::atomic::AtomicBool;
use std::thread::panicking;

use parking_lot::{Mutex, MutexGuard};

use crate::sync::{AtomicU64, Ordering, sequential};

/// The batches of one index, or of all splits of one shard.
pub(crate) struct Timeline {
    /// The last published batch.
    now: AtomicU64,
    epoch: AtomicU64,
    /// Readers of the even and of the odd epoch.
    readers: [Padded; 2],
    writer: Mutex<()>,
    /// Whether a batch has panicked half way: what it has done is never seen, and nothing can follow it.
    is_broken: AtomicBool,
}

/// A counter on a cache line of its own, so that readers of one epoch do not slow the other's.
#[repr(align(128))]
struct Padded(AtomicU64);

/// A reader's place on the timeline. What was alive in its batch stays readable while it exists.
pub(crate) struct Pin<'t> {
    timeline: &'t Timeline,
    epoch: u64,
    batch: u64,
}

/// The right to write: one batch, published when dropped, unless that is because of a panic.
pub(crate) struct Batch<'t> {
    timeline: &'t Timeline,
    number: u64,
    epoch: u64,
    /// Whether it was begun while a panic unwound already.
    was_panicking: bool,
    _writer: MutexGuard<'t, ()>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        let counter = || Padded(AtomicU64::new(0));
        Self {
            now: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            readers: [counter(), counter()],
            writer: Mutex::new(()),
            is_broken: AtomicBool::new(false),
        }
    }

    /// Starts reading at the last published batch. Never waits.
    pub(crate) fn pin(&self) -> Pin<'_> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let readers = &self.readers[(epoch & 1) as usize].0;
            readers.fetch_add(1, Ordering::SeqCst);
            sequential();
            // If the epoch moved on between the two lines above, this reader was not counted in time.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                // Read after the epoch: a reader of epoch `e` must see every batch published before `e` began.
                return Pin { timeline: self, epoch, batch: self.now.load(Ordering::SeqCst) };
            }
            readers.fetch_sub(1, Ordering::Release);
        }
    }

    /// Starts the next batch; waits for another writer's batch to end.
    ///
    /// # Panics
    /// If a batch has panicked before: what it left half done must not be built on.
    pub(crate) fn write(&self) -> Batch<'_> {
        let writer = self.writer.lock();
        assert!(
            !self.is_broken(),
            "an earlier batch of changes panicked: what it left takes no more changes"
        );
        self.advance();
        self.advance();
        Batch {
            timeline: self,
            number: self.now.load(Ordering::Relaxed) + 1,
            epoch: self.epoch.load(Ordering::Relaxed),
            was_panicking: panicking(),
            _writer: writer,
        }
    }

    /// Whether a batch has panicked.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Moves the epoch on if no reader is left in the one before it. Only a writer calls this.
    fn advance(&self) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        sequential();
        // Acquire pairs with the release of `Pin::drop`: the reads of those readers are over.
        if self.readers[((epoch + 1) & 1) as usize].0.load(Ordering::SeqCst) == 0 {
            self.epoch.store(epoch + 1, Ordering::SeqCst);
        }
    }
}

impl Pin<'_> {
    /// The last batch this reader sees.
    pub(crate) fn batch(&self) -> u64 {
        self.batch
    }

    /// Whether this is a pin of `timeline`.
    pub(crate) fn is_of(&self, timeline: &Timeline) -> bool {
        std::ptr::eq(self.timeline, timeline)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.timeline.readers[(self.epoch & 1) as usize].0.fetch_sub(1, Ordering::Release);
    }
}

impl Batch<'_> {
    /// The number that this batch will be published under.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The epoch in which slots die in this batch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a slot that died in `epoch` can no longer be seen by anyone.
    pub(crate) fn is_free(&self, epoch: u64) -> bool {
        epoch + 2 <= self.epoch
    }

    /// Whether this is a batch of `timeline`.
    pub(crate) fn is_of(&self, timeline: &Timeline) -> bool {
        std::ptr::eq(self.timeline, timeline)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if panicking() && !self.was_panicking {
            self.timeline.is_broken.store(true, Ordering::Release);
        } else {
            self.timeline.now.store(self.number, Ordering::SeqCst);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_seen_only_by_readers_that_start_after_it() {
        let timeline = Timeline::new();
        let before = timeline.pin();
        let batch = timeline.write();
        let during = timeline.pin();
        drop(batch);
        assert_eq!((before.batch(), during.batch(), timeline.pin().batch()), (0, 0, 1));
    }

    #[test]
    fn a_slot_is_free_only_when_its_last_reader_has_left() {
        let timeline = Timeline::new();
        let reader = timeline.pin();
        let died_in = timeline.write().epoch();
        for _ in 0..5 {
            assert!(!timeline.write().is_free(died_in));
        }
        drop(reader);
        assert!((0..2).any(|_| timeline.write().is_free(died_in)));
    }

    #[test]
    fn a_batch_that_panics_is_not_published_and_no_other_is_begun() {
        let timeline = Timeline::new();
        drop(timeline.write());
        let begin = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| timeline.write()));
        // A batch that is made while something else unwinds is as good as any.
        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            struct Writes<'t>(&'t Timeline);
            impl Drop for Writes<'_> {
                fn drop(&mut self) {
                    drop(self.0.write());
                }
            }
            let _writes = Writes(&timeline);
            panic!("elsewhere");
        }));
        assert!(whole.is_err());
        assert!(begin().is_ok());
        assert_eq!(timeline.pin().batch(), 3);
        let half = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _batch = timeline.write();
            panic!("half way");
        }));
        assert!(half.is_err() && begin().is_err());
        assert_eq!(timeline.pin().batch(), 3);
    }
}
