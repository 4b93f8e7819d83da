//! Query vectors, borrowed from what the caller has.

use vektonn_core::{DenseVector, SparseVector, StoredVector};

use crate::dense_rows::DenseQuery;

/// A query vector. Slices, vectors and arrays of f32 are dense queries.
#[derive(Clone, Copy, Debug)]
pub enum Query<'a> {
    /// One coordinate for every dimension.
    Dense(&'a [f32]),
    /// Coordinates of the non-zero dimensions.
    Sparse(&'a SparseVector),
}

/// Queries that fit an index, and what of them is the same whatever they are compared with. Sparse ones get ready where they
/// are searched for, one after another: all of a thread share an array.
pub(crate) enum PreparedQueries<'q> {
    Dense(Vec<DenseQuery<'q>>),
    Sparse(Vec<&'q SparseVector>),
}

impl PreparedQueries<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Dense(queries) => queries.len(),
            Self::Sparse(queries) => queries.len(),
        }
    }
}

impl<'a> From<&'a [f32]> for Query<'a> {
    fn from(coordinates: &'a [f32]) -> Self {
        Self::Dense(coordinates)
    }
}

impl<'a> From<&'a Vec<f32>> for Query<'a> {
    fn from(coordinates: &'a Vec<f32>) -> Self {
        Self::Dense(coordinates)
    }
}

impl<'a, const D: usize> From<&'a [f32; D]> for Query<'a> {
    fn from(coordinates: &'a [f32; D]) -> Self {
        Self::Dense(coordinates)
    }
}

impl<'a> From<&'a DenseVector> for Query<'a> {
    fn from(vector: &'a DenseVector) -> Self {
        Self::Dense(vector.as_slice())
    }
}

impl<'a> From<&'a SparseVector> for Query<'a> {
    fn from(vector: &'a SparseVector) -> Self {
        Self::Sparse(vector)
    }
}

impl<'a> From<&'a StoredVector> for Query<'a> {
    fn from(vector: &'a StoredVector) -> Self {
        match vector {
            StoredVector::Dense(vector) => Self::Dense(vector.as_slice()),
            StoredVector::Sparse(vector) => Self::Sparse(vector),
        }
    }
}
