//! Sparse vectors of the ecosystem's types.

use sprs::{CsVecViewI, SpIndex};
use vektonn_core::{SparseVector, VectorError};

/// The vector that an [`IndexStore`](crate::IndexStore) takes, from a sprs vector of the same dimension.
///
/// Explicit zeros are kept, but count for nothing in any metric.
///
/// # Errors
/// The first of: another dimension, an index that does not fit into u32, a value that is not finite.
pub fn sparse_from_sprs<I: SpIndex>(
    vector: CsVecViewI<'_, f32, I>,
    dimension: usize,
) -> Result<SparseVector, VectorError> {
    if vector.dim() != dimension {
        return Err(VectorError::Dimension { dimension });
    }
    let indices: Option<Vec<usize>> = vector.indices().iter().map(|index| index.try_index()).collect();
    SparseVector::new(&indices.ok_or(VectorError::Dimension { dimension })?, vector.data(), dimension)
}

/// A sprs view of a vector, such as one that a search found, with that dimension.
///
/// # Errors
/// An index that is not below the dimension, or a dimension above u32.
pub fn sparse_to_sprs(
    vector: &SparseVector,
    dimension: usize,
) -> Result<CsVecViewI<'_, f32, u32>, VectorError> {
    CsVecViewI::try_new(dimension, vector.indices(), vector.values())
        .map_err(|_| VectorError::Dimension { dimension })
}
