//! From coordinates to codes.

/// How the coordinates of a row are coded: `x` of dimension `j` as `round((x - center[j]) / scale) + zero[j]`, kept in
/// 0..=255.
#[derive(Clone, Copy)]
pub(crate) struct Coding<'r> {
    pub(crate) center: &'r [f32],
    pub(crate) zero: &'r [u8],
    pub(crate) inverse_scale: f64,
}

/// 1.5 * 2^52: adding it rounds to an integer, which then stands in the lowest bits. Faster than `round`.
pub(crate) const ROUND: f64 = 6_755_399_441_055_744.0;

/// Codes a row times `factor`, and returns two sums over its dimensions: the squares of `code - zero`, and the squares of
/// what the codes are off by, in units of the scale.
///
/// Compiled for each instruction set. The order of the additions is written out, so all of them give the same bits.
#[inline(always)]
pub(super) fn encode(coding: Coding<'_>, row: &[f32], factor: f64, codes: &mut [u8]) -> [f64; 2] {
    const LANES: usize = 8;
    let (mut squares, mut losses) = ([0.0; LANES], [0.0; LANES]);
    let mut code = |lane: usize, x: f32, center: f32, zero: u8, code: &mut u8| {
        let zero = f64::from(zero);
        let exact = (f64::from(x) * factor - f64::from(center)) * coding.inverse_scale;
        let nearest = (exact.max(-zero).min(255.0 - zero) + ROUND) - ROUND;
        *code = ((nearest + zero) + ROUND).to_bits() as u8;
        squares[lane] += nearest * nearest;
        losses[lane] += (exact - nearest) * (exact - nearest);
    };
    let (rows, row) = row.as_chunks::<LANES>();
    let (centers, center) = coding.center.as_chunks::<LANES>();
    let (zeros, zero) = coding.zero.as_chunks::<LANES>();
    let (blocks, rest) = codes.as_chunks_mut::<LANES>();
    for (((x, center), zero), out) in rows.iter().zip(centers).zip(zeros).zip(&mut *blocks) {
        for lane in 0..LANES {
            code(lane, x[lane], center[lane], zero[lane], &mut out[lane]);
        }
    }
    let last = blocks[rows.len()..].iter_mut().flatten().chain(rest);
    for (lane, (((&x, &center), &zero), out)) in row.iter().zip(center).zip(zero).zip(last).enumerate() {
        code(lane, x, center, zero, out);
    }
    [squares, losses].map(|lanes| lanes.iter().sum())
}
