//! How far apart are coded rows, four at a time? For graphs, which visit rows one by one.
//!
//! A coded row is a whole number of [`Line`]s, so that a visit touches cache lines of that row only and nothing else
//! belongs to its score. Codes are 0..=127, and those of an inner product's query -127..=127: their differences fit a signed
//! byte and their products, added in pairs, 16 bits, so that every instruction set computes the same integers without
//! saturation. A query keeps all bits of its codes, a row all or the upper four of them ([`Width`]).
//!
//! The whole loop that visits rows is compiled for each instruction set: it is a [`Task`], generic over a [`RowKernel`].

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "vector loads, and instructions that the kernel's existence says are there")]
mod aarch64;
mod dispatch;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads, and instructions that the kernel's existence says are there")]
mod x86_64;

use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use dispatch::RowKernels;

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

/// What a row keeps of its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// All seven bits, in a byte.
    Byte,
    /// The upper four bits. The first 64 codes of a line are in the lower halves of its bytes, the other 64 in the upper ones.
    Nibble,
}

/// So many codes have the same upper four bits.
pub(crate) const COARSE: u8 = (CODE_MAX + 1) / 16;

impl Width {
    /// How many codes of a row a line has.
    pub(crate) const fn codes_per_line(self) -> usize {
        match self {
            Self::Byte => LINE,
            Self::Nibble => 2 * LINE,
        }
    }

    /// How many lines the codes of a row take.
    pub(crate) fn lines(self, codes: usize) -> usize {
        codes.div_ceil(self.codes_per_line())
    }

    /// How many lines the codes of a query take that is compared with such rows.
    pub(crate) fn query_lines(self, codes: usize) -> usize {
        self.lines(codes) * (self.codes_per_line() / LINE)
    }

    /// Writes what a row keeps of its codes; what they do not fill becomes 0.
    pub(crate) fn write_row(self, codes: &[u8], row: &[Line]) {
        match self {
            Self::Byte => write_bytes(codes, row),
            Self::Nibble => {
                let mut parts = codes.chunks(2 * LINE);
                for line in row {
                    let codes = parts.next().unwrap_or_default();
                    let (lower, upper) = codes.split_at(codes.len().min(LINE));
                    let mut bytes = [0; LINE];
                    bytes.iter_mut().zip(lower).for_each(|(byte, code)| *byte = code / COARSE);
                    bytes.iter_mut().zip(upper).for_each(|(byte, code)| *byte |= code / COARSE * 16);
                    write_bytes(&bytes, std::slice::from_ref(line));
                }
            }
        }
    }

    /// The codes of a row; if only their upper bits are left, the first that have them.
    pub(crate) fn read_row(self, row: &[Line]) -> impl Iterator<Item = u8> {
        row.iter().flat_map(move |line| {
            let words = line.words().iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
            let bytes: Vec<u8> = words.flatten().collect();
            match self {
                Self::Byte => bytes,
                Self::Nibble => {
                    let lower = bytes.iter().map(|byte| byte % 16 * COARSE);
                    lower.chain(bytes.iter().map(|byte| byte / 16 * COARSE)).collect()
                }
            }
        })
    }
}

/// Writes the codes of a query; what they do not fill becomes 0.
pub(crate) fn write_bytes(codes: &[u8], lines: &[Line]) {
    let mut codes = codes.chunks(WORD);
    for word in lines.iter().flat_map(Line::words) {
        let mut bytes = [0; WORD];
        if let Some(codes) = codes.next() {
            bytes[..codes.len()].copy_from_slice(codes);
        }
        // Relaxed: what makes a row reachable orders this.
        word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// What an instruction set computes of coded rows, all of the width that `NIBBLES` says. A value of such a type exists only where
/// the processor has the instruction set.
pub(crate) trait RowKernel: Copy {
    /// The squared Euclidean distances of a query to rows.
    fn squared_l2_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS];

    /// The squared Euclidean distances of a row to others.
    fn squared_l2_among<const NIBBLES: bool>(self, row: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS];

    /// The inner products of a query with rows.
    fn dot_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS];
}

/// What is to be compiled for each instruction set. Everything that `run` calls and that uses the kernel must be
/// `#[inline(always)]`.
pub(crate) trait Task {
    /// What it finds.
    type Output;

    /// Does it.
    fn run(self, kernel: impl RowKernel) -> Self::Output;
}
