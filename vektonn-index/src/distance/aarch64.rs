//! The kernels for NEON, which every AArch64 processor has.
//!
//! They follow the canonical summation (see [`super`]): the sixteen partial sums are in four registers, reduced by halves.
//!
//! All functions are safe to call from code compiled for the same instruction set; only `dispatch` steps over.

pub(super) mod neon {
    use crate::distance::{LANES, blocked::blocked_kernels};
    use std::arch::aarch64::*;

    const WIDTH: usize = 4;

    /// The lanes 0..4, 4..8, 8..12 and 12..16.
    type Sums = [float32x4_t; LANES / WIDTH];

    // Of 32 registers, 16 for the sums of four rows.
    blocked_kernels!("neon", rows = 4);

    #[inline]
    #[target_feature(enable = "neon")]
    fn zero() -> Sums {
        [vdupq_n_f32(0.0); LANES / WIDTH]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn step<const L2: bool>(a: Sums, b: Sums, mut sums: Sums) -> Sums {
        for i in 0..LANES / WIDTH {
            sums[i] = if L2 {
                let difference = vsubq_f32(a[i], b[i]);
                vfmaq_f32(sums[i], difference, difference)
            } else {
                vfmaq_f32(sums[i], a[i], b[i])
            };
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn all_by_halves<const ROWS: usize>(sums: [Sums; ROWS]) -> [f32; ROWS] {
        let mut out = [0.0; ROWS];
        for row in 0..ROWS {
            out[row] = sum_by_halves(sums[row]);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn sum_by_halves([a, b, c, d]: Sums) -> f32 {
        let sums = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
        let sums = vadd_f32(vget_low_f32(sums), vget_high_f32(sums));
        vget_lane_f32::<0>(sums) + vget_lane_f32::<1>(sums)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn load(block: &[f32; LANES]) -> Sums {
        let (quarters, _) = block.as_chunks::<WIDTH>();
        // SAFETY: each is WIDTH readable floats; the loads need no alignment.
        std::array::from_fn(|i| unsafe { vld1q_f32(quarters[i].as_ptr()) })
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn load_tail(tail: &[f32]) -> Sums {
        let mut block = [0.0; LANES];
        block[..tail.len()].copy_from_slice(tail);
        load(&block)
    }
}

/// What coded rows share.
pub(super) mod dotprod {
    use std::arch::aarch64::*;
    use std::arch::asm;

    /// Adds to each sum the products of four codes.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    pub(in crate::distance) fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // The intrinsic `vdotq_s32` is not stable yet.
        // SAFETY: registers only; this function is compiled for processors that have the instruction.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                sums = inout(vreg) sums,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}
