//! Kinds of indexes, what they compare, and how.

use std::fmt;
use std::ops::RangeInclusive;

pub(crate) const HNSW_M: &str = "Hnsw_M";
pub(crate) const HNSW_EF_CONSTRUCTION: &str = "Hnsw_EfConstruction";
pub(crate) const HNSW_EF_SEARCH: &str = "Hnsw_EfSearch";

/// With `M` = 1 a point would have two links, as in a chain; thousands of links are a mistake.
pub(crate) const M: (RangeInclusive<u32>, &str) = (2..=1_024, "a whole number from 2 to 1024");
pub(crate) const EF: (RangeInclusive<u32>, &str) = (1..=1_000_000, "a whole number from 1 to 1000000");

/// How near two vectors are.
///
/// ```
/// use vektonn_core::{Algorithm, Metric};
///
/// assert_eq!(Algorithm::parse("Dense.Cosine", &[])?.metric(), Metric::Cosine);
/// # Ok::<(), vektonn_core::AlgorithmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Squared Euclidean distance, ascending.
    L2,
    /// Inner product, descending, as users of a server see it. Inside, and in what an `IndexStore` finds, it is negated: smaller
    /// is nearer.
    InnerProduct,
    /// 1 - cosine of the angle, ascending. The zero vector has distance 1 to everything.
    Cosine,
    /// 1 - |A ∩ B| / |A ∪ B| over the sets of non-zero dimensions, ascending. Sparse vectors only.
    JaccardBinary,
}

/// Whether an index or a data source holds dense or sparse vectors.
///
/// ```
/// assert_eq!(vektonn_core::VectorKind::Sparse.to_string(), "sparse");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorKind {
    /// Every dimension has a coordinate.
    Dense,
    /// Only non-zero dimensions have coordinates.
    Sparse,
}

impl fmt::Display for VectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        })
    }
}

/// How an index is searched.
///
/// ```
/// use vektonn_core::{Algorithm, IndexKind, VectorKind};
///
/// let kind = Algorithm::parse("Sparse.Cosine", &[("Approximate".to_owned(), "true".to_owned())])?.kind();
/// assert_eq!(kind, IndexKind::Inverted { approximate: true });
/// assert_eq!((kind.vector_kind(), kind.is_approximate()), (VectorKind::Sparse, true));
/// # Ok::<(), vektonn_core::AlgorithmError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Dense vectors, exactly.
    Flat,
    /// Dense vectors through a graph, approximately.
    Hnsw(HnswParams),
    /// Sparse vectors through posting lists.
    Inverted {
        /// Whether a search that asks for nothing else may miss some of the nearest neighbours to be faster.
        approximate: bool,
    },
}

impl IndexKind {
    /// What vectors such an index holds.
    pub fn vector_kind(self) -> VectorKind {
        match self {
            Self::Flat | Self::Hnsw(_) => VectorKind::Dense,
            Self::Inverted { .. } => VectorKind::Sparse,
        }
    }

    /// Whether a search that asks for nothing else may miss some of the nearest neighbours to be faster.
    pub fn is_approximate(self) -> bool {
        match self {
            Self::Flat => false,
            Self::Hnsw(_) => true,
            Self::Inverted { approximate } => approximate,
        }
    }
}

/// Parameters of the HNSW graph (Malkov and Yashunin, arXiv 1603.09320). Vectors of more than 65,536 dimensions get no graph,
/// whatever these are: searches compare all of them.
///
/// ```
/// use vektonn_core::{HnswParams, MemoryMode};
///
/// let memory = MemoryMode::Balanced;
/// assert_eq!(HnswParams::default(), HnswParams { m: 16, ef_construction: 200, ef_search: 100, memory });
/// let refused = HnswParams { m: 1, ..HnswParams::default() }.check().unwrap_err();
/// assert_eq!(refused.to_string(), "Hnsw_M must be a whole number from 2 to 1024, got 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HnswParams {
    /// Half the number of links that a point has at most (`M`), from 2 to 1024: the graph is one layer, the paper's lowest,
    /// where that is `2 M`.
    pub m: u32,
    /// Candidates kept while building (`efConstruction`), from 1 to 1,000,000.
    pub ef_construction: u32,
    /// Candidates kept while searching (`ef`), from 1 to 1,000,000. More than 8,192 are kept only for as many neighbours.
    pub ef_search: u32,
    /// Where the vectors are.
    pub memory: MemoryMode,
}

/// Where a graph index keeps what.
///
/// ```
/// assert_eq!(vektonn_core::MemoryMode::default(), vektonn_core::MemoryMode::Balanced);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryMode {
    /// Vectors, codes and graph in memory.
    #[default]
    Balanced,
    /// Codes and graph in memory, vectors in a file that is mapped into it: the system keeps there what is in use, as far
    /// as memory is free. Searches read a few vectors each.
    Compact,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef_search: 100, memory: MemoryMode::Balanced }
    }
}

/// A parameter of a graph is out of its range.
///
/// ```
/// use vektonn_core::HnswParams;
///
/// let refused = HnswParams { ef_search: 0, ..HnswParams::default() }.check().unwrap_err();
/// assert_eq!((refused.parameter, refused.value), ("Hnsw_EfSearch", 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} must be {expected}, got {value}")]
pub struct HnswParamsError {
    /// The parameter, as in configuration files.
    pub parameter: &'static str,
    /// What values it takes.
    pub expected: &'static str,
    /// The value it has.
    pub value: u32,
}

impl HnswParams {
    /// Checks that there is a graph of such parameters.
    ///
    /// # Errors
    /// [`HnswParamsError`], of the first parameter that is out of its range.
    pub fn check(self) -> Result<(), HnswParamsError> {
        let Self { m, ef_construction, ef_search, memory: _ } = self;
        let all =
            [(HNSW_M, M, m), (HNSW_EF_CONSTRUCTION, EF, ef_construction), (HNSW_EF_SEARCH, EF, ef_search)];
        match all.into_iter().find(|(_, (range, _), value)| !range.contains(value)) {
            Some((parameter, (_, expected), value)) => Err(HnswParamsError { parameter, expected, value }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounds_are_those_of_configuration_files() {
        let params = |m, ef_construction, ef_search| HnswParams {
            m,
            ef_construction,
            ef_search,
            memory: MemoryMode::Balanced,
        };
        for params in [params(2, 1, 1), params(1024, 1_000_000, 1_000_000)] {
            assert_eq!(params.check(), Ok(()));
        }
        for (params, parameter) in [
            (params(1, 1, 1), HNSW_M),
            (params(1025, 1, 1), HNSW_M),
            (params(2, 0, 1), HNSW_EF_CONSTRUCTION),
            (params(2, 1, 1_000_001), HNSW_EF_SEARCH),
        ] {
            assert_eq!(params.check().unwrap_err().parameter, parameter);
        }
    }
}
