//! How far apart are two coded rows? For graphs, which visit rows one by one.
//!
//! A coded row is a whole number of [`Line`]s, so that a visit touches cache lines of that row only and nothing else
//! belongs to its score. Codes of rows are 0..=127: their differences fit a signed byte and their products, added in
//! pairs, 16 bits, so that every instruction set computes the same integers without saturation. Codes of an inner
//! product's query are -127..=127.
//!
//! The whole loop that visits rows is compiled for each instruction set: it is a [`Task`], generic over a [`RowKernel`].

mod dispatch;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads, and instructions that the kernel's existence says are there")]
mod x86_64;

use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use dispatch::{RowKernels, prefetch};

/// Bytes of a line.
pub(crate) const LINE: usize = 64;
const WORD: usize = size_of::<u32>();
/// Words of a line.
pub(crate) const LINE_WORDS: usize = LINE / WORD;

/// Rows that are scored together.
pub(crate) const ROWS: usize = 4;

/// The largest code of a row.
pub(crate) const CODE_MAX: u8 = 127;

/// A cache line of words.
///
/// Kernels read it as bytes, without atomic operations. So what holds codes is written only while no kernel can be given
/// it: before its slot can be reached, and not again until nobody can reach it any more.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Line([AtomicU32; LINE_WORDS]);

impl Line {
    /// Its words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU32; LINE_WORDS] {
        &self.0
    }
}

/// Writes codes; what they do not fill becomes 0.
pub(crate) fn write_codes(codes: &[u8], row: &[Line]) {
    let words = row.iter().flat_map(Line::words);
    let mut codes = codes.chunks(WORD);
    for word in words {
        let mut bytes = [0; WORD];
        if let Some(codes) = codes.next() {
            bytes[..codes.len()].copy_from_slice(codes);
        }
        // Relaxed: what makes the row reachable orders this.
        word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// What an instruction set computes of two coded rows of equal length. A value of such a type exists only where the
/// processor has the instruction set.
pub(crate) trait RowKernel: Copy {
    /// The squared Euclidean distance of two rows.
    fn squared_l2(self, a: &[Line], b: &[Line]) -> u32;

    /// The same of one row and several others.
    #[inline(always)]
    fn squared_l2_of(self, a: &[Line], b: [&[Line]; ROWS]) -> [u32; ROWS] {
        b.map(|b| self.squared_l2(a, b))
    }

    /// The inner product of a query with a row.
    fn dot(self, query: &[Line], row: &[Line]) -> i32;

    /// The same with several rows.
    #[inline(always)]
    fn dot_of(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        rows.map(|row| self.dot(query, row))
    }
}

/// What is to be compiled for each instruction set. Everything that `run` calls and that uses the kernel must be
/// `#[inline(always)]`.
pub(crate) trait Task {
    /// What it finds.
    type Output;

    /// Does it.
    fn run(self, kernel: impl RowKernel) -> Self::Output;
}
