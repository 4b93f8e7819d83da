//! Index algorithms: their names and parameters in configuration files, and what each one means.

use std::fmt;

/// How near two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Squared Euclidean distance, ascending.
    L2,
    /// Inner product, descending.
    InnerProduct,
    /// 1 - cosine of the angle, ascending. The zero vector has distance 1 to everything.
    Cosine,
    /// 1 - |A ∩ B| / |A ∪ B| over the sets of non-zero dimensions, ascending. Sparse vectors only.
    JaccardBinary,
}

/// Whether an index or a data source holds dense or sparse vectors.
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

/// The algorithm of an index: a published or own name, and parameters.
///
/// Prints as `Type`, or as `Type(Key=Value, ...)` with its parameters in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithm {
    name: AlgorithmName,
    params: Vec<(String, String)>,
    hnsw: Option<HnswParams>,
}

/// Parameters of the HNSW graph (Malkov and Yashunin, arXiv 1603.09320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HnswParams {
    /// Links per point and layer (`M`).
    pub m: u32,
    /// Candidates kept while building (`efConstruction`).
    pub ef_construction: u32,
    /// Candidates kept while searching (`ef`).
    pub ef_search: u32,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef_search: 100 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AlgorithmName {
    name: &'static str,
    kind: VectorKind,
    metric: Metric,
}

const fn named(name: &'static str, kind: VectorKind, metric: Metric) -> AlgorithmName {
    AlgorithmName { name, kind, metric }
}

/// The names accepted in configuration files, case-sensitive: the published ones, then our own.
const NAMES: [AlgorithmName; 10] = [
    named("FaissIndex.L2", VectorKind::Dense, Metric::L2),
    named("FaissIndex.IP", VectorKind::Dense, Metric::InnerProduct),
    named("SparnnIndex.Cosine", VectorKind::Sparse, Metric::Cosine),
    named("SparnnIndex.JaccardBinary", VectorKind::Sparse, Metric::JaccardBinary),
    named("Dense.L2", VectorKind::Dense, Metric::L2),
    named("Dense.IP", VectorKind::Dense, Metric::InnerProduct),
    named("Dense.Cosine", VectorKind::Dense, Metric::Cosine),
    named("Sparse.IP", VectorKind::Sparse, Metric::InnerProduct),
    named("Sparse.Cosine", VectorKind::Sparse, Metric::Cosine),
    named("Sparse.JaccardBinary", VectorKind::Sparse, Metric::JaccardBinary),
];
