//! A sparse query, prepared once, then compared with row after row.

use super::SparseRow;
use crate::distance;
use hashbrown::HashMap;
use vektonn_core::{Metric, SparseVector};

/// A query with an index up to this one is spread over an array (1 MiB at most), else put into a hash table.
const ARRAY_INDEX_MAX: u32 = (1 << 18) - 1;

/// A query ready for comparing.
///
/// Distances are exact up to one final rounding: sums are f64, over the row's indices in ascending order, and
/// products of two f32 are exact in f64. So the result does not depend on how the query is looked up.
pub(crate) struct SparseQuery {
    metric: Metric,
    coordinates: Coordinates,
    norm: f64,
    non_zeros: usize,
}

/// The query's coordinate of any dimension; zero where it has none.
enum Coordinates {
    Array(Vec<f32>),
    Table(HashMap<u32, f32>),
}

impl SparseQuery {
    /// Prepares a query.
    pub(crate) fn new(metric: Metric, query: &SparseVector) -> Self {
        Self {
            metric,
            coordinates: Coordinates::new(query, ARRAY_INDEX_MAX),
            norm: distance::norm(query.values()),
            non_zeros: count_non_zeros(query.values()),
        }
    }

    /// The final distance of the query to a row.
    pub(crate) fn distance(&self, row: &SparseRow) -> f32 {
        match &self.coordinates {
            Coordinates::Array(array) => {
                self.distance_by(row, |index| array.get(index as usize).copied().unwrap_or_default())
            }
            Coordinates::Table(table) => {
                self.distance_by(row, |index| table.get(&index).copied().unwrap_or_default())
            }
        }
    }

    #[inline]
    fn distance_by(&self, row: &SparseRow, coordinate_at: impl Fn(u32) -> f32) -> f32 {
        let values = row.vector.values();
        let coordinates = || row.vector.indices().iter().map(|&index| coordinate_at(index)).zip(values);
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            coordinates().map(|(query, &value)| term(f64::from(query), f64::from(value))).sum()
        };
        match self.metric {
            Metric::InnerProduct => distance::inner_product_distance(sum(|query, value| query * value)),
            Metric::Cosine => {
                distance::cosine_distance(sum(|query, value| query * value), self.norm * row.norm)
            }
            Metric::L2 => {
                // The dimensions that only the query has are in its norm, the others are replaced in it.
                let replaced = sum(|query, value| (query - value) * (query - value) - query * query);
                distance::l2_distance((self.norm * self.norm + replaced).max(0.0) as f32)
            }
            Metric::JaccardBinary => {
                let common = coordinates().filter(|&(query, &value)| query != 0.0 && value != 0.0).count();
                distance::jaccard_distance(common, self.non_zeros, count_non_zeros(values))
            }
        }
    }
}

impl Coordinates {
    fn new(query: &SparseVector, array_index_max: u32) -> Self {
        let pairs = query.indices().iter().copied().zip(query.values().iter().copied());
        match query.indices().last() {
            Some(&last) if last > array_index_max => Self::Table(pairs.collect()),
            last => {
                let mut array = vec![0.0; last.map_or(0, |&last| last as usize + 1)];
                pairs.for_each(|(index, value)| array[index as usize] = value);
                Self::Array(array)
            }
        }
    }
}

/// An explicit zero is as good as none.
fn count_non_zeros(values: &[f32]) -> usize {
    values.iter().filter(|&&value| value != 0.0).count()
}
