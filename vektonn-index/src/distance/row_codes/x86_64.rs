//! The kernels for AVX2, and for AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::{Line, ROWS, RowKernel};

/// Exists only where the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Exists only where the processor has AVX-512F, AVX-512BW and AVX-512VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx2 {
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    /// The sums of the products of neighbouring codes, with the codes of `a` unsigned.
    #[inline(always)]
    fn products(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` exists. Pairs of products of such codes are at most 2 * 127 * 127 < 2^15.
        unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)) }
    }

    /// Adds up `term` of the halves of all lines.
    #[inline(always)]
    fn sum_of(self, a: &[Line], b: &[Line], term: impl Fn(__m256i, __m256i) -> __m256i) -> i32 {
        // SAFETY: `self` exists; a line is two aligned halves of 32 readable bytes.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (a, b) in a.iter().zip(b) {
                let (a, b) = (a.0.as_ptr().cast::<__m256i>(), b.0.as_ptr().cast::<__m256i>());
                for (half, sum) in sums.iter_mut().enumerate() {
                    let term = term(_mm256_load_si256(a.add(half)), _mm256_load_si256(b.add(half)));
                    *sum = _mm256_add_epi32(*sum, term);
                }
            }
            let sum = _mm256_add_epi32(sums[0], sums[1]);
            let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
            _mm_cvtsi128_si32(sum)
        }
    }
}

impl RowKernel for Avx2 {
    #[inline(always)]
    fn squared_l2(self, a: &[Line], b: &[Line]) -> u32 {
        self.sum_of(a, b, |a, b| {
            // SAFETY: `self` exists.
            let difference = unsafe { _mm256_abs_epi8(_mm256_sub_epi8(a, b)) };
            self.products(difference, difference)
        }) as u32
    }

    #[inline(always)]
    fn dot(self, query: &[Line], row: &[Line]) -> i32 {
        self.sum_of(query, row, |query, row| self.products(row, query))
    }
}

impl Avx512 {
    /// # Safety
    /// The processor has AVX-512F, AVX-512BW and AVX-512VNNI.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    /// Adds up `add` of all lines. Two sums, since each addition waits for the one before it.
    #[inline(always)]
    fn sum_of(self, a: &[Line], b: &[Line], add: impl Fn(__m512i, __m512i, __m512i) -> __m512i) -> i32 {
        // SAFETY: `self` exists; a line is 64 readable bytes, aligned to 64.
        let load = |line: &Line| unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
        // SAFETY: `self` exists.
        let mut sums = unsafe { [_mm512_setzero_si512(); 2] };
        let (a_pairs, a_rest) = a.as_chunks::<2>();
        let (b_pairs, b_rest) = b.as_chunks::<2>();
        for ([a, c], [b, d]) in a_pairs.iter().zip(b_pairs) {
            sums[0] = add(sums[0], load(a), load(b));
            sums[1] = add(sums[1], load(c), load(d));
        }
        for (a, b) in a_rest.iter().zip(b_rest) {
            sums[0] = add(sums[0], load(a), load(b));
        }
        // SAFETY: `self` exists.
        unsafe { _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1])) }
    }

    /// Adds up `add` of all lines of `a` and each of several rows.
    #[inline(always)]
    fn sums_of(
        self,
        a: &[Line],
        rows: [&[Line]; ROWS],
        add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    ) -> [i32; ROWS] {
        // SAFETY: `self` exists; a line is 64 readable bytes, aligned to 64.
        let load = |line: &Line| unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
        let [b, c, d, e] = rows;
        // SAFETY: `self` exists.
        let mut sums = unsafe { [_mm512_setzero_si512(); ROWS] };
        for ((((a, b), c), d), e) in a.iter().zip(b).zip(c).zip(d).zip(e) {
            let a = load(a);
            sums[0] = add(sums[0], a, load(b));
            sums[1] = add(sums[1], a, load(c));
            sums[2] = add(sums[2], a, load(d));
            sums[3] = add(sums[3], a, load(e));
        }
        // SAFETY: `self` exists; four numbers of 32 bits are 128 bits.
        unsafe {
            // Each step halves what is left of every sum, and packs twice as many of them.
            let halved =
                |sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
            let [b, c, d, e] = sums;
            let all = _mm256_hadd_epi32(
                _mm256_hadd_epi32(halved(b), halved(c)),
                _mm256_hadd_epi32(halved(d), halved(e)),
            );
            let all = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            let mut sums = [0; ROWS];
            _mm_storeu_si128(sums.as_mut_ptr().cast(), all);
            sums
        }
    }

    #[inline(always)]
    fn add_squares(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` exists.
        unsafe {
            let difference = _mm512_abs_epi8(_mm512_sub_epi8(a, b));
            _mm512_dpbusd_epi32(sum, difference, difference)
        }
    }

    #[inline(always)]
    fn add_products(self, sum: __m512i, query: __m512i, row: __m512i) -> __m512i {
        // SAFETY: `self` exists.
        unsafe { _mm512_dpbusd_epi32(sum, row, query) }
    }
}

impl RowKernel for Avx512 {
    #[inline(always)]
    fn squared_l2(self, a: &[Line], b: &[Line]) -> u32 {
        self.sum_of(a, b, |sum, a, b| self.add_squares(sum, a, b)) as u32
    }

    #[inline(always)]
    fn squared_l2_of(self, a: &[Line], b: [&[Line]; ROWS]) -> [u32; ROWS] {
        self.sums_of(a, b, |sum, a, b| self.add_squares(sum, a, b)).map(|sum| sum as u32)
    }

    #[inline(always)]
    fn dot(self, query: &[Line], row: &[Line]) -> i32 {
        self.sum_of(query, row, |sum, query, row| self.add_products(sum, query, row))
    }

    #[inline(always)]
    fn dot_of(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        self.sums_of(query, rows, |sum, query, row| self.add_products(sum, query, row))
    }
}
