//! An array that grows without moving what it holds, so that readers need no lock.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use super::block::BLOCK;
use super::mapped::{MAPPED_BYTES_MIN, Memory, Zeroed};

/// Slots in the first chunk; each further chunk is twice as large, so that blocks never straddle chunks.
const FIRST: usize = BLOCK;
/// Enough for every u32 slot number.
const CHUNKS: usize = 27;

/// A growing array of `width` values per slot, in chunks of 64, 128, 256, ... slots that never move.
///
/// Large chunks come from the allocator as untouched pages, so the unused part of the last chunk costs
/// address space but no memory.
pub(crate) struct Chunks<T> {
    width: usize,
    chunks: [OnceLock<Memory<T>>; CHUNKS],
}

/// The chunk of a slot, and the slot's place in it.
#[inline(always)]
fn locate(slot: u32) -> (usize, usize) {
    // Chunk `i` begins at `FIRST * 2^i` of this.
    let shifted = slot as usize + FIRST;
    let log2 = shifted.ilog2();
    ((log2 - FIRST.ilog2()) as usize, shifted ^ 1 << log2)
}

impl<T> Chunks<T> {
    /// An empty array of `width` values per slot.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// Makes room for `slot`; `allocate` is called with the number of values in its chunk if that is new.
    pub(crate) fn reserve(&self, slot: u32, allocate: impl FnOnce(usize) -> Box<[T]>) {
        let (chunk, _) = locate(slot);
        self.chunks[chunk].get_or_init(|| allocate((FIRST << chunk) * self.width).into());
    }

    /// Makes room for `slot`, with zeros.
    pub(crate) fn reserve_zeroed(&self, slot: u32)
    where
        T: Zeroed,
    {
        let (chunk, _) = locate(slot);
        self.chunks[chunk].get_or_init(|| Memory::zeroed((FIRST << chunk) * self.width));
    }

    /// Slots below this one are always in memory: each of the chunks they are in would be a small file.
    pub(crate) fn mapped_from(&self) -> u32 {
        let is_small = |&chunk: &usize| (FIRST << chunk) * self.width * size_of::<T>() < MAPPED_BYTES_MIN;
        let small: usize = (0..CHUNKS).take_while(is_small).map(|chunk| FIRST << chunk).sum();
        u32::try_from(small).unwrap_or(u32::MAX)
    }

    /// Makes room for `slot`, with zeros, in a file of the directory unless it is below [`mapped_from`](Self::mapped_from).
    /// Only for the one writer.
    pub(crate) fn reserve_in(&self, slot: u32, directory: &Path) -> io::Result<()>
    where
        T: Zeroed,
    {
        if slot < self.mapped_from() {
            self.reserve_zeroed(slot);
            return Ok(());
        }
        let (chunk, _) = locate(slot);
        if self.chunks[chunk].get().is_none() {
            let memory = Memory::in_directory(directory, (FIRST << chunk) * self.width)?;
            self.chunks[chunk].get_or_init(|| memory);
        }
        Ok(())
    }

    /// The values of a run of slots that lies within one block.
    ///
    /// # Panics
    /// If the slots were never reserved or straddle a chunk.
    pub(crate) fn run(&self, slots: Range<u32>) -> &[T] {
        let (chunk, first) = locate(slots.start);
        let values = self.chunks[chunk].get().map_or(&[][..], |values| values);
        &values[first * self.width..(first + slots.len()) * self.width]
    }

    /// The values of one slot.
    ///
    /// # Panics
    /// If the slot was never reserved.
    pub(crate) fn get(&self, slot: u32) -> &[T] {
        self.run(slot..slot + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_chunks_without_gaps_and_blocks_never_straddle() {
        let mut expected = (0, 0);
        for slot in 0..100_000u32 {
            assert_eq!(locate(slot), expected, "slot {slot}");
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
            if slot % BLOCK as u32 == 0 {
                assert_eq!(locate(slot).0, locate(slot + BLOCK as u32 - 1).0);
            }
        }
        assert!(locate(u32::MAX).0 < CHUNKS);
    }

    #[test]
    fn values_stay_where_they_are_while_the_array_grows() {
        let chunks = Chunks::<u32>::new(3);
        for slot in 0..1000 {
            chunks.reserve(slot, |n| (0..n as u32).collect());
        }
        let early: *const u32 = &chunks.get(5)[0];
        chunks.reserve(100_000, |n| vec![7; n].into());
        assert!(std::ptr::eq(early, &chunks.get(5)[0]));
        assert_eq!(chunks.get(5), [15, 16, 17]);
        assert_eq!(chunks.run(64..66), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn small_chunks_of_files_are_in_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        for (width, first_chunk) in [(1, 10), (16, 6), (1000, 1), (1025, 0), (100_000, 0)] {
            let chunks = Chunks::<u32>::new(width);
            for chunk in 0..=first_chunk {
                let slot = (FIRST << chunk) as u32 - FIRST as u32;
                chunks.reserve_in(slot, directory.path()).expect("room");
                assert_eq!(slot >= chunks.mapped_from(), chunk == first_chunk, "{width}, chunk {chunk}");
                assert_eq!(chunks.get(slot), vec![0; width]);
            }
            let nowhere = directory.path().join("nowhere");
            assert!(Chunks::<u32>::new(width).reserve_in(chunks.mapped_from(), &nowhere).is_err());
            let is_in_memory = Chunks::<u32>::new(width).reserve_in(0, &nowhere).is_ok();
            assert_eq!(is_in_memory, first_chunk > 0);
        }
    }
}
