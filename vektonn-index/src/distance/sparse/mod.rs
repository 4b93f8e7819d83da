//! How near may each of many sparse points be? Sums of 8-bit impacts, for the inverted index.
//!
//! Every point of a window has a 16-bit sum. Posting lists add to it `weight * impact / 256`, rounded down. Short lists
//! name their points ([`add`], [`subtract`]); long ones have an impact for every point of the window, in [`Codes`], and
//! all of them are added in one pass ([`SparseKernels::add_dense`]), which also finds the largest sum of each block.
//!
//! Sums wrap around: the caller sees to it that the final ones fit. All instruction sets give the same bits; `scalar` is
//! the definition.
#![allow(unsafe_code, reason = "calls code compiled for the detected instruction set")]

mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads from and stores to slices")]
mod x86_64;

use super::InstructionSet;

/// Points of a window at most: what 16 bits can number.
pub(crate) const WINDOW_POINTS_MAX: usize = 1 << 16;

/// Points that share a largest sum.
pub(crate) const BLOCK: usize = 64;

/// The sums of a block's points.
pub(crate) type Block = [u16; BLOCK];

/// The impacts of a block's points in a long list, zero where the list has no posting. The impacts of the points `i` and
/// `i + BLOCK / 2` are neighbours: as the two halves of a 16-bit lane they need no shuffling to become 16-bit numbers.
pub(crate) type Codes = [u8; BLOCK];

/// Where in its block's [`Codes`] a point has its impact.
pub(crate) fn place(point: usize) -> usize {
    let half = BLOCK / 2;
    point % half * 2 + point % BLOCK / half
}

/// A long list and its weight in this query.
#[derive(Clone, Copy)]
pub(crate) struct DenseList<'l> {
    pub(crate) codes: &'l [Codes],
    pub(crate) weight: u16,
}

/// The long lists of a query on one window.
#[derive(Default)]
pub(crate) struct DenseLists<'l> {
    /// Each adds `weight * impact / 256`.
    pub(crate) plus: Vec<DenseList<'l>>,
    /// Each takes away `weight * (impact - 1) / 256`, or nothing where there is no posting.
    pub(crate) minus: Vec<DenseList<'l>>,
}

/// Adds `weight * impact / 256` to the sums of the list's points.
#[inline]
pub(crate) fn add(sums: &mut [u16; WINDOW_POINTS_MAX], points: &[u16], impacts: &[u8], weight: u16) {
    for (&point, &impact) in points.iter().zip(impacts) {
        let sum = &mut sums[usize::from(point)];
        *sum = sum.wrapping_add(share(impact, weight));
    }
}

/// The same, and notes the points whose sums reach `at_least` by it.
#[inline]
pub(crate) fn add_and_note(
    sums: &mut [u16; WINDOW_POINTS_MAX],
    points: &[u16],
    impacts: &[u8],
    weight: u16,
    at_least: u16,
    noted: &mut Vec<u16>,
) {
    for (&point, &impact) in points.iter().zip(impacts) {
        let sum = &mut sums[usize::from(point)];
        let before = *sum;
        *sum = before.wrapping_add(share(impact, weight));
        if before < at_least && *sum >= at_least {
            noted.push(point);
        }
    }
}

/// Takes `weight * (impact - 1) / 256` away from the sums of the list's points. No impact is zero.
#[inline]
pub(crate) fn subtract(sums: &mut [u16; WINDOW_POINTS_MAX], points: &[u16], impacts: &[u8], weight: u16) {
    for (&point, &impact) in points.iter().zip(impacts) {
        let sum = &mut sums[usize::from(point)];
        *sum = sum.wrapping_sub(share(impact.saturating_sub(1), weight));
    }
}

#[inline]
fn share(impact: u8, weight: u16) -> u16 {
    ((u32::from(impact) * u32::from(weight)) >> 8) as u16
}

type AddDense = unsafe fn(&mut [Block], &DenseLists<'_>, u16, &mut [u16]);

/// The kernels of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct SparseKernels {
    add_dense: AddDense,
}

// What makes the call below sound: `new` is the only constructor, and it never picks functions compiled for an
// instruction set that this processor does not support; the lengths that they rely on are asserted.
impl SparseKernels {
    /// The kernels of the instruction set, or the best ones below it that this processor supports.
    pub(crate) fn new(instruction_set: InstructionSet) -> Self {
        match instruction_set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512
                if instruction_set.is_supported() && std::is_x86_feature_detected!("avx512bw") =>
            {
                Self { add_dense: x86_64::avx512::add_dense }
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 | InstructionSet::Avx512 if InstructionSet::Avx2.is_supported() => {
                Self { add_dense: x86_64::avx2::add_dense }
            }
            _ => Self { add_dense: scalar::add_dense },
        }
    }

    /// Adds the long lists and the bias to all sums, and finds the largest sum of each block.
    ///
    /// # Panics
    /// If a list is shorter than `blocks`, or `maxima` is.
    pub(crate) fn add_dense(
        &self,
        blocks: &mut [Block],
        lists: &DenseLists<'_>,
        bias: u16,
        maxima: &mut [u16],
    ) {
        assert_eq!(maxima.len(), blocks.len());
        assert!(lists.plus.iter().chain(&lists.minus).all(|list| list.codes.len() >= blocks.len()));
        // SAFETY: `new` picked functions that this processor supports, and the lengths are as they must be.
        unsafe { (self.add_dense)(blocks, lists, bias, maxima) }
    }
}
