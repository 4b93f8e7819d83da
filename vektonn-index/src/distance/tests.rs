//! Every instruction set against the scalar definition, bit for bit, and the scalar one against plain f64.
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Kernels of every instruction set that this processor has; says once which ones it has not.
fn supported() -> &'static [DenseKernels] {
    static SUPPORTED: LazyLock<Vec<DenseKernels>> = LazyLock::new(|| {
        let (supported, missing): (Vec<_>, Vec<_>) =
            InstructionSet::ALL.into_iter().partition(|set| set.is_supported());
        for set in missing {
            println!("skipped: this processor has no {set}");
        }
        supported.into_iter().map(DenseKernels::new).collect()
    });
    &SUPPORTED
}

fn scalar() -> DenseKernels {
    DenseKernels::new(InstructionSet::Scalar)
}

fn dot_of(kernels: &DenseKernels, a: &[f32], b: &[f32]) -> f32 {
    let mut out = [f32::NAN];
    kernels.dot_many(a, b, b.len(), &mut out);
    out[0]
}

fn l2_of(kernels: &DenseKernels, a: &[f32], b: &[f32]) -> f32 {
    let mut out = [f32::NAN];
    kernels.l2_many(a, b, b.len(), &mut out);
    out[0]
}

/// The same bits; one NaN is as good as another.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Finite coordinates of every magnitude, among them those where summation order, fused rounding, underflow and
/// signs of zero show.
fn nasty() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -1.0_f32..1.0,
        2 => any::<f32>().prop_filter("finite", |x| x.is_finite()),
        1 => prop_oneof![Just(0.0_f32), Just(-0.0)],
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(1e19_f32), Just(-1e19)],
        1 => prop_oneof![Just(f32::MIN_POSITIVE), Just(1e-45_f32), Just(-1e-45), Just(-3e-39), Just(1e-20)],
        1 => prop_oneof![Just(16_777_216.0_f32), Just(-16_777_217.0), Just(0.1)],
    ]
}

fn pair_of(coordinate: impl Strategy<Value = f32> + Clone) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (0_usize..=300).prop_flat_map(move |n| (vec(coordinate.clone(), n), vec(coordinate.clone(), n)))
}

/// A query, a block of rows, and how many unused floats follow each row.
fn block() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>, usize)> {
    let nasty = || nasty().boxed();
    (0_usize..=100, 0_usize..=21, 0_usize..=9)
        .prop_flat_map(move |(n, rows, gap)| (vec(nasty(), n), vec(vec(nasty(), n), rows), Just(gap)))
}

proptest! {
    #[test]
    fn same_bits_on_every_instruction_set((a, b) in pair_of(nasty().boxed())) {
        for kernels in supported() {
            let (dot, expected) = (dot_of(kernels, &a, &b), dot_of(&scalar(), &a, &b));
            prop_assert!(same(dot, expected), "{kernels:?}: dot {dot:e}, expected {expected:e}");
            let (l2, expected) = (l2_of(kernels, &a, &b), l2_of(&scalar(), &a, &b));
            prop_assert!(same(l2, expected), "{kernels:?}: l2 {l2:e}, expected {expected:e}");
        }
    }

    #[test]
    fn many_rows_have_the_bits_of_one_row((query, rows, gap) in block()) {
        let stride = query.len() + gap;
        // The gaps must not be read: a NaN would show. The last row has none: nothing may be read behind it.
        let mut block: Vec<f32> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            block.resize(i * stride, f32::NAN);
            block.extend(row);
        }
        let block = block.into_boxed_slice();
        for kernels in supported() {
            let (mut dots, mut l2s) = (vec![f32::NAN; rows.len()], vec![f32::NAN; rows.len()]);
            kernels.dot_many(&query, &block, stride, &mut dots);
            kernels.l2_many(&query, &block, stride, &mut l2s);
            for (i, row) in rows.iter().enumerate() {
                prop_assert!(same(dots[i], dot_of(&scalar(), &query, row)), "{kernels:?}: dot of row {i}");
                prop_assert!(same(l2s[i], l2_of(&scalar(), &query, row)), "{kernels:?}: l2 of row {i}");
            }
        }
    }

    #[test]
    fn zeros_behind_the_vectors_change_nothing((mut a, mut b) in pair_of(nasty().boxed())) {
        let (dot, l2) = (dot_of(&scalar(), &a, &b), l2_of(&scalar(), &a, &b));
        let padded = a.len().next_multiple_of(LANES);
        a.resize(padded, 0.0);
        b.resize(padded, 0.0);
        for kernels in supported() {
            prop_assert!(same(dot_of(kernels, &a, &b), dot), "{kernels:?}");
            prop_assert!(same(l2_of(kernels, &a, &b), l2), "{kernels:?}");
        }
    }

    #[test]
    fn near_the_exact_values((a, b) in pair_of((-10.0_f32..10.0).boxed())) {
        let wide = || a.iter().zip(&b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        let dot: f64 = wide().map(|(a, b)| a * b).sum();
        let l2: f64 = wide().map(|(a, b)| (a - b) * (a - b)).sum();
        // Longest chain of roundings: ceil(300 / 16) fused steps, 4 halvings, and the difference counts twice.
        let error = 25.0 * f64::from(f32::EPSILON);
        let dot_scale: f64 = wide().map(|(a, b)| (a * b).abs()).sum();
        prop_assert!((f64::from(dot_of(&scalar(), &a, &b)) - dot).abs() <= error * dot_scale);
        prop_assert!((f64::from(l2_of(&scalar(), &a, &b)) - l2).abs() <= error * l2);
    }
}

/// Every length of a tail, with every number of rows left over from a group.
#[test]
fn same_bits_in_every_dimension() {
    // Any sequence that mixes signs, magnitudes and denormals will do: bits of a multiplicative hash.
    let value = |i: usize| {
        let bits = (i as u32).wrapping_mul(0x9e37_79b9).rotate_left(9);
        let moderate = f32::from_bits(bits & 0x8fff_ffff | 0x3000_0000);
        if bits.is_multiple_of(16) { f32::from_bits(bits & 0x807f_ffff) } else { moderate }
    };
    for dimension in 1..=300 {
        let query: Vec<f32> = (0..dimension).map(value).collect();
        let block: Vec<f32> = (0..9 * dimension).map(|i| value(i + 1000)).collect();
        for rows in [1, 2, 3, 9] {
            let raw = |kernels: &DenseKernels| {
                let mut out = [[0.0; 9]; 2];
                kernels.dot_many(&query, &block, dimension, &mut out[0][..rows]);
                kernels.l2_many(&query, &block, dimension, &mut out[1][..rows]);
                out.map(|out| out.map(f32::to_bits))
            };
            let expected = raw(&scalar());
            for kernels in supported() {
                assert_eq!(raw(kernels), expected, "{kernels:?}, {rows} rows of dimension {dimension}");
            }
        }
    }
}

#[test]
fn golden_values() {
    for kernels in supported() {
        assert_eq!(l2_of(kernels, &[-0.5, 0.0], &[0.0, 2.0]), 4.25);
        assert_eq!(dot_of(kernels, &[-0.5, 3.0], &[4.0, 2.0]), 4.0);
        assert_eq!(dot_of(kernels, &[], &[]), 0.0);
        let ramp: Vec<f32> = (1..=300_u16).map(f32::from).collect();
        let ones = [1.0; 300];
        assert_eq!(dot_of(kernels, &ramp, &ones), 45_150.0);
        let mut out = [0.0; 2];
        kernels.l2_many(&[1.0, 1.0], &[1.0, 2.0, 9.0, -1.0, 1.0], 3, &mut out);
        assert_eq!(out, [1.0, 4.0]);
    }
}

#[test]
fn the_order_of_summation_is_fixed() {
    // 1e8 meets -1e8 in lane 0, before any of the ones; these would be lost in it in another order.
    let mut a = vec![1.0; 64];
    a[0] = 1e8;
    a[16] = -1e8;
    for kernels in supported() {
        assert_eq!(dot_of(kernels, &a, &[1.0; 64]), 62.0, "{kernels:?}");
    }
    // The product and the addition are rounded once: 1 + 2^-12 squared is 1 + 2^-11 + 2^-24, minus 1 is exact.
    let x = 1.0 + 1.0 / 4096.0;
    let (mut a, mut b) = ([0.0; 17], [0.0; 17]);
    (a[0], b[0], a[16], b[16]) = (-1.0, 1.0, x, x);
    for kernels in supported() {
        assert_eq!(dot_of(kernels, &a, &b), 1.0 / 2048.0 + 1.0 / 16_777_216.0, "{kernels:?}");
    }
}
