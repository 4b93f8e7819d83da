//! The prepared query against naive distances over dense f64 arrays.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::collection::btree_map;
use proptest::prelude::*;
use sprs::{CsVec, CsVecI};
use vektonn_core::VectorError;

const METRICS: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::JaccardBinary];

fn sparse(pairs: &[(u32, f32)]) -> SparseVector {
    let (indices, values): (Vec<u32>, Vec<f32>) = pairs.iter().copied().unzip();
    SparseVector::new(&indices, &values, usize::MAX).unwrap()
}

fn distance(metric: Metric, query: &[(u32, f32)], row: &[(u32, f32)]) -> f32 {
    SparseQuery::new(metric, &sparse(query)).distance(&SparseRow::new(sparse(row)))
}

#[test]
fn golden_values() {
    let (a, b): (&[_], &[_]) = (&[(0, 1.0), (3, 2.0), (9, -1.0)], &[(3, 0.5), (4, 7.0), (9, 4.0)]);
    assert_eq!(distance(Metric::InnerProduct, a, b), 3.0);
    assert_eq!(distance(Metric::JaccardBinary, a, b), 0.5);
    assert_eq!(distance(Metric::L2, a, b), 77.25);
    assert_eq!(distance(Metric::L2, &[(0, -0.5)], &[(1, 2.0)]), 4.25);
    assert_eq!(distance(Metric::Cosine, &[(0, 3.0), (1, 4.0)], &[(1, 10.0)]), 0.2);
    assert_eq!(distance(Metric::Cosine, &[(7, 0.1)], &[(7, -0.3)]), 2.0);
}

#[test]
fn without_common_terms_a_point_is_still_a_neighbour() {
    let (a, b): (&[_], &[_]) = (&[(1, 2.0)], &[(2, -3.0)]);
    assert_eq!(distance(Metric::InnerProduct, a, b).to_bits(), 0.0_f32.to_bits(), "no -0.0");
    assert_eq!(distance(Metric::Cosine, a, b), 1.0);
    assert_eq!(distance(Metric::JaccardBinary, a, b), 1.0);
    assert_eq!(distance(Metric::L2, a, b), 13.0);
}

#[test]
fn explicit_zeros_are_absent() {
    let (a, b): (&[_], &[_]) = (&[(1, 1.0), (2, 0.0), (3, 5.0)], &[(1, 1.0), (2, 4.0), (3, -0.0)]);
    assert_eq!(distance(Metric::JaccardBinary, a, b), (1.0 - 1.0 / 3.0) as f32);
}

#[test]
fn the_zero_vector_has_distance_1() {
    let something: &[_] = &[(5, 2.0)];
    for zero in [[].as_slice(), &[(5, 0.0)]] {
        for metric in [Metric::Cosine, Metric::JaccardBinary] {
            assert_eq!(distance(metric, zero, something), 1.0);
            assert_eq!(distance(metric, something, zero), 1.0);
            assert_eq!(distance(metric, zero, zero), 1.0);
        }
    }
}

#[test]
fn far_out_indices_and_values() {
    let large = i32::MAX as u32 - 1;
    assert_eq!(distance(Metric::InnerProduct, &[(3, 2.0), (large, 5.0)], &[(2, 9.0), (large, 3.0)]), -15.0);
    assert_eq!(distance(Metric::InnerProduct, &[(3, 2.0)], &[(3, 1.0), (large, 3.0)]), -2.0);
    assert_eq!(distance(Metric::InnerProduct, &[(0, f32::MAX)], &[(0, -f32::MAX)]), f32::INFINITY);
    assert_eq!(
        distance(Metric::Cosine, &[(0, f32::MAX)], &[(0, f32::MAX)]),
        0.0,
        "f64 has room for the squares"
    );
    assert_eq!(distance(Metric::Cosine, &[(0, 1e-45)], &[(0, 1e-45)]), 0.0);
}

/// Indices on both sides of the array's limit, many of them met by both vectors.
fn pairs() -> impl Strategy<Value = Vec<(u32, f32)>> {
    let index = prop_oneof![8 => 0_u32..40, 1 => 262_130_u32..262_160, 1 => 2_147_483_600_u32..2_147_483_640];
    let value = prop_oneof![6 => -10.0_f32..10.0, 1 => Just(0.0_f32), 1 => Just(-0.0)];
    btree_map(index, value, 0..30).prop_map(|pairs| pairs.into_iter().collect())
}

/// The definition of each metric over all dimensions that occur, and how large an error of rounding may be.
fn naive(metric: Metric, query: &[(u32, f32)], row: &[(u32, f32)]) -> (f64, f64) {
    let at = |pairs: &[(u32, f32)], index| {
        pairs.iter().find(|pair| pair.0 == index).map_or(0.0, |pair| f64::from(pair.1))
    };
    let mut dimensions: Vec<u32> = query.iter().chain(row).map(|pair| pair.0).collect();
    dimensions.sort_unstable();
    dimensions.dedup();
    let coordinates: Vec<(f64, f64)> = dimensions.iter().map(|&i| (at(query, i), at(row, i))).collect();
    let sum = |term: fn(&(f64, f64)) -> f64| coordinates.iter().map(term).sum::<f64>();
    let count = |test: fn(&&(f64, f64)) -> bool| coordinates.iter().filter(test).count() as f64;
    let (squares_a, squares_b) = (sum(|(a, _)| a * a), sum(|(_, b)| b * b));
    match metric {
        Metric::L2 => (sum(|(a, b)| (a - b) * (a - b)), squares_a + squares_b),
        Metric::InnerProduct => (-sum(|(a, b)| a * b), sum(|(a, b)| (a * b).abs())),
        Metric::Cosine if squares_a * squares_b == 0.0 => (1.0, 1.0),
        Metric::Cosine => (1.0 - sum(|(a, b)| a * b) / (squares_a.sqrt() * squares_b.sqrt()), 1.0),
        Metric::JaccardBinary => {
            let union = count(|(a, b)| *a != 0.0 || *b != 0.0);
            let common = count(|(a, b)| *a != 0.0 && *b != 0.0);
            (if union == 0.0 { 1.0 } else { 1.0 - common / union }, 1.0)
        }
    }
}

proptest! {
    #[test]
    fn as_the_naive_definition(query in pairs(), row in pairs()) {
        for metric in METRICS {
            let found = f64::from(distance(metric, &query, &row));
            let (expected, scale) = naive(metric, &query, &row);
            // One rounding to f32, and what is left of f64's after cancellation.
            let error = f64::from(f32::EPSILON) / 2.0 * expected.abs() + 1e-13 * scale;
            prop_assert!((found - expected).abs() <= error, "{metric:?}: {found}, expected {expected}");
            prop_assert!(found.to_bits() != (-0.0_f64).to_bits(), "{metric:?} gave -0.0");
        }
    }

    #[test]
    fn the_table_gives_the_bits_of_the_array(query in pairs(), row in pairs()) {
        let near = |pairs: Vec<(u32, f32)>| pairs.into_iter().filter(|pair| pair.0 < 1000).collect::<Vec<_>>();
        let (query, row) = (near(query), near(row));
        // A query coordinate of zero far out changes no sum, but moves the query into a table.
        let mut far_query = query.clone();
        far_query.push((1 << 30, 0.0));
        for metric in METRICS {
            let (array, table) = (distance(metric, &query, &row), distance(metric, &far_query, &row));
            prop_assert_eq!(array.to_bits(), table.to_bits(), "{:?}", metric);
        }
    }

    #[test]
    fn the_distance_to_itself(vector in pairs()) {
        let zero = vector.iter().all(|pair| pair.1 == 0.0);
        prop_assert_eq!(distance(Metric::JaccardBinary, &vector, &vector), if zero { 1.0 } else { 0.0 });
        prop_assert!((0.0..=1e-11).contains(&distance(Metric::L2, &vector, &vector)));
        if !zero {
            prop_assert!((0.0..=1e-15).contains(&distance(Metric::Cosine, &vector, &vector)));
        }
    }
}

#[test]
fn from_sprs() {
    let vector: CsVec<f32> = CsVec::new(10, vec![1, 7], vec![0.5, -2.0]);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Ok(sparse(&[(1, 0.5), (7, -2.0)])));
    assert_eq!(sparse_from_sprs(vector.view(), 11), Err(VectorError::Dimension { dimension: 11 }));
    let vector: CsVecI<f32, i32> = CsVecI::new(10, vec![9], vec![f32::NAN]);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Err(VectorError::NotFinite));
    let vector: CsVecI<f32, u16> = CsVecI::empty(10);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Ok(sparse(&[])));
    let dimension = u32::MAX as usize + 10;
    let vector: CsVec<f32> = CsVec::new(dimension, vec![dimension - 1], vec![1.0]);
    assert_eq!(sparse_from_sprs(vector.view(), dimension), Err(VectorError::Dimension { dimension }));
}

#[test]
fn l2_of_long_vectors_that_differ_little() {
    let (a, b): (&[_], &[_]) = (&[(1, 1e8), (2, 1.0), (4, 0.5)], &[(0, 0.5), (1, 1e8), (2, 1.5)]);
    assert_eq!(distance(Metric::L2, a, b), 0.75);
    assert_eq!(distance(Metric::L2, b, a), 0.75);
}
