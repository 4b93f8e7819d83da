//! How far apart are two vectors?
//!
//! A distance is made in two steps. A *kernel* computes the raw value of two dense vectors: the inner product
//! or the squared Euclidean distance (final distances of sparse vectors have their own loop, in `inverted`; `sparse` has the kernels that bound them). Then one of the
//! functions here turns the raw value into the *final distance*: f32, smaller is closer, never NaN, never
//! -0.0, +infinity when the raw value left the range of f32.
//!
//! # Canonical summation
//! Floating-point sums depend on their order, so the order is fixed, and every instruction set gives the same
//! bits for the same vectors:
//!
//! 1. Both vectors are thought of as padded with +0.0 up to a multiple of [`LANES`].
//! 2. Partial sum `j` starts at +0.0 and takes the elements `i` with `i % LANES == j` in ascending order, each by
//!    one fused multiply-add: `sum = fma(a, b, sum)`, or `d = a - b; sum = fma(d, d, sum)`.
//! 3. The partial sums are added by halves: 16 -> 8 -> 4 -> 2 -> 1, where `sum[j] += sum[j + half]`.
//!
//! So a row may also be stored padded with zeros: that does not change a bit. `scalar` is the definition, the
//! files per architecture follow it. The one freedom is in the bits of a NaN (when sums overflow both ways);
//! the final distance does not show them.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "vector loads from slices, an instruction without intrinsic")]
mod aarch64;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod blocked;
mod dispatch;
pub(crate) mod int8;
pub(crate) mod row_codes;
mod scalar;
pub(crate) mod sparse;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads from slices")]
mod x86_64;

pub(crate) use dispatch::DenseKernels;
pub use dispatch::{InstructionSet, InstructionSetError};

/// Number of partial sums in the canonical summation.
pub(crate) const LANES: usize = 16;

/// The final distance of [`Metric::L2`](vektonn_core::Metric): the squared Euclidean distance itself.
#[inline]
pub(crate) fn l2_distance(squared: f32) -> f32 {
    narrow(f64::from(squared))
}

/// The final distance of [`Metric::InnerProduct`](vektonn_core::Metric): the inner product, negated.
#[inline]
pub(crate) fn inner_product_distance(dot: f64) -> f32 {
    narrow(-dot)
}

/// The final distance of [`Metric::Cosine`](vektonn_core::Metric): 1 - cosine, within `[0, 2]`.
///
/// `norms` is the product of both [`norm`]s. A zero vector has no direction: it has distance 1 to everything.
#[inline]
pub(crate) fn cosine_distance(dot: f64, norms: f64) -> f32 {
    if norms == 0.0 {
        return 1.0;
    }
    let distance = 1.0 - dot / norms;
    // Rounding may step over the ends. An overflow of `dot` is no rounding: it must not be clamped into the range.
    if distance.is_finite() { narrow(distance.clamp(0.0, 2.0)) } else { f32::INFINITY }
}

/// The final distance of [`Metric::JaccardBinary`](vektonn_core::Metric) of two sets: 1 - common / union.
///
/// `size_a` and `size_b` are the sizes of the sets. Two empty sets have distance 1, as a zero vector has to
/// everything in cosine; the published formula divides 0 by 0 there.
#[inline]
pub(crate) fn jaccard_distance(common: usize, size_a: usize, size_b: usize) -> f32 {
    let union = size_a + size_b - common;
    if union == 0 { 1.0 } else { narrow(1.0 - common as f64 / union as f64) }
}

/// The Euclidean norm of a dense vector, or of the values of a sparse one.
///
/// In f64 and in the order given, so that neither large nor tiny f32 coordinates leave its range and the result
/// is the same everywhere.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// The inner product with the range of f64, for vectors whose inner product may leave that of f32.
#[cold]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Narrows to f32; what is not finite then counts as farthest; -0.0 becomes 0.0.
#[inline]
fn narrow(distance: f64) -> f32 {
    let distance = distance as f32 + 0.0;
    if distance.is_finite() { distance } else { f32::INFINITY }
}

#[cfg(test)]
mod final_distance_tests {
    use super::*;

    fn bits_of_zero(distance: f32) -> bool {
        distance.to_bits() == 0
    }

    #[test]
    fn l2_is_not_square_rooted() {
        assert_eq!(l2_distance(4.25), 4.25);
        assert!(bits_of_zero(l2_distance(0.0)));
    }

    #[test]
    fn inner_product_is_negated_without_negative_zero() {
        assert_eq!(inner_product_distance(2.5), -2.5);
        assert_eq!(inner_product_distance(-2.5), 2.5);
        assert!(bits_of_zero(inner_product_distance(0.0)));
        assert!(bits_of_zero(inner_product_distance(-0.0)));
        assert!(bits_of_zero(inner_product_distance(1e-60)), "a product too small for f32 is no -0.0");
    }

    #[test]
    fn cosine_stays_in_its_range() {
        assert_eq!(cosine_distance(0.5, 1.0), 0.5);
        assert_eq!(cosine_distance(0.0, 0.0), 1.0, "zero vector");
        assert!(bits_of_zero(cosine_distance(1.0 + 1e-7, 1.0)));
        assert_eq!(cosine_distance(-1.0 - 1e-7, 1.0), 2.0);
    }

    #[test]
    fn jaccard_of_sets() {
        assert_eq!(jaccard_distance(1, 2, 2), (1.0 - 1.0 / 3.0) as f32);
        assert!(bits_of_zero(jaccard_distance(3, 3, 3)));
        assert_eq!(jaccard_distance(0, 3, 4), 1.0);
        assert_eq!(jaccard_distance(0, 0, 4), 1.0);
        assert_eq!(jaccard_distance(0, 0, 0), 1.0);
    }

    #[test]
    fn what_overflows_is_farthest() {
        for raw in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(l2_distance(raw), f32::INFINITY);
            assert_eq!(inner_product_distance(f64::from(raw)), f32::INFINITY);
            assert_eq!(cosine_distance(f64::from(raw), 1.0), f32::INFINITY);
        }
        assert_eq!(inner_product_distance(1e300), f32::INFINITY);
    }

    #[test]
    fn norm_has_more_range_than_f32() {
        assert_eq!(norm(&[3.0, -4.0]), 5.0);
        assert_eq!(norm(&[]), 0.0);
        assert_eq!(norm(&[f32::MAX, 0.0]), f64::from(f32::MAX));
        assert_eq!(norm(&[1e-45]), f64::from(1e-45_f32));
    }
}
