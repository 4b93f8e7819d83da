//! The loops that all vector instruction sets share, written once.

/// Defines `dot_many` and `l2_many` for one instruction set, compiled for `$features`.
///
/// The place of use defines the type `Sums` (a block of 16 elements, or the 16 partial sums, in registers) and
/// `zero()`, `load(&[f32; LANES])`, `load_tail(&[f32])` (fewer than `LANES`, padded with zeros),
/// `step::<L2>(a, b, sums)` and `all_by_halves([Sums; ROWS]) -> [f32; ROWS]`, for the same features.
///
/// A sum is a chain of dependent additions, so speed comes from `$rows` rows at once; each row's own sum is
/// untouched by that.
macro_rules! blocked_kernels {
    ($features:literal, rows = $rows:literal) => {
        /// Canonical inner products; see `DenseKernels::dot_many` for the shapes.
        #[target_feature(enable = $features)]
        pub(in crate::distance) fn dot_many(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
            many::<false>(query, block, stride, out);
        }

        /// Canonical squared Euclidean distances; see `DenseKernels::l2_many` for the shapes.
        #[target_feature(enable = $features)]
        pub(in crate::distance) fn l2_many(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
            many::<true>(query, block, stride, out);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn many<const L2: bool>(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
            let (groups, rest) = out.as_chunks_mut::<$rows>();
            let mut row = 0;
            for group in groups {
                *group = rows_at_once::<$rows, L2>(query, &block[row * stride..], stride);
                row += $rows;
            }
            for out in rest {
                [*out] = rows_at_once::<1, L2>(query, &block[row * stride..], stride);
                row += 1;
            }
        }

        /// The raw values of the first `ROWS` rows of the block: squared distances if `L2`, else inner products.
        #[inline]
        #[target_feature(enable = $features)]
        fn rows_at_once<const ROWS: usize, const L2: bool>(
            query: &[f32],
            block: &[f32],
            stride: usize,
        ) -> [f32; ROWS] {
            let (query_blocks, query_tail) = query.as_chunks::<LANES>();
            let mut rows = [[].as_slice(); ROWS];
            let mut tails = [[].as_slice(); ROWS];
            for row in 0..ROWS {
                let (blocks, tail) = block[row * stride..][..query.len()].as_chunks::<LANES>();
                // The length is known, but saying it again frees the loop below of bounds checks.
                rows[row] = &blocks[..query_blocks.len()];
                tails[row] = tail;
            }
            let mut sums = [zero(); ROWS];
            for (i, query) in query_blocks.iter().enumerate() {
                let query = load(query);
                for row in 0..ROWS {
                    sums[row] = step::<L2>(query, load(&rows[row][i]), sums[row]);
                }
            }
            if !query_tail.is_empty() {
                let query = load_tail(query_tail);
                for row in 0..ROWS {
                    sums[row] = step::<L2>(query, load_tail(tails[row]), sums[row]);
                }
            }
            all_by_halves(sums)
        }
    };
}

pub(super) use blocked_kernels;
