//! A sparse query, prepared once, then compared with row after row.

use std::cell::RefCell;

use hashbrown::HashMap;
use vektonn_core::{Metric, SparseVector};

use super::row::SparseRow;
use crate::distance;

/// A query with an index up to this one is spread over an array (1 MiB at most), else put into a hash table.
const ARRAY_INDEX_MAX: u32 = (1 << 18) - 1;

/// A query ready for comparing.
///
/// Distances are exact up to one final rounding: sums are f64, over the row's indices in ascending order, and
/// products of two f32 are exact in f64. So the result does not depend on how the query is looked up.
pub(crate) struct SparseQuery<'q> {
    metric: Metric,
    vector: &'q SparseVector,
    lookup: Lookup,
    norm: f64,
    non_zeros: usize,
}

/// Gives the query's coordinate of any dimension; zero where it has none.
enum Lookup {
    Array(Array),
    Table(Table),
}

thread_local! {
    /// An array of zeros, for the next query of this thread.
    static ZEROS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Coordinates by index. What was written is erased in the end, so that the next query finds zeros without a new array.
struct Array {
    coordinates: Vec<f32>,
    written: Vec<u32>,
}

/// Coordinates by index, behind a filter that keeps most look-ups of absent ones away from the map.
struct Table {
    map: HashMap<u32, f32>,
    /// One bit for each value of the lower 16 bits of an index; 8 KiB.
    filter: Box<[u64; 1 << 10]>,
}

impl<'q> SparseQuery<'q> {
    /// Prepares a query.
    pub(crate) fn new(metric: Metric, vector: &'q SparseVector) -> Self {
        let lookup = match vector.indices().last() {
            Some(&last) if last > ARRAY_INDEX_MAX => Lookup::Table(Table::new(vector)),
            _ => Lookup::Array(Array::new(vector)),
        };
        let non_zeros = vector.values().iter().filter(|&&value| value != 0.0).count();
        Self { metric, vector, lookup, norm: distance::norm(vector.values()), non_zeros }
    }

    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// The Euclidean norm; see [`distance::norm`].
    pub(super) fn norm(&self) -> f64 {
        self.norm
    }

    /// The number of coordinates that are not zero.
    pub(super) fn len(&self) -> usize {
        self.non_zeros
    }

    /// The coordinates that are not zero, by ascending index.
    pub(super) fn non_zeros(&self) -> impl Iterator<Item = (u32, f32)> {
        let pairs = self.vector.indices().iter().copied().zip(self.vector.values().iter().copied());
        pairs.filter(|&(_, value)| value != 0.0)
    }

    /// The final distance to every row, if that is the same: of the zero vector.
    pub(super) fn distance_to_all(&self) -> Option<f32> {
        (self.non_zeros == 0).then(|| self.distance(&SparseRow::new(&SparseVector::default())))
    }

    /// The final distance of the query to a row.
    pub(crate) fn distance(&self, row: &SparseRow) -> f32 {
        match &self.lookup {
            Lookup::Array(array) => self
                .distance_by(row, |index| array.coordinates.get(index as usize).copied().unwrap_or_default()),
            Lookup::Table(table) => self.distance_by(row, |index| table.get(index)),
        }
    }

    #[inline]
    fn distance_by(&self, row: &SparseRow, coordinate_at: impl Fn(u32) -> f32) -> f32 {
        match self.metric {
            Metric::InnerProduct => distance::inner_product_distance(dot_and_norm(row, coordinate_at).0),
            Metric::Cosine => {
                let (dot, norm) = dot_and_norm(row, coordinate_at);
                distance::cosine_distance(dot, self.norm * norm)
            }
            Metric::L2 => unreachable!("IndexSpec::check refuses L2 for sparse vectors"),
            Metric::JaccardBinary => {
                let (mut common, mut size) = (0, 0);
                for (index, value) in row.coordinates() {
                    let present = value != 0.0;
                    size += usize::from(present);
                    common += usize::from(present & (coordinate_at(index) != 0.0));
                }
                distance::jaccard_distance(common, self.non_zeros, size)
            }
        }
    }
}

/// The inner product, summed over the row by ascending index, and the row's Euclidean norm; see [`distance::norm`].
#[inline]
fn dot_and_norm(row: &SparseRow, coordinate_at: impl Fn(u32) -> f32) -> (f64, f64) {
    let (mut sum, mut squares) = (0.0, 0.0);
    for (index, value) in row.coordinates() {
        let value = f64::from(value);
        sum += f64::from(coordinate_at(index)) * value;
        squares += value * value;
    }
    (sum, squares.sqrt())
}

impl Array {
    fn new(vector: &SparseVector) -> Self {
        let mut coordinates = ZEROS.take();
        let needed = vector.indices().last().map_or(0, |&last| last as usize + 1);
        if coordinates.len() < needed {
            coordinates.resize(needed, 0.0);
        }
        for (&index, &value) in vector.indices().iter().zip(vector.values()) {
            coordinates[index as usize] = value;
        }
        Self { coordinates, written: vector.indices().to_vec() }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        for &index in &self.written {
            self.coordinates[index as usize] = 0.0;
        }
        let coordinates = std::mem::take(&mut self.coordinates);
        // It is gone for good if the thread is about to end.
        let _ = ZEROS.try_with(|zeros| zeros.replace(coordinates));
    }
}

impl Table {
    fn new(vector: &SparseVector) -> Self {
        let mut filter = Box::new([0; 1 << 10]);
        vector.indices().iter().for_each(|&index| filter[word(index)] |= bit(index));
        let map = vector.indices().iter().copied().zip(vector.values().iter().copied()).collect();
        Self { map, filter }
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
