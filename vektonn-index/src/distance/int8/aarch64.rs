//! The scans for NEON with the dot product instructions, and `rotate` and `encode` for NEON.
//!
//! All functions are safe to call from code compiled for the same instruction set; only `dispatch` steps over.

pub(super) mod dotprod {
    use crate::distance::aarch64::dotprod::dot;
    use crate::distance::int8::scans::scans;
    use crate::distance::int8::{GROUP, Line, Probe, QueryCode, Rotation, Scores, Tile, Window};
    use crate::prefetch::prefetch;
    use std::arch::aarch64::*;

    const WIDTH: usize = 4;
    const REGISTERS: usize = GROUP / WIDTH;
    /// Codes of rows are 0..=255, and there is no product of unsigned with signed codes here: half of the range is taken
    /// off the rows, and the sums start with what that takes off them.
    const MIDDLE: i32 = 128;

    /// Rows 0..4, 4..8, 8..12 and 12..16.
    type Sums = [int32x4_t; REGISTERS];

    // With four queries, 16 of 32 registers are sums.
    scans!("neon,dotprod", groups = 1, sums_of_16_bits = false);

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn start(codes: &[Window]) -> Sums {
        let codes = codes.as_flattened().iter().flat_map(|word| word.to_le_bytes());
        let sum: i32 = codes.map(|code| i32::from(code as i8)).sum();
        [vdupq_n_s32(sum * MIDDLE); REGISTERS]
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn load_bytes(line: &Line) -> [uint8x16_t; REGISTERS] {
        let (quarters, _) = line.0.as_chunks::<16>();
        let mut loaded = [vdupq_n_u8(0); REGISTERS];
        for (loaded, quarter) in loaded.iter_mut().zip(quarters) {
            // SAFETY: 16 readable bytes.
            *loaded = unsafe { vld1q_u8(quarter.as_ptr()) };
        }
        loaded
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn without_middle(codes: [uint8x16_t; REGISTERS]) -> [int8x16_t; REGISTERS] {
        let mut without = [vdupq_n_s8(0); REGISTERS];
        for (without, codes) in without.iter_mut().zip(codes) {
            *without = vreinterpretq_s8_u8(veorq_u8(codes, vdupq_n_u8(MIDDLE as u8)));
        }
        without
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn load(line: &Line) -> [int8x16_t; REGISTERS] {
        without_middle(load_bytes(line))
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn load_high(line: &Line) -> [[int8x16_t; REGISTERS]; 2] {
        let mut codes = [load_bytes(line); 2];
        for i in 0..REGISTERS {
            codes[0][i] = vandq_u8(codes[0][i], vdupq_n_u8(0xf0));
            codes[1][i] = vshlq_n_u8::<4>(codes[1][i]);
        }
        let [first, second] = codes;
        [without_middle(first), without_middle(second)]
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn load_whole(high: &Line, low: &Line) -> [[int8x16_t; REGISTERS]; 2] {
        let (high, low) = (load_bytes(high), load_bytes(low));
        let mut codes = [high; 2];
        for i in 0..REGISTERS {
            // Of the first line the upper halves are in place, of the second one they are in the lower bits.
            codes[0][i] = vbslq_u8(vdupq_n_u8(0xf0), high[i], low[i]);
            codes[1][i] = vorrq_u8(vshlq_n_u8::<4>(high[i]), vshrq_n_u8::<4>(low[i]));
        }
        let [first, second] = codes;
        [without_middle(first), without_middle(second)]
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn add_window(
        first: [int8x16_t; REGISTERS],
        second: [int8x16_t; REGISTERS],
        window: &Window,
        mut sums: Sums,
    ) -> Sums {
        let [a, b] = window.map(|word| vreinterpretq_s8_s32(vdupq_n_s32(word)));
        for i in 0..REGISTERS {
            sums[i] = dot(dot(sums[i], first[i], a), second[i], b);
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn finish(sums: Sums, probe: &Probe<'_>, terms: [&[f32; GROUP]; 2], scores: &mut [f32; GROUP]) -> u16 {
        let at_least = vdupq_n_f32(probe.at_least);
        let [a, b] = probe.weights.map(|weight| vdupq_n_f32(weight));
        let terms = terms.map(|terms| terms.as_chunks::<WIDTH>().0);
        let (scores, _) = scores.as_chunks_mut::<WIDTH>();
        // SAFETY: four readable words.
        let bits = unsafe { vld1q_u32([1, 2, 4, 8].as_ptr()) };
        let mut marks = 0;
        for i in 0..REGISTERS {
            // SAFETY: both are WIDTH readable floats.
            let [f, g] = terms.map(|terms| unsafe { vld1q_f32(terms[i].as_ptr()) });
            let score = vaddq_f32(vcvtq_f32_s32(sums[i]), vmulq_f32(a, f));
            let score = vaddq_f32(score, vmulq_f32(b, g));
            // SAFETY: WIDTH writable floats.
            unsafe { vst1q_f32(scores[i].as_mut_ptr(), score) };
            let near = vmvnq_u32(vcltq_f32(score, at_least));
            marks |= (vaddvq_u32(vandq_u32(near, bits)) as u16) << (i * WIDTH);
        }
        marks
    }
}
