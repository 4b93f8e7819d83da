//! Vectors as people write them, and as indices store them.
//!
//! A [`Vector`] is what was uploaded and what the log keeps: f64 coordinates, sparse ones in any order.
//! An index stores f32: [`DenseVector`] and [`SparseVector`] are the narrowed, checked and sorted forms, and
//! can only be made from coordinates that are finite in f32.

/// A vector as uploaded, logged and echoed: f64 coordinates, nothing checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// One coordinate for every dimension.
    Dense {
        /// The coordinates; their number is the dimension.
        coordinates: Vec<f64>,
    },
    /// Only the coordinates at the given indices; all others are zero.
    Sparse {
        /// The coordinates, in the order of `coordinate_indices`.
        coordinates: Vec<f64>,
        /// Zero-based dimensions of the coordinates, in any order.
        coordinate_indices: Vec<i32>,
    },
}

/// Why a vector cannot be stored in, or compared with, an index. The messages are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A sparse vector came where the data source is dense.
    #[error("Vector must be dense")]
    MustBeDense,
    /// A dense vector came where the data source is sparse.
    #[error("Vector must be sparse")]
    MustBeSparse,
    /// A sparse vector without coordinates.
    #[error("Vector must have coordinates")]
    Empty,
    /// Indices repeat, are missing, or are more than the coordinates.
    #[error("Each vector coordinate value must have unique corresponding index")]
    Indices,
    /// The number of dense coordinates is not the dimension, or a sparse index lies outside of it.
    #[error("Vector coordinates must have dimension: {dimension}")]
    Dimension {
        /// The dimension of the data source.
        dimension: usize,
    },
    /// A coordinate is NaN, infinite, or too large for a 32-bit float.
    #[error("Vector coordinates must be finite 32-bit floating-point numbers")]
    NotFinite,
}

impl Vector {
    /// A dense vector.
    pub fn dense(coordinates: impl Into<Vec<f64>>) -> Self {
        Self::Dense { coordinates: coordinates.into() }
    }

    /// A sparse vector of the given coordinates and their indices.
    pub fn sparse(coordinates: impl Into<Vec<f64>>, coordinate_indices: impl Into<Vec<i32>>) -> Self {
        Self::Sparse { coordinates: coordinates.into(), coordinate_indices: coordinate_indices.into() }
    }

    /// Whether this is a sparse vector.
    pub fn is_sparse(&self) -> bool {
        matches!(self, Self::Sparse { .. })
    }

    /// Narrows to f32 and checks a vector of a dense data source.
    ///
    /// # Errors
    /// The first of: not dense, wrong number of coordinates, a coordinate that is not finite in f32.
    pub fn to_dense(&self, dimension: usize) -> Result<DenseVector, VectorError> {
        let Self::Dense { coordinates } = self else { return Err(VectorError::MustBeDense) };
        if coordinates.len() != dimension {
            return Err(VectorError::Dimension { dimension });
        }
        DenseVector::new(coordinates.iter().map(|&x| x as f32).collect())
    }

    /// Narrows to f32, sorts by index and checks a vector of a sparse data source.
    ///
    /// # Errors
    /// The first of: not sparse, empty, duplicate or missing indices, an index outside of `0..dimension`, a
    /// coordinate that is not finite in f32.
    pub fn to_sparse(&self, dimension: usize) -> Result<SparseVector, VectorError> {
        let Self::Sparse { coordinates, coordinate_indices } = self else {
            return Err(VectorError::MustBeSparse);
        };
        if coordinates.is_empty() {
            return Err(VectorError::Empty);
        }
        if coordinates.len() != coordinate_indices.len() {
            return Err(VectorError::Indices);
        }
        let mut pairs: Vec<(i32, f32)> =
            coordinate_indices.iter().copied().zip(coordinates.iter().map(|&x| x as f32)).collect();
        pairs.sort_unstable_by_key(|&(index, _)| index);
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(VectorError::Indices);
        }
        let in_range = |index: i32| usize::try_from(index).is_ok_and(|index| index < dimension);
        if !pairs.iter().all(|&(index, _)| in_range(index)) {
            return Err(VectorError::Dimension { dimension });
        }
        if !pairs.iter().all(|&(_, value)| value.is_finite()) {
            return Err(VectorError::NotFinite);
        }
        let (indices, values) = pairs.into_iter().map(|(index, value)| (index as u32, value)).unzip();
        Ok(SparseVector { indices, values })
    }
}

/// Dense f32 coordinates, all finite.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseVector(Vec<f32>);

impl DenseVector {
    /// Checks that every coordinate is finite.
    ///
    /// # Errors
    /// [`VectorError::NotFinite`].
    pub fn new(coordinates: Vec<f32>) -> Result<Self, VectorError> {
        if coordinates.iter().all(|x| x.is_finite()) { Ok(Self(coordinates)) } else { Err(VectorError::NotFinite) }
    }

    /// The coordinates.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

/// Sparse f32 coordinates: indices strictly ascending, values finite.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseVector {
    /// The indices, strictly ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values, in the order of the indices.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// A vector as an index stores it and a search returns it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredVector {
    /// Dense coordinates.
    Dense(DenseVector),
    /// Sparse coordinates, ordered by index.
    Sparse(SparseVector),
}
