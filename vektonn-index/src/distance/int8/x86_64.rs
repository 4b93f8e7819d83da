//! The scans for AVX2, and for AVX-512 with VNNI.
//!
//! All functions are safe to call from code compiled for the same instruction set; only `dispatch` steps over.

pub(super) mod avx2 {
    use crate::distance::int8::scans::scans;
    use crate::distance::int8::{GROUP, Line, Probe, QueryCode, Rotation, Scores, Tile, Window};
    use crate::prefetch::prefetch;
    use std::arch::x86_64::*;

    const WIDTH: usize = 8;

    /// Rows 0..8 and 8..16.
    type Sums = [__m256i; 2];

    // Sixteen registers hold no more sums.
    scans!("avx2", groups = 1, sums_of_16_bits = true);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn start(_: &[Window]) -> Sums {
        [_mm256_setzero_si256(); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(line: &Line) -> [__m256i; 2] {
        let start = line.0.as_ptr().cast::<__m256i>();
        // SAFETY: a line is 64 readable bytes, aligned to 64.
        unsafe { [_mm256_load_si256(start), _mm256_load_si256(start.add(1))] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_high(line: &Line) -> [[__m256i; 2]; 2] {
        let high = load(line);
        let upper = _mm256_set1_epi8(0xf0_u8 as i8);
        let second = [_mm256_slli_epi32::<4>(high[0]), _mm256_slli_epi32::<4>(high[1])];
        [high, second].map(|[a, b]| [_mm256_and_si256(a, upper), _mm256_and_si256(b, upper)])
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load_whole(high: &Line, low: &Line) -> [[__m256i; 2]; 2] {
        let lower = _mm256_set1_epi8(0x0f);
        let [[a, b], [c, d]] = load_high(high);
        let low = load(low);
        let shifted = [_mm256_srli_epi32::<4>(low[0]), _mm256_srli_epi32::<4>(low[1])];
        let join = |high, low| _mm256_or_si256(high, _mm256_and_si256(low, lower));
        [[join(a, low[0]), join(b, low[1])], [join(c, shifted[0]), join(d, shifted[1])]]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_window(first: Sums, second: Sums, window: &Window, sums: Sums) -> Sums {
        // Each word is loaded into all lanes. `map` would load both at once, and then move and shift them.
        let [a, b] = window;
        let (a, b) = (_mm256_set1_epi32(*a), _mm256_set1_epi32(*b));
        let add = |half: usize| {
            // `fits` of the query rules out that these overflow.
            let pairs =
                _mm256_add_epi16(_mm256_maddubs_epi16(first[half], a), _mm256_maddubs_epi16(second[half], b));
            _mm256_add_epi32(sums[half], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        [add(0), add(1)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(sums: Sums, probe: &Probe<'_>, terms: [&[f32; GROUP]; 2], scores: &mut [f32; GROUP]) -> u16 {
        let at_least = _mm256_set1_ps(probe.at_least);
        let [a, b] = probe.weights.map(|weight| _mm256_set1_ps(weight));
        let mut marks = 0;
        for (half, sums) in sums.into_iter().enumerate() {
            let first = half * WIDTH;
            // SAFETY: both are 2 * WIDTH readable floats; the loads need no alignment.
            let [f, g] = terms.map(|terms| unsafe { _mm256_loadu_ps(terms.as_ptr().add(first)) });
            let score = _mm256_add_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(a, f));
            let score = _mm256_add_ps(score, _mm256_mul_ps(b, g));
            // SAFETY: 2 * WIDTH writable floats; the store needs no alignment.
            unsafe { _mm256_storeu_ps(scores.as_mut_ptr().add(first), score) };
            let near = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(score, at_least));
            marks |= (near as u16) << first;
        }
        marks
    }
}

pub(super) mod avx512 {
    use crate::distance::int8::scans::scans;
    use crate::distance::int8::{GROUP, Line, Probe, QueryCode, Rotation, Scores, Tile, Window};
    use crate::prefetch::prefetch;
    use std::arch::x86_64::*;

    type Sums = __m512i;

    // Sixteen sums, so that each register of codes meets four queries and each word of a query four groups, and no sum has to
    // wait for its last addition. Measured on Zen 5: 1.4 times the speed of one group at a time.
    scans!("avx512f,avx512vnni", groups = 4, sums_of_16_bits = false);

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn start(_: &[Window]) -> Sums {
        _mm512_setzero_si512()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn load(line: &Line) -> __m512i {
        // SAFETY: a line is 64 readable bytes, aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn load_high(line: &Line) -> [__m512i; 2] {
        let high = load(line);
        let upper = _mm512_set1_epi8(0xf0_u8 as i8);
        [_mm512_and_si512(high, upper), _mm512_and_si512(_mm512_slli_epi32::<4>(high), upper)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn load_whole(high: &Line, low: &Line) -> [__m512i; 2] {
        let lower = _mm512_set1_epi8(0x0f);
        let [a, b] = load_high(high);
        let low = load(low);
        let join = |high, low| _mm512_or_si512(high, _mm512_and_si512(low, lower));
        [join(a, low), join(b, _mm512_srli_epi32::<4>(low))]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn add_window(first: __m512i, second: __m512i, window: &Window, sums: Sums) -> Sums {
        let sums = _mm512_dpbusd_epi32(sums, first, _mm512_set1_epi32(window[0]));
        _mm512_dpbusd_epi32(sums, second, _mm512_set1_epi32(window[1]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn finish(sums: Sums, probe: &Probe<'_>, terms: [&[f32; GROUP]; 2], scores: &mut [f32; GROUP]) -> u16 {
        let [a, b] = probe.weights.map(|weight| _mm512_set1_ps(weight));
        // SAFETY: both are GROUP readable floats; the loads need no alignment.
        let [f, g] = terms.map(|terms| unsafe { _mm512_loadu_ps(terms.as_ptr()) });
        let score = _mm512_add_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(a, f));
        let score = _mm512_add_ps(score, _mm512_mul_ps(b, g));
        // SAFETY: GROUP writable floats; the store needs no alignment.
        unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), score) };
        _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(score, _mm512_set1_ps(probe.at_least))
    }
}
