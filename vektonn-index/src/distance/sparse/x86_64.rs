//! The kernels for AVX2, and for AVX-512 with byte and word instructions.
//!
//! All functions are safe to call from code compiled for the same instruction set, if all lists are as long as
//! `blocks`; only the dispatch steps over.

/// Defines `add_dense`, compiled for `$features`.
///
/// The place of use defines the type `Sums` (64 sums), and `load(&Block)`, `store(Sums, &mut Block)`, `load_codes`,
/// `broadcast`, `shares(codes, weight) -> Sums`, `one_less(codes)`, `add`, `subtract` and `largest`, for the same features.
macro_rules! kernels {
    ($features:literal) => {
        /// See [`super::SparseKernels::add_dense`].
        ///
        /// # Safety
        /// Every list is at least as long as `blocks`.
        #[target_feature(enable = $features)]
        pub(in crate::distance::sparse) unsafe fn add_dense(
            blocks: &mut [Block],
            lists: &DenseLists<'_>,
            bias: u16,
            maxima: &mut [u16],
        ) {
            let bias = broadcast(bias);
            for (i, (block, out)) in blocks.iter_mut().zip(maxima).enumerate() {
                let mut sums = load(block).map(|sum| add(sum, bias));
                for list in &lists.plus {
                    // SAFETY: the list is long enough, says the caller.
                    let codes = unsafe { load_codes(list.codes.as_ptr().add(i)) };
                    let shares = shares(codes, broadcast(list.weight));
                    sums = std::array::from_fn(|part| add(sums[part], shares[part]));
                }
                for list in &lists.minus {
                    // SAFETY: as above.
                    let codes = unsafe { load_codes(list.codes.as_ptr().add(i)) };
                    let shares = shares(one_less(codes), broadcast(list.weight));
                    sums = std::array::from_fn(|part| subtract(sums[part], shares[part]));
                }
                store(sums, block);
                *out = largest(sums);
            }
        }

        /// `weight * impact / 256` of 64 points.
        #[inline]
        #[target_feature(enable = $features)]
        fn shares(codes: Vectors, weight: Vector) -> Sums {
            // An impact in the upper half of a lane is 256 times itself; the product's upper half is then divided by 256.
            let first = codes.map(|codes| high_product(to_upper(codes), weight));
            let second = codes.map(|codes| high_product(upper(codes), weight));
            join(first, second)
        }
    };
}

/// The largest of eight sums.
#[inline]
#[target_feature(enable = "sse4.1")]
fn largest_of_8(sums: std::arch::x86_64::__m128i) -> u16 {
    use std::arch::x86_64::*;
    // There is only an instruction for the smallest.
    let smallest = _mm_minpos_epu16(_mm_xor_si128(sums, _mm_set1_epi16(-1)));
    !(_mm_cvtsi128_si32(smallest) as u16)
}

pub(super) mod avx512 {
    use super::largest_of_8;
    use crate::distance::sparse::{Block, Codes, DenseLists};
    use std::arch::x86_64::*;

    type Vector = __m512i;
    type Vectors = [__m512i; 1];
    /// Points 0..32 and 32..64.
    type Sums = [__m512i; 2];

    kernels!("avx512f,avx512bw");

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(block: &Block) -> Sums {
        let start = block.as_ptr().cast::<__m512i>();
        // SAFETY: a block is 128 readable bytes; the loads need no alignment.
        unsafe { [_mm512_loadu_si512(start), _mm512_loadu_si512(start.add(1))] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn store(sums: Sums, block: &mut Block) {
        let start = block.as_mut_ptr().cast::<__m512i>();
        // SAFETY: a block is 128 writable bytes; the stores need no alignment.
        unsafe {
            _mm512_storeu_si512(start, sums[0]);
            _mm512_storeu_si512(start.add(1), sums[1]);
        }
    }

    /// # Safety
    /// `codes` may be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn load_codes(codes: *const Codes) -> Vectors {
        // SAFETY: 64 readable bytes, says the caller; the load needs no alignment.
        [unsafe { _mm512_loadu_si512(codes.cast()) }]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn broadcast(weight: u16) -> Vector {
        _mm512_set1_epi16(weight as i16)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn one_less(codes: Vectors) -> Vectors {
        [_mm512_subs_epu8(codes[0], _mm512_set1_epi8(1))]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn to_upper(codes: Vector) -> Vector {
        _mm512_slli_epi16::<8>(codes)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn upper(codes: Vector) -> Vector {
        _mm512_and_si512(codes, _mm512_set1_epi16(-256))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn high_product(a: Vector, b: Vector) -> Vector {
        _mm512_mulhi_epu16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn join(first: Vectors, second: Vectors) -> Sums {
        [first[0], second[0]]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn add(a: Vector, b: Vector) -> Vector {
        _mm512_add_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn subtract(a: Vector, b: Vector) -> Vector {
        _mm512_sub_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn largest(sums: Sums) -> u16 {
        let of_32 = _mm512_max_epu16(sums[0], sums[1]);
        let of_16 = _mm256_max_epu16(_mm512_castsi512_si256(of_32), _mm512_extracti64x4_epi64::<1>(of_32));
        largest_of_8(_mm_max_epu16(_mm256_castsi256_si128(of_16), _mm256_extracti128_si256::<1>(of_16)))
    }
}

pub(super) mod avx2 {
    use super::largest_of_8;
    use crate::distance::sparse::{Block, Codes, DenseLists};
    use std::arch::x86_64::*;

    type Vector = __m256i;
    type Vectors = [__m256i; 2];
    /// Points 0..16, 16..32, 32..48 and 48..64.
    type Sums = [__m256i; 4];

    kernels!("avx2");

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(block: &Block) -> Sums {
        let start = block.as_ptr().cast::<__m256i>();
        // SAFETY: a block is 128 readable bytes; the loads need no alignment.
        unsafe { [0, 1, 2, 3].map(|part| _mm256_loadu_si256(start.add(part))) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(sums: Sums, block: &mut Block) {
        let start = block.as_mut_ptr().cast::<__m256i>();
        for (part, sums) in sums.into_iter().enumerate() {
            // SAFETY: a block is 128 writable bytes; the stores need no alignment.
            unsafe { _mm256_storeu_si256(start.add(part), sums) };
        }
    }

    /// # Safety
    /// `codes` may be read.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_codes(codes: *const Codes) -> Vectors {
        let start = codes.cast::<__m256i>();
        // SAFETY: 64 readable bytes, says the caller; the loads need no alignment.
        unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn broadcast(weight: u16) -> Vector {
        _mm256_set1_epi16(weight as i16)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn one_less(codes: Vectors) -> Vectors {
        let one = _mm256_set1_epi8(1);
        [_mm256_subs_epu8(codes[0], one), _mm256_subs_epu8(codes[1], one)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn to_upper(codes: Vector) -> Vector {
        _mm256_slli_epi16::<8>(codes)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn upper(codes: Vector) -> Vector {
        _mm256_and_si256(codes, _mm256_set1_epi16(-256))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn high_product(a: Vector, b: Vector) -> Vector {
        _mm256_mulhi_epu16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn join(first: Vectors, second: Vectors) -> Sums {
        [first[0], first[1], second[0], second[1]]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(a: Vector, b: Vector) -> Vector {
        _mm256_add_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn subtract(a: Vector, b: Vector) -> Vector {
        _mm256_sub_epi16(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn largest(sums: Sums) -> u16 {
        let of_16 = _mm256_max_epu16(_mm256_max_epu16(sums[0], sums[1]), _mm256_max_epu16(sums[2], sums[3]));
        largest_of_8(_mm_max_epu16(_mm256_castsi256_si128(of_16), _mm256_extracti128_si256::<1>(of_16)))
    }
}
