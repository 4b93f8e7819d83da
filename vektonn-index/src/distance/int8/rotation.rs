//! A rotation that spreads over all dimensions what a few of them hold.
//!
//! Codes have one scale for all dimensions. Where dimensions differ in width, as those of embeddings and of principal
//! components do, the widest decides, and the others are left with a few of the 256 values. Rotated, all of them are
//! about equally wide, and distances and inner products are what they were.
//!
//! The rotation is the usual fast one: random signs, then a Walsh-Hadamard transform (N. Ailon, B. Chazelle: The Fast
//! Johnson-Lindenstrauss Transform, SIAM J. Comput. 39(1), 2009). A transform takes a power of two, so in other
//! dimensions the first and the last so many are transformed in turn.

/// How often the dimensions are mixed. Once leaves those that only one of the two transforms meets wider or narrower.
const ROUNDS: usize = 2;
/// A vector register holds at most so many numbers.
const LANES: usize = 8;

/// A rotation of a space, always the same one.
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Rotation {
    /// For each round, a sign for each number that is transformed, divided by the square root of their count.
    factors: [Box<[f64]>; ROUNDS],
}

impl Rotation {
    /// The rotation of a space of so many dimensions, at least one.
    pub(crate) fn new(dimension: usize) -> Self {
        let count = 1 << dimension.ilog2();
        let unit = 1.0 / (count as f64).sqrt();
        let factor = |i: usize| if mixed(i as u64) & 1 == 0 { unit } else { -unit };
        Self {
            factors: std::array::from_fn(|round| (0..count).map(|i| factor(i * ROUNDS + round)).collect()),
        }
    }

    /// Rotates a vector back.
    pub(crate) fn undo(&self, vector: &mut [f64]) {
        for factors in self.factors.iter().rev() {
            let rest = vector.len() - factors.len();
            let undo = |part: &mut [f64]| {
                hadamard(part);
                part.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            };
            if rest > 0 {
                undo(&mut vector[rest..]);
            }
            undo(&mut vector[..factors.len()]);
        }
    }
}

/// Numbers without meaning (splitmix64, by S. Vigna).
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Rotates a vector. Compiled for each instruction set; sums and products in a fixed order, so all give the same bits.
#[inline(always)]
pub(super) fn rotate(rotation: &Rotation, vector: &mut [f64]) {
    for factors in &rotation.factors {
        let rest = vector.len() - factors.len();
        transform(factors, &mut vector[..factors.len()]);
        if rest > 0 {
            transform(factors, &mut vector[rest..]);
        }
    }
}

/// The Walsh-Hadamard transform of the vector times `factors`, which makes it a rotation (or reflection).
#[inline(always)]
fn transform(factors: &[f64], vector: &mut [f64]) {
    vector.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
    hadamard(vector);
}

/// The transform itself. It is its own inverse, but for a factor.
#[inline(always)]
fn hadamard(vector: &mut [f64]) {
    let (registers, rest) = vector.as_chunks_mut::<LANES>();
    for x in registers {
        butterflies::<1>(x);
        butterflies::<2>(x);
        butterflies::<4>(x);
    }
    // A power of two: either there is no rest, or there is nothing else.
    let mut half = if rest.is_empty() { LANES } else { 1 };
    while half < vector.len() {
        for pair in vector.chunks_exact_mut(half * 2) {
            let (a, b) = pair.split_at_mut(half);
            a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
        }
        half *= 2;
    }
}

#[inline(always)]
fn butterflies<const HALF: usize>(x: &mut [f64; LANES]) {
    let before = *x;
    for i in 0..LANES {
        let other = before[i ^ HALF];
        x[i] = if i & HALF == 0 { before[i] + other } else { other - before[i] };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    proptest! {
        #[test]
        fn inner_products_stay(pairs in proptest::collection::vec((-1.0..1.0, -1.0..1.0), 1..300)) {
            let (mut a, mut b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (before, original) = ([dot(&a, &a), dot(&a, &b)], a.clone());
            let rotation = Rotation::new(a.len());
            rotate(&rotation, &mut a);
            rotate(&rotation, &mut b);
            let after = [dot(&a, &a), dot(&a, &b)];
            prop_assert!(before.iter().zip(after).all(|(x, y)| (x - y).abs() < 1e-11), "{before:?}, {after:?}");
            rotation.undo(&mut a);
            prop_assert!(a.iter().zip(&original).all(|(x, y)| (x - y).abs() < 1e-12), "{a:?}, {original:?}");
        }
    }

    #[test]
    fn one_coordinate_is_spread_over_all() {
        for dimension in [16, 100, 384, 768, 1000] {
            for j in [0, dimension / 3, dimension - 1] {
                let mut vector = vec![0.0; dimension];
                vector[j] = 1.0;
                rotate(&Rotation::new(dimension), &mut vector);
                let largest = vector.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
                assert!(largest < 5.0 / (dimension as f64).sqrt(), "{largest} of {dimension} from {j}");
            }
        }
    }
}
