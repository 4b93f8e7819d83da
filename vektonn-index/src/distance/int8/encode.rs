//! From coordinates to codes.

use super::{SHARED_SUM_MAX, WINDOW, Window, fits, pack};

/// 1.5 * 2^52: adding it rounds to an integer, which then stands in the lowest bits. Faster than `round`.
pub(crate) const ROUND: f64 = 6_755_399_441_055_744.0;

/// Codes a row in units of the scale, `x` as `round(x) + zero`, kept in 0..=255. Returns two sums over its dimensions: the
/// squares of `code - zero`, and the squares of what the codes are off by.
///
/// Compiled for each instruction set. The order of the additions is written out, so all of them give the same bits.
#[inline(always)]
pub(super) fn encode(zero: &[u8], exact: &[f64], codes: &mut [u8]) -> [f64; 2] {
    const LANES: usize = 8;
    let (mut squares, mut losses) = ([0.0; LANES], [0.0; LANES]);
    let mut code = |lane: usize, exact: f64, zero: u8, code: &mut u8| {
        let zero = f64::from(zero);
        let nearest = (exact.max(-zero).min(255.0 - zero) + ROUND) - ROUND;
        *code = ((nearest + zero) + ROUND).to_bits() as u8;
        squares[lane] += nearest * nearest;
        losses[lane] += (exact - nearest) * (exact - nearest);
    };
    let (exacts, exact) = exact.as_chunks::<LANES>();
    let (zeros, zero) = zero.as_chunks::<LANES>();
    let (blocks, rest) = codes.as_chunks_mut::<LANES>();
    for ((x, zero), out) in exacts.iter().zip(zeros).zip(&mut *blocks) {
        for lane in 0..LANES {
            code(lane, x[lane], zero[lane], &mut out[lane]);
        }
    }
    let last = blocks[exacts.len()..].iter_mut().flatten().chain(rest);
    for (lane, ((&x, &zero), out)) in exact.iter().zip(zero).zip(last).enumerate() {
        code(lane, x, zero, out);
    }
    [squares, losses].map(|lanes| lanes.iter().sum())
}

/// The largest code, or with sums of 16 bits the largest sum of those that share one, is so much before rounding, which adds
/// at most half a unit to each of four.
const LARGEST_BEFORE_ROUNDING: f64 = SHARED_SUM_MAX as f64 - 2.0;

/// The codes of a query: coordinate `x` as `round(x / step)`.
pub(crate) struct QueryCode {
    pub(crate) code: Box<[Window]>,
    pub(crate) step: f64,
    /// The sum of the codes, of their squares, and of their magnitudes.
    pub(crate) sum: f64,
    pub(crate) squared_norm: f64,
    pub(crate) magnitude: f64,
    /// The dot product of the codes with the zeros of the rows' codes.
    pub(crate) of_zeros: f64,
    /// The sum of the squares of what the codes are off by.
    pub(crate) lost: f64,
}

/// Codes a query, whose coordinates are followed by zeros up to whole windows, with the finest step, but not less than
/// `step_min`, for which no sum overflows: where sums have 16 bits (`SHARED`), all windows must be sure to fit.
///
/// Compiled for each instruction set, with all additions in a fixed order.
#[inline(always)]
pub(super) fn encode_query<const SHARED: bool>(exact: &[f64], zero: &[u8], step_min: f64) -> QueryCode {
    let (windows, _) = exact.as_chunks::<WINDOW>();
    let largest = windows.iter().map(if SHARED { largest_shared_sum } else { largest_magnitude });
    let step = (largest.fold(0.0, f64::max) / LARGEST_BEFORE_ROUNDING).max(step_min);
    let inverse = 1.0 / step;
    let mut sums = [[0.0; WINDOW]; 5];
    let code = windows.iter().zip(zero.chunks(WINDOW)).map(|(window, zero)| {
        let mut zeros = [0; WINDOW];
        zeros[..zero.len()].copy_from_slice(zero);
        let mut codes = [0; WINDOW];
        for lane in 0..WINDOW {
            let code = (window[lane] * inverse + ROUND) - ROUND;
            let lost = window[lane] - code * step;
            let terms = [code, code * code, code.abs(), code * f64::from(zeros[lane]), lost * lost];
            sums.iter_mut().zip(terms).for_each(|(sum, term)| sum[lane] += term);
            codes[lane] = (code + ROUND).to_bits() as i8;
        }
        debug_assert!(!SHARED || fits(&codes), "{window:?}");
        pack(&codes)
    });
    let code = code.collect();
    let [sum, squared_norm, magnitude, of_zeros, lost] = sums.map(|lanes| lanes.iter().sum());
    QueryCode { code, step, sum, squared_norm, magnitude, of_zeros, lost }
}

#[inline(always)]
fn largest_magnitude(window: &[f64; WINDOW]) -> f64 {
    window.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// The largest magnitude of the positive, or of the negative, values of a window that share a 16-bit sum (see
/// [`SHARED`](super::SHARED)).
#[inline(always)]
fn largest_shared_sum(window: &[f64; WINDOW]) -> f64 {
    let [a, b, c, d, e, f, g, h] = *window;
    let largest = |values: [f64; 4]| {
        let of_sign = |sign: f64| values.map(|x| (x * sign).max(0.0)).iter().sum::<f64>();
        of_sign(1.0).max(of_sign(-1.0))
    };
    largest([a, b, e, f]).max(largest([c, d, g, h]))
}
