//! The kernels for NEON with the dot product instructions.

use std::arch::aarch64::*;

use super::{LINE, Line, ROWS, RowKernel};
use crate::distance::aarch64::dotprod::dot;

/// Exists only where the processor has NEON and its dot products.
#[derive(Clone, Copy)]
pub(super) struct Dotprod(());

/// The bits of a byte that the upper four bits of a code are.
const UPPER: u8 = 0x78;
/// Codes of a register.
const LANES: usize = 16;

/// A line in registers.
type Quarters = [uint8x16_t; LINE / LANES];

impl Dotprod {
    /// # Safety
    /// The processor has NEON and its dot products.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn load(self, line: &Line) -> Quarters {
        let start = line.0.as_ptr().cast::<u8>();
        // SAFETY: `self` exists; a line is four quarters of 16 readable bytes.
        std::array::from_fn(|i| unsafe { vld1q_u8(start.add(i * LANES)) })
    }

    /// The codes of a row's line, as many as two lines of a query have; without nibbles only the first are used.
    #[inline(always)]
    fn codes<const NIBBLES: bool>(self, line: &Line) -> [Quarters; 2] {
        let quarters = self.load(line);
        if !NIBBLES {
            return [quarters; 2];
        }
        // SAFETY: `self` exists.
        unsafe {
            let upper = vdupq_n_u8(UPPER);
            [
                quarters.map(|codes| vandq_u8(vshlq_n_u8::<3>(codes), upper)),
                quarters.map(|codes| vandq_u8(vshrq_n_u8::<1>(codes), upper)),
            ]
        }
    }

    #[inline(always)]
    fn query<const NIBBLES: bool>(self, query: &[Line]) -> impl Iterator<Item = [Quarters; 2]> + Clone {
        let lines = query.chunks_exact(1 + usize::from(NIBBLES));
        lines.map(move |lines| [self.load(&lines[0]), self.load(&lines[lines.len() - 1])])
    }

    /// Adds up what `add` adds of all lines of `a`, which is given line by line of a row, and each of several rows.
    #[inline(always)]
    fn sums_of<const NIBBLES: bool>(
        self,
        a: impl Iterator<Item = [Quarters; 2]> + Clone,
        rows: [&[Line]; ROWS],
        add: impl Fn(int32x4_t, uint8x16_t, uint8x16_t) -> int32x4_t,
    ) -> [i32; ROWS] {
        rows.map(|row| {
            // SAFETY: `self` exists.
            let mut sums = unsafe { [vdupq_n_s32(0); LINE / LANES] };
            for (a, line) in a.clone().zip(row) {
                let b = self.codes::<NIBBLES>(line);
                for (a, b) in a.iter().zip(&b).take(1 + usize::from(NIBBLES)) {
                    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                        *sum = add(*sum, *a, *b);
                    }
                }
            }
            let [a, b, c, d] = sums;
            // SAFETY: `self` exists.
            unsafe { vaddvq_s32(vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d))) }
        })
    }

    /// Adds to each sum four products. Codes fit signed bytes.
    #[inline(always)]
    fn add_products(self, sums: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
        // SAFETY: `self` exists.
        unsafe { dot(sums, vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)) }
    }

    #[inline(always)]
    fn add_squares(self, sums: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
        // SAFETY: `self` exists.
        let difference = unsafe { vabdq_u8(a, b) };
        self.add_products(sums, difference, difference)
    }
}

impl RowKernel for Dotprod {
    #[inline(always)]
    fn squared_l2_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let query = self.query::<NIBBLES>(query);
        let sums = self.sums_of::<NIBBLES>(query, rows, |sums, a, b| self.add_squares(sums, a, b));
        sums.map(|sum| sum as u32)
    }

    #[inline(always)]
    fn squared_l2_among<const NIBBLES: bool>(self, row: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let codes = row.iter().map(|line| self.codes::<NIBBLES>(line));
        let sums = self.sums_of::<NIBBLES>(codes, rows, |sums, a, b| self.add_squares(sums, a, b));
        sums.map(|sum| sum as u32)
    }

    #[inline(always)]
    fn dot_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        let query = self.query::<NIBBLES>(query);
        self.sums_of::<NIBBLES>(query, rows, |sums, a, b| self.add_products(sums, a, b))
    }
}
