//! The kernels in plain Rust: the definition that the other instruction sets are tested against, and the
//! fallback where there is none.

use super::LANES;

type Sums = [f32; LANES];

/// The canonical inner product. Both vectors have the same length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    fold(a, b, |a, b, sum| a.mul_add(b, sum))
}

/// The canonical squared Euclidean distance. Both vectors have the same length.
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    fold(a, b, |a, b, sum| {
        let difference = a - b;
        difference.mul_add(difference, sum)
    })
}

/// [`dot`] of the query with every row of a block; see `DenseKernels::dot_many` for the shapes.
pub(super) fn dot_many(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
    for (row, out) in out.iter_mut().enumerate() {
        *out = dot(query, &block[row * stride..][..query.len()]);
    }
}

/// [`l2_squared`] of the query with every row of a block; see `DenseKernels::l2_many` for the shapes.
pub(super) fn l2_many(query: &[f32], block: &[f32], stride: usize, out: &mut [f32]) {
    for (row, out) in out.iter_mut().enumerate() {
        *out = l2_squared(query, &block[row * stride..][..query.len()]);
    }
}

#[inline(always)]
fn fold(a: &[f32], b: &[f32], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut sums: Sums = [0.0; LANES];
    let mut add = |a: &Sums, b: &Sums| {
        for lane in 0..LANES {
            sums[lane] = step(a[lane], b[lane], sums[lane]);
        }
    };
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        add(a, b);
    }
    if !a_tail.is_empty() {
        add(&padded(a_tail), &padded(b_tail));
    }
    sum_by_halves(sums)
}

fn padded(tail: &[f32]) -> Sums {
    let mut block = [0.0; LANES];
    block[..tail.len()].copy_from_slice(tail);
    block
}

fn sum_by_halves(mut sums: Sums) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        assert_eq!(l2_squared(&[-0.5, 0.0], &[0.0, 2.0]), 4.25);
        assert_eq!(dot(&[1.0, 2.0, 3.0], &[4.0, -5.0, 6.0]), 12.0);
        assert_eq!(dot(&[], &[]), 0.0);
    }

    #[test]
    fn sums_are_added_by_halves() {
        // By halves, lane 0 meets lane 8 first and the large values cancel; from left to right the ones that
        // come before the -1e8 are lost in it.
        let mut sums = [1.0; LANES];
        sums[0] = 1e8;
        sums[8] = -1e8;
        assert_eq!(sum_by_halves(sums), 14.0);
        assert_eq!(sums.iter().sum::<f32>(), 7.0);
    }
}
