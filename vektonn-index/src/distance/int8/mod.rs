//! Which of many rows may be near? Integer dot products of 8-bit codes, turned into bounds.
//!
//! # Layout
//! Rows come in *groups* of [`GROUP`]. A [`Line`] holds [`STEP`] neighbouring dimensions of all rows of a group, row by
//! row, so that each 32-bit lane of a vector register belongs to one row: a multiply-add of a line with the query's
//! four codes, repeated in all lanes, adds to sixteen dot products at once, and nothing has to be summed across lanes.
//! This is the usual layout for `vpdpbusd` (Intel oneDNN calls it "4i16o4i"); a line is a cache line. The codes of a
//! query come in [`Window`]s of two steps, so a group has an even number of lines.
//!
//! # Halves
//! A single query is as fast as memory, so lines are kept in halves (`halves.rs`): one line has the upper four bits of two, another
//! one the lower four. A scan for one query reads the upper halves, and the lower ones of groups where these leave a row. For
//! several queries the lines of a tile are joined once.
//!
//! # Ranges
//! Codes of rows are 0..=255, codes of queries -128..=127. AVX2 multiplies into 16-bit sums (`vpmaddubsw`), and here adds
//! two of them before it widens. So that no sum overflows, its queries must keep within [`fits`]; those of other instruction
//! sets, which sum in 32 bits, are coded about twice as finely.
//!
//! All instruction sets give the same bits for the same codes: the dot products are exact, and the score is made of them by the same single
//! roundings. `scalar` is the definition.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "vector loads from and stores to slices, an instruction without intrinsic")]
mod aarch64;
mod dispatch;
mod encode;
mod halves;
mod rotation;
mod scalar;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod scans;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads from and stores to slices")]
mod x86_64;

pub(crate) use dispatch::CodeKernels;
pub(crate) use encode::QueryCode;
pub(crate) use halves::{low_max, low_norm, split};
pub(crate) use rotation::Rotation;

/// Rows whose codes lie together.
pub(crate) const GROUP: usize = 16;
/// Neighbouring dimensions of a row in one line.
pub(crate) const STEP: usize = 4;
/// Dimensions of a [`Window`]. Rows are padded up to a multiple of it, with codes that meet a query's zeros.
pub(crate) const WINDOW: usize = 2 * STEP;
/// Groups that one call may scan.
pub(crate) const TILE_GROUPS_MAX: usize = 64;
/// Queries that are scanned together if there are enough of them.
pub(crate) const QUERIES_AT_ONCE: usize = 4;

/// The codes of `STEP` dimensions of `GROUP` rows: dimension `d` of row `r` at `r * STEP + d`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; GROUP * STEP]);

/// The query's codes of `WINDOW` dimensions, packed little-endian into two words of `STEP` codes.
pub(crate) type Window = [i32; 2];

/// Packs codes of a query.
fn pack(codes: &[i8; WINDOW]) -> Window {
    let [a, b, c, d, e, f, g, h] = codes.map(|code| code as u8);
    [i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h])]
}

/// The most that the positive, and that the negative, codes of a query may add up to among the dimensions of a window that
/// share a 16-bit sum: 255 * 128 < 2^15.
const SHARED_SUM_MAX: i32 = 128;

/// The dimensions of a window that share a 16-bit sum.
const SHARED: [[usize; 4]; 2] = [[0, 1, 4, 5], [2, 3, 6, 7]];

/// Whether no 16-bit sum can overflow, whatever the codes of the rows.
fn fits(window: &[i8; WINDOW]) -> bool {
    SHARED.iter().all(|shared| {
        let of_sign = |sign: i32| shared.iter().map(|&i| (i32::from(window[i]) * sign).max(0)).sum::<i32>();
        of_sign(1) <= SHARED_SUM_MAX && of_sign(-1) <= SHARED_SUM_MAX
    })
}

/// Groups of rows, with two terms per row that go into its score.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'c> {
    /// The upper and the lower halves of the codes: group after group, each of as many lines as the query has windows.
    pub(crate) halves: [&'c [Line]; 2],
    /// Two terms for each row.
    pub(crate) terms: [&'c [[f32; GROUP]]; 2],
}

/// What rows are compared with. The score of a row is
///
/// `dot(codes of the query, codes of the row) + weights[0] * terms[0] + weights[1] * terms[1]`
///
/// added from left to right in f32, each operation rounded. A row is marked unless its score is less than
/// `at_least`; where one of the two is NaN, it is marked. A scan for one query makes a score of the upper halves first, with
/// zeros as the lower ones; where it is less than `high_at_least` for all rows of a group, none of them is marked.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'q> {
    pub(crate) code: &'q [Window],
    pub(crate) weights: [f32; 2],
    pub(crate) at_least: f32,
    pub(crate) high_at_least: f32,
}

/// What a scan found, by group of the tile. Scores are only of use in groups with marks.
#[derive(Clone)]
pub(crate) struct Scores {
    pub(crate) scores: [[f32; GROUP]; TILE_GROUPS_MAX],
    /// Bit `r` for row `r` of the group.
    pub(crate) marks: [u16; TILE_GROUPS_MAX],
}

impl Scores {
    pub(crate) fn new() -> Self {
        Self { scores: [[0.0; GROUP]; TILE_GROUPS_MAX], marks: [0; TILE_GROUPS_MAX] }
    }
}

impl<'c> Tile<'c> {
    /// The number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.terms[0].len()
    }

    /// The terms of a group.
    #[inline(always)]
    fn terms_of(&self, group: usize) -> [&'c [f32; GROUP]; 2] {
        self.terms.map(|terms| &terms[group])
    }

    /// The lines of a group, for each half.
    #[inline(always)]
    fn lines_of(&self, group: usize, windows: usize) -> [&'c [Line]; 2] {
        let [high, low] = self.halves;
        [&high[group * windows..][..windows], &low[group * windows..][..windows]]
    }

    /// Panics unless a query of so many windows can scan this.
    fn check(&self, windows: usize) {
        let groups = self.groups();
        assert!(groups <= TILE_GROUPS_MAX && self.terms[1].len() == groups);
        for lines in self.halves {
            assert_eq!(lines.len(), groups * windows, "a line for each window of each group");
        }
    }
}
