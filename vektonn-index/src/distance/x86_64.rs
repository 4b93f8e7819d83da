//! The kernels for AVX2 with FMA, and for AVX-512.
//!
//! Both follow the canonical summation (see [`super`]): one step per block of 16 elements, sixteen partial sums,
//! reduced by halves. AVX2 keeps the partial sums in two registers, AVX-512 in one.
//!
//! All functions are safe to call from code compiled for the same instruction set; only `dispatch` steps over.

pub(super) mod avx2 {
    use crate::distance::{LANES, blocked::blocked_kernels};
    use std::arch::x86_64::*;

    const WIDTH: usize = 8;

    /// The lanes 0..8 and 8..16.
    type Sums = [__m256; 2];

    // Measured on Zen 3: as fast as 4 rows on rows in cache, and faster on rows from memory, where fewer streams are
    // read better ahead.
    blocked_kernels!("avx2,fma", rows = 2);

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn zero() -> Sums {
        [_mm256_setzero_ps(); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn step<const L2: bool>(a: Sums, b: Sums, sums: Sums) -> Sums {
        if L2 {
            let [low, high] = [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])];
            [_mm256_fmadd_ps(low, low, sums[0]), _mm256_fmadd_ps(high, high, sums[1])]
        } else {
            [_mm256_fmadd_ps(a[0], b[0], sums[0]), _mm256_fmadd_ps(a[1], b[1], sums[1])]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn all_by_halves<const ROWS: usize>(sums: [Sums; ROWS]) -> [f32; ROWS] {
        let mut out = [0.0; ROWS];
        for row in 0..ROWS {
            out[row] = sum_by_halves(sums[row]);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn sum_by_halves(sums: Sums) -> f32 {
        sum_of_8(_mm256_add_ps(sums[0], sums[1]))
    }

    /// The lower three steps of the reduction: 8 -> 4 -> 2 -> 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn sum_of_8(sums: __m256) -> f32 {
        let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
        let sums = _mm_add_ps(sums, _mm_movehl_ps(sums, sums));
        _mm_cvtss_f32(_mm_add_ss(sums, _mm_movehdup_ps(sums)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(block: &[f32; LANES]) -> Sums {
        let start = block.as_ptr();
        // SAFETY: `block` is 2 * WIDTH readable floats; the loads need no alignment.
        unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(WIDTH))] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load_tail(tail: &[f32]) -> Sums {
        let (low, high) = tail.split_at(tail.len().min(WIDTH));
        [load_first(low), load_first(high)]
    }

    /// At most `WIDTH` floats, padded with zeros.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load_first(values: &[f32]) -> __m256 {
        let mask = mask_of_first(values.len());
        // SAFETY: exactly the lanes of `values` are set in the mask; a masked load touches no other memory.
        unsafe { _mm256_maskload_ps(values.as_ptr(), mask) }
    }

    /// All bits set in the first `count` lanes, at most `WIDTH`, and none in the others.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mask_of_first(count: usize) -> __m256i {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    }
}

pub(super) mod avx512 {
    use super::avx2::sum_of_8;
    use crate::distance::{LANES, blocked::blocked_kernels};
    use std::arch::x86_64::*;

    type Sums = __m512;

    // As many registers of sums as with AVX2.
    blocked_kernels!("avx512f", rows = 4);

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Sums {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn step<const L2: bool>(a: Sums, b: Sums, sums: Sums) -> Sums {
        if L2 {
            let difference = _mm512_sub_ps(a, b);
            _mm512_fmadd_ps(difference, difference, sums)
        } else {
            _mm512_fmadd_ps(a, b, sums)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn all_by_halves<const ROWS: usize>(sums: [Sums; ROWS]) -> [f32; ROWS] {
        let mut out = [0.0; ROWS];
        if let (&[a, b, c, d], Some(out)) = (&sums[..], out.first_chunk_mut::<4>()) {
            *out = four_by_halves(a, b, c, d);
        } else {
            for row in 0..ROWS {
                out[row] = sum_by_halves(sums[row]);
            }
        }
        out
    }

    /// The same additions for four rows at once. In few dimensions they take longer than everything before.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn four_by_halves(a: Sums, b: Sums, c: Sums, d: Sums) -> [f32; 4] {
        // 16 -> 8: the lower halves of two rows, and the upper ones.
        let halves = |a: Sums, b: Sums| {
            _mm512_add_ps(
                _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
            )
        };
        let (ab, cd) = (halves(a, b), halves(c, d));
        // 8 -> 4: from here on each quarter of the register belongs to a row.
        let sums = _mm512_add_ps(
            _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd),
        );
        // 4 -> 2 -> 1
        let sums = _mm512_add_ps(sums, _mm512_permute_ps::<0b01_00_11_10>(sums));
        let sums = _mm512_add_ps(sums, _mm512_permute_ps::<0b10_11_00_01>(sums));
        let first_of_each = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        let four = _mm512_castps512_ps128(_mm512_permutexvar_ps(first_of_each, sums));
        let mut out = [0.0; 4];
        // SAFETY: four writable floats; the store needs no alignment.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), four) };
        out
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sum_by_halves(sums: Sums) -> f32 {
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sums)));
        sum_of_8(_mm256_add_ps(_mm512_castps512_ps256(sums), high))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(block: &[f32; LANES]) -> Sums {
        // SAFETY: `block` is LANES readable floats; the load needs no alignment.
        unsafe { _mm512_loadu_ps(block.as_ptr()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_tail(tail: &[f32]) -> Sums {
        let first = !(u16::MAX << tail.len());
        // SAFETY: exactly the lanes of `tail` are set in the mask; a masked load touches no other memory.
        unsafe { _mm512_maskz_loadu_ps(first, tail.as_ptr()) }
    }
}
