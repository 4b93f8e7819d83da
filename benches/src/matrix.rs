//! Dense vectors, one after another.

use anyhow::{Result, ensure};
use faer::MatRef;

/// Rows of f32 of one dimension, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    dimension: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// From the rows' coordinates, one row after another.
    pub(crate) fn new(dimension: usize, values: Vec<f32>) -> Result<Self> {
        ensure!(dimension > 0, "vectors of dimension 0");
        ensure!(!values.is_empty(), "no vectors");
        ensure!(values.len().is_multiple_of(dimension), "{} values are no rows of {dimension}", values.len());
        Ok(Self { dimension, values })
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Coordinates of all rows.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimension..(row + 1) * self.dimension]
    }

    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// Rows from `first` on as a matrix of `count` x dimension.
    pub(crate) fn block(&self, first: usize, count: usize) -> MatRef<'_, f32> {
        let values = &self.values[first * self.dimension..(first + count) * self.dimension];
        MatRef::from_row_major_slice(values, count, self.dimension)
    }

    /// The first `rows` rows, or all if there are fewer.
    pub(crate) fn truncated(mut self, rows: usize) -> Self {
        self.values.truncate(rows.max(1) * self.dimension);
        self
    }
}
