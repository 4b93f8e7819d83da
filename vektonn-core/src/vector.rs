//! Vectors as people write them, and as indices store them.
//!
//! A [`Vector`] is what was uploaded and what the log keeps: f64 coordinates, sparse ones in any order.
//! An index stores f32: [`DenseVector`] and [`SparseVector`] are the narrowed, checked and sorted forms, and
//! can only be made from coordinates that are finite in f32.

use crate::VectorKind;

/// A vector as uploaded, logged and echoed: f64 coordinates, nothing checked.
///
/// ```
/// use vektonn_core::{Vector, VectorError, VectorKind};
///
/// let vector = Vector::sparse([0.5, -1.0], [7, 3]);
/// assert_eq!(vector.check(VectorKind::Sparse, 10), Ok(()));
/// assert_eq!(vector.check(VectorKind::Sparse, 5), Err(VectorError::Dimension { dimension: 5 }));
/// assert_eq!(vector.to_sparse(10)?.indices(), [3, 7]);
/// # Ok::<(), VectorError>(())
/// ```
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
///
/// ```
/// assert_eq!(vektonn_core::VectorError::MustBeDense.to_string(), "Vector must be dense");
/// ```
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

    /// Checks a vector of a data source of the given kind and dimension: what [`to_dense`](Self::to_dense) and
    /// [`to_sparse`](Self::to_sparse) check, without making the narrowed vector.
    ///
    /// # Errors
    /// The first of: not of that kind, empty (sparse), duplicate or missing indices (sparse), wrong number of
    /// coordinates or an index outside of `0..dimension`, a coordinate that is not finite in f32.
    pub fn check(&self, kind: VectorKind, dimension: usize) -> Result<(), VectorError> {
        self.check_shape(kind, dimension)?;
        if self.coordinates().iter().all(|&x| (x as f32).is_finite()) {
            Ok(())
        } else {
            Err(VectorError::NotFinite)
        }
    }

    /// All of [`check`](Self::check) but that the coordinates are finite.
    pub(crate) fn check_shape(&self, kind: VectorKind, dimension: usize) -> Result<(), VectorError> {
        match (self, kind) {
            (Self::Sparse { .. }, VectorKind::Dense) => Err(VectorError::MustBeDense),
            (Self::Dense { .. }, VectorKind::Sparse) => Err(VectorError::MustBeSparse),
            (Self::Dense { coordinates }, VectorKind::Dense) if coordinates.len() != dimension => {
                Err(VectorError::Dimension { dimension })
            }
            (Self::Dense { .. }, VectorKind::Dense) => Ok(()),
            (Self::Sparse { coordinates, .. }, VectorKind::Sparse) if coordinates.is_empty() => {
                Err(VectorError::Empty)
            }
            (Self::Sparse { coordinates, coordinate_indices }, VectorKind::Sparse) => {
                if coordinates.len() != coordinate_indices.len() || !are_unique(coordinate_indices) {
                    return Err(VectorError::Indices);
                }
                let in_range = |&index: &i32| usize::try_from(index).is_ok_and(|index| index < dimension);
                let in_range = coordinate_indices.iter().all(in_range);
                if in_range { Ok(()) } else { Err(VectorError::Dimension { dimension }) }
            }
        }
    }

    /// The coordinates: all of a dense vector, those given of a sparse one.
    pub fn coordinates(&self) -> &[f64] {
        let (Self::Dense { coordinates } | Self::Sparse { coordinates, .. }) = self;
        coordinates
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
        let values: Vec<f32> = coordinates.iter().map(|&x| x as f32).collect();
        SparseVector::new(coordinate_indices, &values, dimension)
    }
}

fn are_unique(indices: &[i32]) -> bool {
    if indices.is_sorted_by(|a, b| a < b) {
        return true;
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    sorted.is_sorted_by(|a, b| a < b)
}

/// Dense f32 coordinates, all finite.
///
/// ```
/// use vektonn_core::{DenseVector, VectorError};
///
/// assert_eq!(DenseVector::new(vec![0.5, -1.0])?.as_slice(), [0.5, -1.0]);
/// assert_eq!(DenseVector::new(vec![f32::NAN]), Err(VectorError::NotFinite));
/// # Ok::<(), VectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DenseVector(Vec<f32>);

impl DenseVector {
    /// Checks that every coordinate is finite.
    ///
    /// # Errors
    /// [`VectorError::NotFinite`].
    pub fn new(coordinates: Vec<f32>) -> Result<Self, VectorError> {
        if coordinates.iter().all(|x| x.is_finite()) {
            Ok(Self(coordinates))
        } else {
            Err(VectorError::NotFinite)
        }
    }

    /// The coordinates.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

/// Sparse f32 coordinates: indices strictly ascending, values finite.
///
/// ```
/// use vektonn_core::{SparseVector, VectorError};
///
/// let vector = SparseVector::new(&[7, 3], &[0.5, -1.0], 10)?;
/// assert_eq!((vector.indices(), vector.values()), (&[3, 7][..], &[-1.0, 0.5][..]));
/// # Ok::<(), VectorError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseVector {
    /// Sorts by index and checks. `indices` and `values` belong together one by one and come in any order; none at
    /// all make the zero vector. An explicit zero is kept.
    ///
    /// # Errors
    /// The first of: duplicate or missing indices, an index outside of `0..dimension` or of u32, a value that is not
    /// finite.
    pub fn new<I>(indices: &[I], values: &[f32], dimension: usize) -> Result<Self, VectorError>
    where
        I: Copy + Ord + TryInto<u32>,
    {
        if indices.len() != values.len() {
            return Err(VectorError::Indices);
        }
        let mut pairs: Vec<(I, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
        pairs.sort_unstable_by_key(|&(index, _)| index);
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(VectorError::Indices);
        }
        let in_range = |index: I| index.try_into().ok().filter(|&index| (index as usize) < dimension);
        let indices: Option<Vec<u32>> = pairs.iter().map(|&(index, _)| in_range(index)).collect();
        let mut indices = indices.ok_or(VectorError::Dimension { dimension })?;
        indices.shrink_to_fit();
        let values: Vec<f32> = pairs.iter().map(|&(_, value)| value).collect();
        if values.iter().all(|x| x.is_finite()) {
            Ok(Self { indices, values })
        } else {
            Err(VectorError::NotFinite)
        }
    }

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
///
/// ```
/// use vektonn_core::{StoredVector, Vector};
///
/// let stored = StoredVector::Dense(Vector::dense([0.1, -1.0]).to_dense(2)?);
/// assert!(matches!(stored, StoredVector::Dense(vector) if vector.as_slice() == [0.1, -1.0]));
/// # Ok::<(), vektonn_core::VectorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum StoredVector {
    /// Dense coordinates.
    Dense(DenseVector),
    /// Sparse coordinates, ordered by index.
    Sparse(SparseVector),
}

impl From<DenseVector> for StoredVector {
    fn from(vector: DenseVector) -> Self {
        Self::Dense(vector)
    }
}

impl From<SparseVector> for StoredVector {
    fn from(vector: SparseVector) -> Self {
        Self::Sparse(vector)
    }
}

/// A dense vector, if all coordinates are finite.
impl TryFrom<Vec<f32>> for StoredVector {
    type Error = VectorError;

    fn try_from(coordinates: Vec<f32>) -> Result<Self, VectorError> {
        DenseVector::new(coordinates).map(Self::Dense)
    }
}

/// A dense vector, if all coordinates are finite.
impl TryFrom<&[f32]> for StoredVector {
    type Error = VectorError;

    fn try_from(coordinates: &[f32]) -> Result<Self, VectorError> {
        coordinates.to_vec().try_into()
    }
}

/// A dense vector, if all coordinates are finite.
impl<const D: usize> TryFrom<[f32; D]> for StoredVector {
    type Error = VectorError;

    fn try_from(coordinates: [f32; D]) -> Result<Self, VectorError> {
        coordinates.to_vec().try_into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn dense_is_narrowed_and_checked() {
        let dense = |coordinates: &[f64]| Vector::dense(coordinates).to_dense(2);
        assert_eq!(dense(&[0.1, -2.0]).unwrap().as_slice(), [0.1_f32, -2.0]);
        assert_eq!(dense(&[1.0]), Err(VectorError::Dimension { dimension: 2 }));
        assert_eq!(dense(&[1.0, f64::NAN]), Err(VectorError::NotFinite));
        assert_eq!(dense(&[1.0, 1e39]), Err(VectorError::NotFinite), "infinite as f32");
        assert_eq!(Vector::sparse([1.0], [0]).to_dense(2), Err(VectorError::MustBeDense));
    }

    #[test]
    fn sparse_is_sorted_and_checked() {
        let sparse =
            |coordinates: &[f64], indices: &[i32]| Vector::sparse(coordinates, indices).to_sparse(10);
        let vector = sparse(&[0.5, 0.0, -2.0], &[9, 4, 0]).unwrap();
        assert_eq!((vector.indices(), vector.values()), ([0, 4, 9].as_slice(), [-2.0, 0.0, 0.5].as_slice()));
        assert_eq!(sparse(&[], &[]), Err(VectorError::Empty));
        assert_eq!(sparse(&[1.0, 2.0], &[3]), Err(VectorError::Indices));
        assert_eq!(sparse(&[1.0, 2.0], &[3, 3]), Err(VectorError::Indices));
        assert_eq!(sparse(&[1.0, 2.0], &[-1, -1]), Err(VectorError::Indices));
        for outside in [10, -1, i32::MAX, i32::MIN] {
            assert_eq!(sparse(&[1.0], &[outside]), Err(VectorError::Dimension { dimension: 10 }));
        }
        assert_eq!(sparse(&[1e39], &[0]), Err(VectorError::NotFinite));
        assert_eq!(Vector::dense([1.0]).to_sparse(10), Err(VectorError::MustBeSparse));
    }

    #[test]
    fn sparse_from_any_index_type() {
        let expected = SparseVector::new(&[2_u32, 7], &[1.0, 3.0], 8).unwrap();
        assert_eq!(SparseVector::new(&[7_usize, 2], &[3.0, 1.0], 8), Ok(expected));
        assert!(SparseVector::new::<u32>(&[], &[], 8).unwrap().indices().is_empty());
        let too_wide = SparseVector::new(&[1_u64 << 32], &[1.0], usize::MAX);
        assert_eq!(too_wide, Err(VectorError::Dimension { dimension: usize::MAX }));
    }
}
