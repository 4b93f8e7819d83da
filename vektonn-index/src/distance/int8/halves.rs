//! Codes in two halves: the upper four bits of all codes of a group, and the lower ones.

use super::{Line, STEP, WINDOW};

const UPPER: u8 = 0xf0;
const LOWER: u8 = 0x0f;
/// What the lower half of a code is on average, if all values are equally frequent.
const LOW_MEAN: f64 = 7.5;

/// The halves of a row's codes of a window, as they stand in the two lines. In the upper one, the first `STEP` codes have the
/// upper bits of a byte, where they are in the codes too.
pub(crate) fn split(codes: &[u8; WINDOW]) -> [[u8; STEP]; 2] {
    let (mut high, mut low) = ([0; STEP], [0; STEP]);
    for i in 0..STEP {
        high[i] = codes[i] & UPPER | codes[STEP + i] >> 4;
        low[i] = codes[i] & LOWER | codes[STEP + i] << 4;
    }
    [high, low]
}

/// The whole codes of a group, or of several: two lines for each line of the halves.
#[inline(always)]
pub(super) fn join(high: &[Line], low: &[Line], joined: &mut [Line]) {
    let (pairs, _) = joined.as_chunks_mut::<2>();
    for ((high, low), [first, second]) in high.iter().zip(low).zip(pairs) {
        let (first, second) = (first.0.iter_mut(), second.0.iter_mut());
        for ((high, low), (first, second)) in high.0.iter().zip(&low.0).zip(first.zip(second)) {
            *first = high & UPPER | low & LOWER;
            *second = high << 4 | low >> 4;
        }
    }
}

/// What the lower halves of a row's codes add to its dot product with a query is at most `LOW_MEAN` times the sum of the query's
/// codes, and the norm of those times this.
pub(crate) fn low_norm(codes: &[u8]) -> f64 {
    // Twice the difference from the mean is a whole number.
    let twice = |code: &u8| i32::from(code & LOWER) * 2 - (2.0 * LOW_MEAN) as i32;
    let squares: i32 = codes.iter().map(|code| twice(code).pow(2)).sum();
    f64::from(squares).sqrt() / 2.0
}

/// The two parts of the most that lower halves may add, of rows with [`low_norm`] up to `low_norm_max`.
pub(crate) fn low_max(sum: f64, norm: f64, low_norm_max: f64) -> [f64; 2] {
    [LOW_MEAN * sum, norm * low_norm_max]
}
