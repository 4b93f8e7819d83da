//! The kernels for AVX2, and for AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::{Line, ROWS, RowKernel};

/// Exists only where the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Exists only where the processor has AVX-512F, AVX-512BW and AVX-512VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// The bits of a byte that the upper four bits of a code are.
const UPPER: i8 = 0x78;

/// A line in registers.
type Halves = [__m256i; 2];

impl Avx2 {
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn load(self, line: &Line) -> Halves {
        let half = line.0.as_ptr().cast::<__m256i>();
        // SAFETY: `self` exists; a line is two aligned halves of 32 readable bytes.
        unsafe { [_mm256_load_si256(half), _mm256_load_si256(half.add(1))] }
    }

    /// The codes of a row's line, as many as two lines of a query have; without nibbles only the first are used.
    #[inline(always)]
    fn codes<const NIBBLES: bool>(self, line: &Line) -> [Halves; 2] {
        let halves = self.load(line);
        if !NIBBLES {
            return [halves; 2];
        }
        // SAFETY: `self` exists. What is shifted in from the neighbouring byte is cut off.
        unsafe {
            let upper = _mm256_set1_epi8(UPPER);
            let [a, b] = halves;
            [
                [a, b].map(|half| _mm256_and_si256(_mm256_slli_epi16::<3>(half), upper)),
                [a, b].map(|half| _mm256_and_si256(_mm256_srli_epi16::<1>(half), upper)),
            ]
        }
    }

    /// The sums of the products of neighbouring codes, with the codes of `a` unsigned.
    #[inline(always)]
    fn products(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` exists. Pairs of products of such codes are at most 2 * 127 * 127 < 2^15.
        unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)) }
    }

    #[inline(always)]
    fn squares(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` exists.
        let difference = unsafe { _mm256_abs_epi8(_mm256_sub_epi8(a, b)) };
        self.products(difference, difference)
    }

    /// Adds up `term` of all lines of `a`, which is given line by line of a row, and each of several rows.
    #[inline(always)]
    fn sums_of<const NIBBLES: bool>(
        self,
        a: impl Iterator<Item = [Halves; 2]> + Clone,
        rows: [&[Line]; ROWS],
        term: impl Fn(__m256i, __m256i) -> __m256i,
    ) -> [i32; ROWS] {
        rows.map(|row| {
            // SAFETY: `self` exists, here and below.
            let mut sums = unsafe { [_mm256_setzero_si256(); 2] };
            for (a, line) in a.clone().zip(row) {
                let b = self.codes::<NIBBLES>(line);
                for (a, b) in a.iter().zip(&b).take(1 + usize::from(NIBBLES)) {
                    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                        // SAFETY: as above.
                        *sum = unsafe { _mm256_add_epi32(*sum, term(*a, *b)) };
                    }
                }
            }
            // SAFETY: as above.
            unsafe {
                let sum = _mm256_add_epi32(sums[0], sums[1]);
                let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
                let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
                _mm_cvtsi128_si32(sum)
            }
        })
    }

    #[inline(always)]
    fn query<const NIBBLES: bool>(self, query: &[Line]) -> impl Iterator<Item = [Halves; 2]> + Clone {
        let lines = query.chunks_exact(1 + usize::from(NIBBLES));
        lines.map(move |lines| [self.load(&lines[0]), self.load(&lines[lines.len() - 1])])
    }
}

impl RowKernel for Avx2 {
    #[inline(always)]
    fn squared_l2_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let sums = self.sums_of::<NIBBLES>(self.query::<NIBBLES>(query), rows, |a, b| self.squares(a, b));
        sums.map(|sum| sum as u32)
    }

    #[inline(always)]
    fn squared_l2_among<const NIBBLES: bool>(self, row: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let codes = row.iter().map(|line| self.codes::<NIBBLES>(line));
        self.sums_of::<NIBBLES>(codes, rows, |a, b| self.squares(a, b)).map(|sum| sum as u32)
    }

    #[inline(always)]
    fn dot_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        let query = self.query::<NIBBLES>(query);
        self.sums_of::<NIBBLES>(query, rows, |query, row| self.products(row, query))
    }
}

impl Avx512 {
    /// # Safety
    /// The processor has AVX-512F, AVX-512BW and AVX-512VNNI.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    fn load(self, line: &Line) -> __m512i {
        // SAFETY: `self` exists; a line is 64 readable bytes, aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    /// The codes of a row's line, as many as two lines of a query have; without nibbles only the first are used.
    #[inline(always)]
    fn codes<const NIBBLES: bool>(self, line: &Line) -> [__m512i; 2] {
        let line = self.load(line);
        if !NIBBLES {
            return [line; 2];
        }
        // SAFETY: `self` exists. What is shifted in from the neighbouring byte is cut off.
        unsafe {
            let upper = _mm512_set1_epi8(UPPER);
            [
                _mm512_and_si512(_mm512_slli_epi16::<3>(line), upper),
                _mm512_and_si512(_mm512_srli_epi16::<1>(line), upper),
            ]
        }
    }

    /// Adds up `add` of all lines of `a`, which is given line by line of a row, and each of several rows.
    #[inline(always)]
    fn sums_of<const NIBBLES: bool>(
        self,
        a: impl Iterator<Item = [__m512i; 2]>,
        rows: [&[Line]; ROWS],
        add: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    ) -> [i32; ROWS] {
        let [b, c, d, e] = rows;
        // SAFETY: `self` exists.
        let mut sums = unsafe { [_mm512_setzero_si512(); ROWS] };
        for ((((a, b), c), d), e) in a.zip(b).zip(c).zip(d).zip(e) {
            for (sum, line) in sums.iter_mut().zip([b, c, d, e]) {
                let codes = self.codes::<NIBBLES>(line);
                *sum = add(*sum, a[0], codes[0]);
                if NIBBLES {
                    *sum = add(*sum, a[1], codes[1]);
                }
            }
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
    fn query<const NIBBLES: bool>(self, query: &[Line]) -> impl Iterator<Item = [__m512i; 2]> {
        let lines = query.chunks_exact(1 + usize::from(NIBBLES));
        lines.map(move |lines| [self.load(&lines[0]), self.load(&lines[lines.len() - 1])])
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
    fn squared_l2_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let add = |sum, a, b| self.add_squares(sum, a, b);
        self.sums_of::<NIBBLES>(self.query::<NIBBLES>(query), rows, add).map(|sum| sum as u32)
    }

    #[inline(always)]
    fn squared_l2_among<const NIBBLES: bool>(self, row: &[Line], rows: [&[Line]; ROWS]) -> [u32; ROWS] {
        let codes = row.iter().map(|line| self.codes::<NIBBLES>(line));
        self.sums_of::<NIBBLES>(codes, rows, |sum, a, b| self.add_squares(sum, a, b)).map(|sum| sum as u32)
    }

    #[inline(always)]
    fn dot_of<const NIBBLES: bool>(self, query: &[Line], rows: [&[Line]; ROWS]) -> [i32; ROWS] {
        let add = |sum, query, row| self.add_products(sum, query, row);
        self.sums_of::<NIBBLES>(self.query::<NIBBLES>(query), rows, add)
    }
}
