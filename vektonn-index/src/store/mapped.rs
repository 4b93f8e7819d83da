//! Large arrays of zeros that take memory page by page, once they are written to.
//!
//! The allocator's zeroed memory does so only where no more than 16 bytes of alignment are asked for. Mapped memory
//! does always, and can lie in a file: then the system takes out of memory what is not in use.
//!
//! Large pages are not asked for: in a virtual machine their first use costs more than all searches of it gain.
//!
//! # Why it is sound
//! A [`Memory`] owns its bytes: those of a file too, since the file has no name and is open nowhere else. Values are of
//! types that zero bytes are a value of, and change through shared references only where their type allows it.
#![allow(unsafe_code, reason = "views mapped bytes as values")]

use std::alloc::{Layout, handle_alloc_error};
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;

/// Smaller arrays come from the allocator: there may be many, and a process may have some ten thousand mappings.
pub(super) const MAPPED_BYTES_MIN: usize = 256 << 10;
/// The same for arrays that are few, and come and go: what such arrays leave behind among others, the allocator keeps.
const MAPPED_APART_BYTES_MIN: usize = 32 << 10;

/// Types of which zero bytes are a value.
///
/// # Safety
/// That is so, and values need not be dropped.
pub(crate) unsafe trait Zeroed {}

// SAFETY: zero bytes are the number 0.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: as above.
unsafe impl Zeroed for u8 {}
// SAFETY: as above.
unsafe impl Zeroed for u16 {}
// SAFETY: as above.
unsafe impl Zeroed for u32 {}
// SAFETY: as above.
unsafe impl Zeroed for f32 {}
// SAFETY: there is nothing that could not be zero.
unsafe impl Zeroed for () {}
// SAFETY: zero bytes are a value of each element; bytes between them mean nothing.
unsafe impl<T: Zeroed, const N: usize> Zeroed for [T; N] {}
// SAFETY: as above.
unsafe impl<A: Zeroed, B: Zeroed> Zeroed for (A, B) {}

/// An array that never moves.
pub(crate) struct Memory<T> {
    start: NonNull<T>,
    len: usize,
    _owner: Owner<T>,
}

enum Owner<T> {
    /// A box, not as one: nothing else may be read or written through while there is one.
    Allocator(NonNull<[T]>),
    Mapping(#[expect(dead_code, reason = "is kept")] MmapRaw),
}

// SAFETY: `start` stands for the owner, which is an owned array of `T`.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T: Zeroed> Memory<T> {
    /// Zeros in memory.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self::mapped_from(MAPPED_BYTES_MIN, len)
    }

    /// The same for arrays that are few, and come and go: none leaves holes in memory that is not its own.
    pub(crate) fn zeroed_apart(len: usize) -> Self {
        Self::mapped_from(MAPPED_APART_BYTES_MIN, len)
    }

    fn mapped_from(bytes_min: usize, len: usize) -> Self {
        let bytes = len * size_of::<T>();
        if bytes >= bytes_min
            && let Ok(map) = MmapOptions::new().len(bytes).map_anon()
        {
            return Self::of_mapping(map.into(), len)
                .unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()));
        }
        // SAFETY: zero bytes are a value of the type.
        Self::from(unsafe { Box::new_zeroed_slice(len).assume_init() })
    }

    /// Zeros in a file of the directory that has no name and is gone with the array.
    ///
    /// # Errors
    /// There is no such file, or no room for it.
    pub(crate) fn in_directory(directory: &Path, len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<T>();
        let file = tempfile::tempfile_in(directory)?;
        // All of it, now: a disk that is full later would end the process at a write to memory.
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        // Each row is read for itself: what lies around it is not of use.
        map.advise(Advice::Random)?;
        Self::of_mapping(map, len)
    }

    fn of_mapping(map: MmapRaw, len: usize) -> io::Result<Self> {
        let start = map.as_mut_ptr().cast::<T>();
        if !start.is_aligned() || map.len() < len * size_of::<T>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len, _owner: Owner::Mapping(map) })
    }
}

impl<T> From<Box<[T]>> for Memory<T> {
    fn from(values: Box<[T]>) -> Self {
        let values = NonNull::from(Box::leak(values));
        Self { start: values.cast(), len: values.len(), _owner: Owner::Allocator(values) }
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        if let Self::Allocator(values) = self {
            // SAFETY: it was a box, and nobody refers to it any more.
            drop(unsafe { Box::from_raw(values.as_ptr()) });
        }
    }
}

impl<T> Deref for Memory<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the owner holds as many values there, initialised from the beginning, as long as `self` lives, and
        // is not touched otherwise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Memory<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has a reference: `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn is_zero_until_it_is_written() {
        for len in [0, 1, 1000, MAPPED_BYTES_MIN, 3 * MAPPED_BYTES_MIN / 4 + 1] {
            let memory = Memory::<AtomicU32>::zeroed(len);
            assert_eq!(memory.len(), len);
            assert!(memory.iter().all(|value| value.load(Ordering::Relaxed) == 0));
            memory.iter().zip(0..).for_each(|(value, i)| value.store(i, Ordering::Relaxed));
            assert!(memory.iter().zip(0..).all(|(value, i)| value.load(Ordering::Relaxed) == i));
        }
    }

    #[test]
    fn lies_in_a_file_without_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::<AtomicU32>::in_directory(directory.path(), 100_000).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        memory.iter().zip(0..).for_each(|(value, i)| value.store(i, Ordering::Relaxed));
        assert!(memory.iter().zip(0..).all(|(value, i)| value.load(Ordering::Relaxed) == i));
        let nowhere = Memory::<AtomicU32>::in_directory(&directory.path().join("nowhere"), 1);
        assert_eq!(nowhere.err().unwrap().kind(), io::ErrorKind::NotFound);
        let too_large = Memory::<AtomicU32>::in_directory(directory.path(), 1 << 50);
        assert!(too_large.is_err());
    }

    #[test]
    fn is_written_as_a_slice() {
        for len in [3, MAPPED_APART_BYTES_MIN] {
            let mut memory = Memory::<(u32, [u8; 3])>::zeroed_apart(len);
            memory.iter_mut().zip(1..).for_each(|(value, i)| *value = (i, [i as u8; 3]));
            assert_eq!(memory[len - 1], (len as u32, [len as u8; 3]));
        }
    }

    #[test]
    fn keeps_what_it_is_made_of() {
        let memory = Memory::from(vec![String::from("a"), String::from("b")].into_boxed_slice());
        assert_eq!(*memory, ["a", "b"]);
    }
}
