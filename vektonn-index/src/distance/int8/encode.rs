//! From coordinates to codes.

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
