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
    Table(Table),
    /// For L2, which needs the dimensions that only the query has, too. With the norms in their place, two long vectors
    /// that differ little would have a distance made of rounding errors.
    List(SparseVector),
}

/// Coordinates by index, behind a filter that keeps most look-ups of absent ones away from the map.
struct Table {
    map: HashMap<u32, f32>,
    /// One bit for each value of the lower 16 bits of an index; 8 KiB.
    filter: Box<[u64; 1 << 10]>,
}

impl SparseQuery {
    /// Prepares a query.
    pub(crate) fn new(metric: Metric, query: &SparseVector) -> Self {
        Self {
            metric,
            coordinates: match metric {
                Metric::L2 => Coordinates::List(query.clone()),
                _ => Coordinates::new(query, ARRAY_INDEX_MAX),
            },
            norm: distance::norm(query.values()),
            non_zeros: count_non_zeros(query.values()),
        }
    }

    /// The final distance of the query to a row.
    pub(crate) fn distance(&self, row: &SparseRow) -> f32 {
        match &self.coordinates {
            Coordinates::List(query) => distance::l2_distance(squared_l2(query, &row.vector) as f32),
            Coordinates::Array(array) => {
                self.distance_by(row, |index| array.get(index as usize).copied().unwrap_or_default())
            }
            Coordinates::Table(table) => self.distance_by(row, |index| table.get(index)),
        }
    }

    #[inline]
    fn distance_by(&self, row: &SparseRow, coordinate_at: impl Fn(u32) -> f32) -> f32 {
        match self.metric {
            Metric::InnerProduct => distance::inner_product_distance(dot(row, coordinate_at)),
            Metric::Cosine => distance::cosine_distance(dot(row, coordinate_at), self.norm * row.norm),
            Metric::L2 => unreachable!("L2 goes through both lists"),
            Metric::JaccardBinary => {
                let both = |query, value| f64::from(u8::from((query != 0.0) & (value != 0.0)));
                let common = sum(row, coordinate_at, both) as usize;
                distance::jaccard_distance(common, self.non_zeros, row.non_zeros)
            }
        }
    }
}

#[inline]
fn dot(row: &SparseRow, coordinate_at: impl Fn(u32) -> f32) -> f64 {
    sum(row, coordinate_at, |query, value| query * value)
}

/// The sum of `term(query's coordinate, row's value)` over the row, by ascending index.
#[inline]
fn sum(row: &SparseRow, coordinate_at: impl Fn(u32) -> f32, term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sum = 0.0;
    for (&index, &value) in row.vector.indices().iter().zip(row.vector.values()) {
        sum += term(f64::from(coordinate_at(index)), f64::from(value));
    }
    sum
}

/// The squared Euclidean distance, summed by ascending index.
fn squared_l2(a: &SparseVector, b: &SparseVector) -> f64 {
    let mut rest = b.indices().iter().zip(b.values()).peekable();
    let square = |x: f64| x * x;
    let mut sum = 0.0;
    for (index, &value) in a.indices().iter().zip(a.values()) {
        while let Some((_, &only_b)) = rest.next_if(|(other, _)| *other < index) {
            sum += square(f64::from(only_b));
        }
        let other = rest.next_if(|(other, _)| *other == index).map_or(0.0, |(_, &other)| f64::from(other));
        sum += square(f64::from(value) - other);
    }
    rest.fold(sum, |sum, (_, &only_b)| sum + square(f64::from(only_b)))
}

impl Coordinates {
    fn new(query: &SparseVector, array_index_max: u32) -> Self {
        let pairs = query.indices().iter().copied().zip(query.values().iter().copied());
        match query.indices().last() {
            Some(&last) if last > array_index_max => Self::Table(Table::new(pairs)),
            last => {
                let mut array = vec![0.0; last.map_or(0, |&last| last as usize + 1)];
                pairs.for_each(|(index, value)| array[index as usize] = value);
                Self::Array(array)
            }
        }
    }
}

impl Table {
    fn new(pairs: impl Iterator<Item = (u32, f32)> + Clone) -> Self {
        let mut filter = Box::new([0; 1 << 10]);
        pairs.clone().for_each(|(index, _)| filter[word(index)] |= bit(index));
        Self { map: pairs.collect(), filter }
    }

    #[inline]
    fn get(&self, index: u32) -> f32 {
        if self.filter[word(index)] & bit(index) == 0 {
            return 0.0;
        }
        self.map.get(&index).copied().unwrap_or_default()
    }
}

fn word(index: u32) -> usize {
    (index as u16 >> 6) as usize
}

fn bit(index: u32) -> u64 {
    1 << (index % u64::BITS)
}

/// An explicit zero is as good as none.
pub(super) fn count_non_zeros(values: &[f32]) -> usize {
    values.iter().filter(|&&value| value != 0.0).count()
}
