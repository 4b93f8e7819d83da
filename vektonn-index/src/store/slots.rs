//! Slots: the only place where points are written while others read, and so one of the few with unsafe code.
//!
//! # Why it is sound
//! A slot is written only by the holder of the [`Batch`], and only while it is *vacant*: never used before, or
//! dead for so long that no [`Pin`] exists that could see it ([`Batch::is_free`]). It is read only through a
//! [`Reader`], and only after [`Reader::sees`] said that it was alive in the reader's batch. That implies that it
//! was written before the batch was published, which happened before the pin was taken, and that it
//! will not be vacant again before the pin is dropped. The loom tests below check this protocol.
#![allow(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::block::{BLOCK, Block, ones};
use super::chunks::Chunks;
use super::slot_cell::SlotCell;
use super::timeline::{Batch, Pin, Timeline};
use crate::prefetch::prefetch;
use crate::sync::{AtomicU64, Ordering};

/// Entries of type `T` with a row of `width` values of type `R` each, by slot.
pub(crate) struct Slots<T, R> {
    timeline: Arc<Timeline>,
    lifetimes: Chunks<Lifetime>,
    /// By number of the block.
    blocks: Chunks<Block>,
    entries: Chunks<SlotCell<T>>,
    rows: Chunks<SlotCell<R>>,
    width: usize,
    /// Where the files of the rows are, if they are not in memory.
    directory: Option<Arc<Path>>,
    /// Slots that were ever used are below this.
    end: AtomicU64,
    vacancies: Mutex<Vacancies>,
}

/// The batches in which a slot is alive: `born..died`.
struct Lifetime {
    born: AtomicU64,
    died: AtomicU64,
}

const ALIVE: u64 = u64::MAX;

/// Dead slots that one insertion makes vacant, at most: each drops what its owner has kept there, and there may be millions.
const FREED_PER_INSERT: usize = 64;
/// The same for a death, so that where nothing is inserted nothing is kept for long.
const FREED_PER_BURIAL: usize = 2;

/// What only the writer needs to know.
#[derive(Default)]
struct Vacancies {
    /// Free for use, the lowest first: points come together in few blocks again when most have died.
    free: BinaryHeap<Reverse<u32>>,
    /// Dead, with the epoch of their death, oldest first.
    dying: VecDeque<(u64, u32)>,
}

/// There is no room for another point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFull {
    /// All slots are in use.
    #[error("an index holds at most {} points at a time", u32::MAX)]
    Slots,
    /// A file for vectors cannot be made or enlarged.
    #[error("cannot make room for vectors in a file of {}: {kind}", .directory.display())]
    Files {
        /// Where the file is, or was to be.
        directory: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
}

impl<T, R> Slots<T, R> {
    /// No points; `width` values of `R` in each row.
    pub(crate) fn new(timeline: Arc<Timeline>, width: usize) -> Self {
        Self::with_rows_in(timeline, width, None)
    }

    /// The same, with the rows in files of a directory.
    pub(crate) fn with_rows_in(timeline: Arc<Timeline>, width: usize, directory: Option<Arc<Path>>) -> Self {
        Self {
            timeline,
            lifetimes: Chunks::new(1),
            blocks: Chunks::new(1),
            entries: Chunks::new(1),
            rows: Chunks::new(width),
            width,
            directory,
            end: AtomicU64::new(0),
            vacancies: Mutex::default(),
        }
    }

    /// The timeline that all reads and writes happen on.
    #[cfg(test)]
    pub(crate) fn timeline(&self) -> &Arc<Timeline> {
        &self.timeline
    }

    /// What a pin of this timeline sees.
    pub(crate) fn reader<'p>(&'p self, pin: &'p Pin<'p>) -> Reader<'p, T, R> {
        // Soundness rests on this: another timeline's pin does not hold back reuse here.
        assert!(pin.is_of(&self.timeline), "the pin belongs to another timeline");
        Reader { slots: self, batch: pin.batch(), end: self.end.load(Ordering::Acquire) as u32 }
    }

    /// What this batch sees: all before it, and what it has done so far.
    pub(crate) fn writer_view<'p>(&'p self, batch: &'p Batch<'_>) -> Reader<'p, T, R> {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        // Sound without a pin: only the batch itself vacates slots, and none that died in it or later.
        Reader { slots: self, batch: batch.number(), end: self.end.load(Ordering::Acquire) as u32 }
    }

    /// What must be kept: all that this batch or an older one that is still pinned sees.
    pub(crate) fn kept<'p>(&'p self, batch: &'p Batch<'_>) -> Kept<'p, T, R> {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        let vacancies = self.vacancies.lock();
        let first = vacancies.dying.partition_point(|&(epoch, _)| batch.is_free(epoch));
        let died = |&(_, slot): &(u64, u32)| self.lifetimes.get(slot)[0].died.load(Ordering::Relaxed);
        Kept { slots: self, died_from: vacancies.dying.get(first).map_or(ALIVE, died) }
    }

    /// Slots in use or waiting to be used again.
    pub(crate) fn capacity(&self) -> usize {
        self.end.load(Ordering::Acquire) as usize
    }

    /// Bytes of memory in use, heap data of entries and rows not included.
    pub(crate) fn bytes(&self) -> usize {
        let capacity = self.capacity();
        let each = size_of::<Lifetime>() + size_of::<T>();
        let rows = (capacity - self.mapped_of(capacity)) * self.width * size_of::<R>();
        capacity * each + rows + capacity.div_ceil(BLOCK) * size_of::<Block>()
    }

    /// Bytes of files in use.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped_of(self.capacity()) * self.width * size_of::<R>()
    }

    /// How many of so many rows are in files.
    fn mapped_of(&self, rows: usize) -> usize {
        let in_memory = if self.directory.is_some() { self.rows.mapped_from() as usize } else { usize::MAX };
        rows.saturating_sub(in_memory)
    }

    /// Makes room for so many new points in this batch: to insert them is no error then, whatever is removed meanwhile.
    ///
    /// # Errors
    /// [`IndexFull`]; no point has changed then.
    pub(crate) fn reserve(&self, batch: &Batch<'_>, points: usize) -> Result<(), IndexFull> {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        let vacant = self.vacate(batch, points).free.len();
        let Some(new) = points.checked_sub(vacant + 1) else { return Ok(()) };
        let first = self.end.load(Ordering::Relaxed);
        let last = first.checked_add(new as u64).and_then(|last| u32::try_from(last).ok());
        let last = last.filter(|&last| last < u32::MAX).ok_or(IndexFull::Slots)?;
        // No chunk is smaller than a block.
        let mut slots = (first as u32..last).step_by(BLOCK).chain([last]);
        slots.try_for_each(|slot| self.reserve_slot(slot))
    }

    /// Puts a new point into a vacant slot. It becomes visible when the batch is published.
    ///
    /// # Errors
    /// [`IndexFull`], unless there was made room for it; nothing has changed then.
    pub(crate) fn insert(
        &self,
        batch: &Batch<'_>,
        entry: T,
        row: impl ExactSizeIterator<Item = R>,
    ) -> Result<u32, IndexFull> {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        assert_eq!(row.len(), self.width, "a row has as many values as its index has columns");
        let slot = self.vacant_slot(batch)?;
        // SAFETY: the batch is the only writer, and the slot is vacant.
        unsafe { self.entries.get(slot)[0].write(entry) };
        for (cell, value) in self.rows.get(slot).iter().zip(row) {
            // SAFETY: as above.
            unsafe { cell.write(value) };
        }
        let lifetime = &self.lifetimes.get(slot)[0];
        // A reader loads `died` first: if it sees this life's end, it also sees this life's beginning.
        lifetime.born.store(batch.number(), Ordering::Relaxed);
        lifetime.died.store(ALIVE, Ordering::Release);
        self.block(slot).born();
        Ok(slot)
    }

    /// Ends the life of a slot with this batch. Its memory is kept until nobody can see it.
    pub(crate) fn remove(&self, batch: &Batch<'_>, slot: u32) {
        self.end_life(batch, slot);
        self.bury(batch, slot);
    }

    /// Ends the life of a slot with this batch; it is not used again before it is buried.
    pub(crate) fn end_life(&self, batch: &Batch<'_>, slot: u32) {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        let died = &self.lifetimes.get(slot)[0].died;
        assert_eq!(died.load(Ordering::Relaxed), ALIVE, "slot {slot} is removed twice");
        died.store(batch.number(), Ordering::Release);
        self.block(slot).died(batch.number());
    }

    /// Gives a dead slot back, once: it is used again when nobody is left who could have come across it until now.
    pub(crate) fn bury(&self, batch: &Batch<'_>, slot: u32) {
        assert!(batch.is_of(&self.timeline), "the batch belongs to another timeline");
        debug_assert_ne!(self.lifetimes.get(slot)[0].died.load(Ordering::Relaxed), ALIVE);
        self.vacate(batch, FREED_PER_BURIAL).dying.push_back((batch.epoch(), slot));
    }

    /// Empties slots that nobody can see any more, at most so many.
    fn vacate(&self, batch: &Batch<'_>, at_most: usize) -> MutexGuard<'_, Vacancies> {
        let mut vacancies = self.vacancies.lock();
        for _ in 0..at_most {
            let Some(&(epoch, slot)) = vacancies.dying.front() else { break };
            if !batch.is_free(epoch) {
                break;
            }
            vacancies.dying.pop_front();
            vacancies.free.push(Reverse(slot));
            self.drop_contents(slot);
        }
        vacancies
    }

    fn vacant_slot(&self, batch: &Batch<'_>) -> Result<u32, IndexFull> {
        if let Some(Reverse(slot)) = self.vacate(batch, FREED_PER_INSERT).free.pop() {
            return Ok(slot);
        }
        let end = self.end.load(Ordering::Relaxed);
        let slot = u32::try_from(end).ok().filter(|&slot| slot < u32::MAX).ok_or(IndexFull::Slots)?;
        self.reserve_slot(slot)?;
        self.end.store(end + 1, Ordering::Release);
        Ok(slot)
    }

    fn reserve_slot(&self, slot: u32) -> Result<(), IndexFull> {
        self.lifetimes.reserve(slot, |n| (0..n).map(|_| Lifetime::never()).collect());
        self.blocks.reserve(slot / BLOCK as u32, |n| (0..n).map(|_| Block::empty()).collect());
        self.entries.reserve(slot, |n| (0..n).map(|_| SlotCell::vacant()).collect());
        self.reserve_row(slot)
    }

    #[cfg(not(loom))]
    fn reserve_row(&self, slot: u32) -> Result<(), IndexFull> {
        match &self.directory {
            None => self.rows.reserve(slot, |n| (0..n).map(|_| SlotCell::vacant()).collect()),
            Some(directory) => {
                let full = |error: io::Error| IndexFull::Files {
                    directory: (**directory).into(),
                    kind: error.kind(),
                };
                self.rows.reserve_in(slot, directory).map_err(full)?;
            }
        }
        Ok(())
    }

    /// Loom's cells are not made of zeros.
    #[cfg(loom)]
    fn reserve_row(&self, slot: u32) -> Result<(), IndexFull> {
        self.rows.reserve(slot, |n| (0..n).map(|_| SlotCell::vacant()).collect());
        Ok(())
    }

    fn block(&self, slot: u32) -> &Block {
        &self.blocks.get(slot / BLOCK as u32)[0]
    }

    /// # Safety
    /// The slots hold points, will not be vacant while the rows are used, and lie within one block.
    unsafe fn rows_of(&self, slots: Range<u32>) -> &[R] {
        let cells = self.rows.run(slots);
        let first = cells.first().map_or(std::ptr::dangling(), |cell| cell.as_ptr());
        // SAFETY: a cell is laid out as its value, the cells were written before anybody could know of the points, and
        // they are not written again before they are vacant.
        unsafe { std::slice::from_raw_parts(first, cells.len()) }
    }

    /// Drops the entry and the row of a slot that becomes vacant.
    fn drop_contents(&self, slot: u32) {
        // SAFETY: the caller holds the batch or is `drop`; the slot was written once since it was last vacant, and
        // nobody can see it any more.
        unsafe {
            self.entries.get(slot)[0].drop_in_place();
            self.rows.get(slot).iter().for_each(|cell| cell.drop_in_place());
        }
    }
}

impl<T, R> Drop for Slots<T, R> {
    fn drop(&mut self) {
        let vacant = std::mem::take(&mut self.vacancies.get_mut().free).into_vec();
        let mut vacant: Vec<u32> = vacant.into_iter().map(|Reverse(slot)| slot).collect();
        vacant.sort_unstable();
        let end = self.end.load(Ordering::Relaxed) as u32;
        (0..end).filter(|slot| vacant.binary_search(slot).is_err()).for_each(|slot| self.drop_contents(slot));
    }
}

impl Lifetime {
    /// The lifetime of a slot that was never used: `[0, 0)` contains nothing.
    fn never() -> Self {
        Self { born: AtomicU64::new(0), died: AtomicU64::new(0) }
    }

    /// Whether the slot is alive in `batch`.
    #[inline]
    fn contains(&self, batch: u64) -> bool {
        // `died` first, see `Slots::insert`: old `born` and new `died` must not be taken for one life.
        batch < self.died.load(Ordering::Acquire) && self.born.load(Ordering::Relaxed) <= batch
    }
}

/// What was alive in one batch.
pub(crate) struct Reader<'p, T, R> {
    slots: &'p Slots<T, R>,
    batch: u64,
    end: u32,
}

impl<T, R> Clone for Reader<'_, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R> Copy for Reader<'_, T, R> {}

impl<'p, T, R> Reader<'p, T, R> {
    /// The batch that is looked at.
    pub(crate) fn batch(&self) -> u64 {
        self.batch
    }

    /// Slots from this one on are not alive for this reader.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Whether a slot below `end` is alive.
    pub(crate) fn sees(&self, slot: u32) -> bool {
        self.slots.lifetimes.get(slot)[0].contains(self.batch)
    }

    /// Asks for the memory that [`row_born_by`](Self::row_born_by) reads, if the slot is used.
    pub(crate) fn prefetch(&self, slot: u32) {
        if slot < self.end {
            prefetch(self.slots.lifetimes.get(slot));
            prefetch(self.slots.rows.get(slot));
        }
    }

    /// The row of a slot, if it is alive and holds the same point since the batch `last` or longer.
    pub(crate) fn row_born_by(&self, slot: u32, last: u64) -> Option<&'p [R]> {
        if slot >= self.end {
            return None;
        }
        let row = self.row(slot)?;
        // Of the life that the reader sees: the slot is not used again before the pin is dropped.
        (self.slots.lifetimes.get(slot)[0].born.load(Ordering::Relaxed) <= last).then_some(row)
    }

    /// The entry of a slot, if it is alive.
    pub(crate) fn entry(&self, slot: u32) -> Option<&'p T> {
        // SAFETY: the reader sees the slot.
        self.sees(slot).then(|| unsafe { &*self.slots.entries.get(slot)[0].as_ptr() })
    }

    /// The row of a slot, if it is alive.
    pub(crate) fn row(&self, slot: u32) -> Option<&'p [R]> {
        // SAFETY: the reader sees the slot.
        self.sees(slot).then(|| unsafe { self.slots.rows_of(slot..slot + 1) })
    }

    /// How many slots are alive by now in so many blocks, the first of which begins with `first`.
    pub(crate) fn live_now(&self, first: u32, blocks: usize) -> usize {
        let blocks = (first..self.end).step_by(BLOCK).take(blocks);
        blocks.map(|first| self.slots.block(first).live() as usize).sum()
    }

    /// All live slots, asked one by one.
    #[cfg(all(test, not(loom)))]
    fn slots(self) -> impl Iterator<Item = u32> {
        (0..self.end).filter(move |&slot| self.sees(slot))
    }

    /// The live slots of a range as runs of neighbours, with their rows end to end: `(first slot, rows)`. No run
    /// is longer than a [`BLOCK`].
    pub(crate) fn runs(self, range: Range<u32>) -> impl Iterator<Item = (u32, &'p [R])> {
        let blocks = range.start / BLOCK as u32..range.end.min(self.end).div_ceil(BLOCK as u32);
        blocks.flat_map(move |block| {
            let first = block * BLOCK as u32;
            ones(self.live(first)).map(move |run| {
                let slots = first + run.start..first + run.end;
                // SAFETY: the mask says that the reader sees all of them, and a run lies within a block.
                (slots.start, unsafe { self.slots.rows_of(slots) })
            })
        })
    }

    /// One bit for each slot of the block that starts at `first`: alive or not.
    pub(crate) fn live(&self, first: u32) -> u64 {
        if self.slots.block(first).is_empty_in(self.batch) {
            return 0;
        }
        let end = self.end.min(first.saturating_add(BLOCK as u32));
        let lifetimes = self.slots.lifetimes.run(first..end).iter().enumerate();
        lifetimes.fold(0, |mask, (i, lifetime)| mask | u64::from(lifetime.contains(self.batch)) << i)
    }
}

/// What a writer must keep: all that its batch or an older one that is still pinned sees.
pub(crate) struct Kept<'p, T, R> {
    slots: &'p Slots<T, R>,
    /// What died in this batch or later may still be seen.
    died_from: u64,
}

impl<T, R> Clone for Kept<'_, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R> Copy for Kept<'_, T, R> {}

impl<'p, T, R> Kept<'p, T, R> {
    /// The row of a slot, if somebody may see it. `slot` was used before.
    pub(crate) fn row(&self, slot: u32) -> Option<&'p [R]> {
        // SAFETY: what is alive or died in such a batch was written, and is not free before this writer's batch ends: a
        // batch does not vacate what it found not free, and in its own time nobody else vacates anything.
        (self.died(slot) >= self.died_from).then(|| unsafe { self.slots.rows_of(slot..slot + 1) })
    }

    /// Whether a slot is alive in the writer's batch.
    pub(crate) fn is_alive(&self, slot: u32) -> bool {
        self.died(slot) == ALIVE
    }

    fn died(&self, slot: u32) -> u64 {
        self.slots.lifetimes.get(slot)[0].died.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn slots() -> Slots<String, f32> {
        Slots::new(Arc::new(Timeline::new()), 2)
    }

    fn insert(slots: &Slots<String, f32>, batch: &Batch<'_>, name: &str, row: [f32; 2]) -> u32 {
        slots.insert(batch, name.to_owned(), row.into_iter()).unwrap()
    }

    fn names(slots: &Slots<String, f32>) -> Vec<String> {
        let pin = slots.timeline().pin();
        let reader = slots.reader(&pin);
        reader.slots().map(|slot| reader.entry(slot).unwrap().clone()).collect()
    }

    #[test]
    fn an_update_shows_the_old_or_the_new_version_never_both_or_neither() {
        let slots = slots();
        let old = insert(&slots, &slots.timeline().write(), "old", [1.0, 2.0]);
        let pin = slots.timeline().pin();
        {
            let batch = slots.timeline().write();
            slots.remove(&batch, old);
            insert(&slots, &batch, "new", [3.0, 4.0]);
            assert_eq!(names(&slots), ["old"]);
        }
        assert_eq!(names(&slots), ["new"]);
        let reader = slots.reader(&pin);
        assert_eq!(
            reader.slots().map(|slot| reader.row(slot).unwrap().to_vec()).collect::<Vec<_>>(),
            [[1.0, 2.0]]
        );
    }

    #[test]
    fn slots_of_the_dead_are_used_again_but_not_under_a_reader() {
        let slots = slots();
        let mut slot = insert(&slots, &slots.timeline().write(), "0", [0.0, 0.0]);
        for i in 1..100 {
            let batch = slots.timeline().write();
            slots.remove(&batch, slot);
            slot = insert(&slots, &batch, &i.to_string(), [0.0, 0.0]);
        }
        assert!(slots.capacity() <= 4, "{}", slots.capacity());

        let pin = slots.timeline().pin();
        for i in 0..100 {
            let batch = slots.timeline().write();
            slots.remove(&batch, slot);
            slot = insert(&slots, &batch, &i.to_string(), [0.0, 0.0]);
        }
        let reader = slots.reader(&pin);
        assert_eq!(
            reader.slots().map(|slot| reader.entry(slot).unwrap().as_str()).collect::<Vec<_>>(),
            ["99"]
        );
    }

    /// However many have become free at once.
    #[test]
    fn an_insertion_frees_some_of_the_dead_only() {
        let slots = Slots::<Arc<()>, f32>::new(Arc::new(Timeline::new()), 0);
        let entry = Arc::new(());
        let insert = |batch: &Batch<'_>| slots.insert(batch, Arc::clone(&entry), [].into_iter()).unwrap();
        let batch = slots.timeline().write();
        let used: Vec<u32> = (0..1000).map(|_| insert(&batch)).collect();
        drop(batch);
        let batch = slots.timeline().write();
        used.into_iter().for_each(|slot| slots.remove(&batch, slot));
        drop(batch);
        let batch = slots.timeline().write();
        for inserted in 1..=1000 {
            insert(&batch);
            let kept = Arc::strong_count(&entry) - 1 - inserted;
            assert_eq!(kept, 1000_usize.saturating_sub(64 * inserted));
        }
        assert_eq!(slots.capacity(), 1000);
    }

    #[test]
    fn where_room_was_made_inserting_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let (in_files, gone) = (Some(directory.path().into()), directory.path().to_owned());
        // So wide that the first rows are in a file.
        let row = || std::iter::repeat_n(0.0, 1024);
        let slots = Slots::<u32, f32>::with_rows_in(Arc::new(Timeline::new()), 1024, in_files);
        slots.reserve(&slots.timeline().write(), 64).unwrap();
        drop(directory);
        let batch = slots.timeline().write();
        let insert = |i: u32| slots.insert(&batch, i, row());
        let first: Vec<u32> = (0..64).map(|i| insert(i).unwrap()).collect();
        let full = Err(IndexFull::Files { directory: gone, kind: io::ErrorKind::NotFound });
        assert_eq!((insert(64).map(|_| ()), slots.reserve(&batch, 1)), (full.clone(), full.clone()));
        first.iter().for_each(|&slot| slots.remove(&batch, slot));
        drop(batch);
        drop(slots.timeline().write());
        let batch = slots.timeline().write();
        assert_eq!((slots.reserve(&batch, 64), slots.reserve(&batch, 65)), (Ok(()), full));
        assert_eq!(slots.reserve(&batch, u32::MAX as usize + 64), Err(IndexFull::Slots));
        (0..64).for_each(|i| assert!(slots.insert(&batch, i, row()).unwrap() < 64));
    }

    #[test]
    fn runs_cover_the_live_slots_in_order() {
        let slots = slots();
        let batch = slots.timeline().write();
        for i in 0..300 {
            insert(&slots, &batch, &i.to_string(), [i as f32, 0.0]);
        }
        drop(batch);
        let batch = slots.timeline().write();
        let dead = [0, 5, 6, 63, 64, 127, 128, 299];
        dead.into_iter().for_each(|slot| slots.remove(&batch, slot));
        drop(batch);

        let pin = slots.timeline().pin();
        let found: Vec<u32> = slots
            .reader(&pin)
            .runs(0..u32::MAX)
            .flat_map(|(first, rows)| {
                rows.chunks(2).zip(first..).map(|(row, slot)| {
                    assert_eq!(row[0], slot as f32);
                    slot
                })
            })
            .collect();
        assert_eq!(found, (0..300).filter(|slot| !dead.contains(slot)).collect::<Vec<_>>());
    }

    /// At every time, for readers of every age.
    #[test]
    fn blocks_without_points_are_passed_over_until_they_are_used_again() {
        let slots = slots();
        let batch = slots.timeline().write();
        let all = (0..1000).map(|i| insert(&slots, &batch, &i.to_string(), [0.0, 0.0])).collect::<Vec<u32>>();
        drop(batch);
        let runs = |reader: Reader<'_, String, f32>| {
            let runs = reader.runs(0..u32::MAX);
            runs.flat_map(|(first, rows)| first..first + rows.len() as u32 / 2).collect::<Vec<u32>>()
        };
        let old = slots.timeline().pin();
        let batch = slots.timeline().write();
        all.iter().filter(|&slot| slot % 100 != 99).for_each(|&slot| slots.remove(&batch, slot));
        let left: Vec<u32> = (99..1000).step_by(100).collect();
        assert_eq!((runs(slots.writer_view(&batch)), runs(slots.reader(&old))), (left.clone(), all.clone()));
        drop(batch);
        let reader = slots.reader(&old);
        assert_eq!((runs(reader), reader.live_now(0, 2), reader.live_now(960, 9)), (all, 1, 1));
        let pin = slots.timeline().pin();
        let reader = slots.reader(&pin);
        assert_eq!((runs(reader), reader.live(0), reader.live(64)), (left.clone(), 0, 1 << 35));
        drop((old, pin));
        (0..2).for_each(|_| drop(slots.timeline().write()));
        // The lowest come first.
        let batch = slots.timeline().write();
        let again: Vec<u32> = (0..64).map(|i| insert(&slots, &batch, &i.to_string(), [1.0, 1.0])).collect();
        assert_eq!(again, (0..64).collect::<Vec<_>>());
        drop(batch);
        let pin = slots.timeline().pin();
        assert_eq!(runs(slots.reader(&pin)), again.into_iter().chain(left).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_died_is_dropped_although_nothing_is_inserted() {
        let slots = Slots::<Arc<()>, f32>::new(Arc::new(Timeline::new()), 0);
        let entry = Arc::new(());
        let batch = slots.timeline().write();
        let insert = |_| slots.insert(&batch, Arc::clone(&entry), [].into_iter()).unwrap();
        let used: Vec<u32> = (0..300).map(insert).collect();
        drop(batch);
        for part in used.chunks(100) {
            let batch = slots.timeline().write();
            part.iter().for_each(|&slot| slots.remove(&batch, slot));
        }
        assert_eq!(Arc::strong_count(&entry) - 1, 100);
    }
}

/// Run by `cargo xtask test`, or `RUSTFLAGS="--cfg loom" cargo test -p vektonn-index --release --lib loom_`.
#[cfg(all(test, loom))]
mod loom_tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// One slot is updated three times, which uses the first slot again, while a reader looks twice.
    #[test]
    fn loom_a_reader_sees_exactly_one_version_and_never_a_slot_being_rewritten() {
        loom::model(|| {
            let timeline = Arc::new(Timeline::new());
            let slots = Arc::new(Slots::<u64, u64>::new(timeline, 1));
            let first = slots.insert(&slots.timeline().write(), 0, [0].into_iter()).unwrap();
            let reader = {
                let slots = Arc::clone(&slots);
                loom::thread::spawn(move || {
                    let mut last = 0;
                    for _ in 0..2 {
                        let pin = slots.timeline().pin();
                        let reader = slots.reader(&pin);
                        let seen: Vec<u64> =
                            reader.runs(0..u32::MAX).flat_map(|(_, rows)| rows.iter().copied()).collect();
                        assert_eq!(seen.len(), 1, "saw {seen:?}");
                        assert!(seen[0] >= last, "went back from {last} to {}", seen[0]);
                        last = seen[0];
                    }
                })
            };
            let mut slot = first;
            for version in 1..=3 {
                let batch = slots.timeline().write();
                slots.remove(&batch, slot);
                slot = slots.insert(&batch, version, [version].into_iter()).unwrap();
            }
            reader.join().unwrap();
        });
    }
}
