//! The one enum of all indexes. Loops inside an index are generic; the choice between them is made here, once per
//! search.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use vektonn_core::{
    HnswParams, HnswParamsError, IndexKind, MemoryMode, Metric, StoredVector, VectorError, VectorKind,
};

use crate::collector::Collector;
use crate::dense_rows::{DenseQuery, DenseRows};
use crate::distance::int8::QUERIES_AT_ONCE;
use crate::distance::{DenseKernels, InstructionSetError};
use crate::flat::FlatIndex;
use crate::hnsw::HnswIndex;
use crate::inverted::InvertedIndex;
use crate::options::{BatchSearchError, SearchError, SearchOptions};
use crate::part::Part;
use crate::query::{PreparedQueries, Query};
use crate::store::block::{BLOCK, ones};
use crate::store::slots::{IndexFull, Reader, Slots};
use crate::store::timeline::{Batch, Pin, Timeline};

/// What an index compares, and how. More will come, so it is made by a function for each kind.
///
/// ```
/// use vektonn_index::{HnswParams, IndexKind, IndexSpec, Metric, SpecError};
///
/// let spec = IndexSpec::flat(Metric::L2, 128);
/// assert_eq!((spec.kind, spec.check()), (IndexKind::Flat, Ok(())));
/// let graph = IndexSpec::hnsw(Metric::Cosine, 128, HnswParams::default());
/// assert!(graph.kind.is_approximate());
/// assert_eq!(IndexSpec::inverted(Metric::L2, 10_000).check(), Err(SpecError::L2OfSparse));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexSpec {
    /// The measure of nearness.
    pub metric: Metric,
    /// Coordinates of a dense vector; exclusive upper bound of a sparse vector's indices.
    pub dimension: usize,
    /// How it is searched, and so what vectors it holds.
    pub kind: IndexKind,
}

/// No index can be made from this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// There is nothing to compare.
    #[error("the dimension must be at least 1")]
    ZeroDimension,
    /// Dense vectors have no Jaccard index here.
    #[error("metric JaccardBinary is for sparse vectors only")]
    JaccardOfDense,
    /// Sparse vectors have no index for squared Euclidean distance here.
    #[error("metric L2 is for dense vectors only")]
    L2OfSparse,
    /// Where all coordinates count the same, none can be left out.
    #[error("metric JaccardBinary is always searched exactly")]
    ApproximateJaccard,
    /// There is no graph of such parameters.
    #[error(transparent)]
    GraphParams(#[from] HnswParamsError),
    /// The environment variable `VEKTONN_INSTRUCTION_SET` asks for an instruction set that cannot be used.
    #[error(transparent)]
    InstructionSet(#[from] InstructionSetError),
}

impl IndexSpec {
    /// Dense vectors, searched exactly. Beyond 65,536 dimensions there are no codes that make that faster.
    pub fn flat(metric: Metric, dimension: usize) -> Self {
        Self { metric, dimension, kind: IndexKind::Flat }
    }

    /// Dense vectors, searched approximately, through a graph, once there are some thousand. Beyond 65,536 dimensions there is
    /// none: all are compared.
    pub fn hnsw(metric: Metric, dimension: usize, params: HnswParams) -> Self {
        Self { metric, dimension, kind: IndexKind::Hnsw(params) }
    }

    /// Sparse vectors with indices below `dimension`, searched exactly.
    pub fn inverted(metric: Metric, dimension: usize) -> Self {
        Self { metric, dimension, kind: IndexKind::Inverted { approximate: false } }
    }

    /// The same, searched approximately: with a share of 0.7, unless a search asks for another
    /// [`approximation`](SearchOptions::approximation).
    pub fn inverted_approximate(metric: Metric, dimension: usize) -> Self {
        Self { metric, dimension, kind: IndexKind::Inverted { approximate: true } }
    }

    /// Checks that there is an index for this.
    ///
    /// # Errors
    /// [`SpecError`], all but [`SpecError::InstructionSet`].
    pub fn check(self) -> Result<(), SpecError> {
        if self.dimension == 0 {
            return Err(SpecError::ZeroDimension);
        }
        match (self.kind, self.metric) {
            (IndexKind::Flat | IndexKind::Hnsw(_), Metric::JaccardBinary) => Err(SpecError::JaccardOfDense),
            (IndexKind::Inverted { .. }, Metric::L2) => Err(SpecError::L2OfSparse),
            (IndexKind::Inverted { approximate: true }, Metric::JaccardBinary) => {
                Err(SpecError::ApproximateJaccard)
            }
            (IndexKind::Hnsw(params), _) => Ok(params.check()?),
            (IndexKind::Flat | IndexKind::Inverted { .. }, _) => Ok(()),
        }
    }

    /// How many queries of so many one thread should search together. An exact search of dense vectors scores several of them
    /// at once, and searches parts of a large index in parallel where they leave threads without any; others only ask for
    /// fewer tasks: some, so that no thread of the current rayon pool waits for another one's last.
    fn queries_together(self, queries: usize) -> usize {
        let of_each_thread = queries.div_ceil(rayon::current_num_threads());
        match self.kind {
            IndexKind::Flat => of_each_thread.next_multiple_of(QUERIES_AT_ONCE).clamp(1, 128),
            IndexKind::Hnsw(_) | IndexKind::Inverted { .. } => of_each_thread.clamp(1, 4),
        }
    }

    /// Queries in groups that are searched together, of which each thread takes one after the other. Left alone, rayon would give
    /// several to a thread at once, and another one would wait for all of them.
    pub(crate) fn groups<Q: Sync>(self, queries: &[Q]) -> impl IndexedParallelIterator<Item = &[Q]> {
        queries.par_chunks(self.queries_together(queries.len())).with_max_len(1)
    }

    /// Checks that a vector can be stored in such an index. Its type says that it is finite.
    pub(crate) fn check_stored(self, vector: &StoredVector) -> Result<(), VectorError> {
        self.check_shape(Query::from(vector))
    }

    /// Checks that queries can be compared with the vectors of such an index, and gets them ready.
    ///
    /// # Errors
    /// [`BatchSearchError`] with the first query that does not fit.
    pub(crate) fn prepare<'q>(self, queries: &[Query<'q>]) -> Result<PreparedQueries<'q>, BatchSearchError> {
        let (mut dense, mut sparse) = (Vec::new(), Vec::new());
        for (position, &query) in queries.iter().enumerate() {
            let refused = |error: VectorError| BatchSearchError { position, error: error.into() };
            self.check_shape(query).map_err(refused)?;
            match query {
                Query::Dense(coordinates) if !coordinates.iter().all(|x| x.is_finite()) => {
                    return Err(refused(VectorError::NotFinite));
                }
                Query::Dense(coordinates) => dense.push(DenseQuery::new(self.metric, coordinates)),
                Query::Sparse(vector) => sparse.push(vector),
            }
        }
        Ok(match self.kind.vector_kind() {
            VectorKind::Dense => PreparedQueries::Dense(dense),
            VectorKind::Sparse => PreparedQueries::Sparse(sparse),
        })
    }

    fn check_shape(self, vector: Query<'_>) -> Result<(), VectorError> {
        let dimension = self.dimension;
        let fits = match (self.kind.vector_kind(), vector) {
            (VectorKind::Dense, Query::Dense(coordinates)) => coordinates.len() == dimension,
            (VectorKind::Sparse, Query::Sparse(vector)) => {
                vector.indices().last().is_none_or(|&last| (last as usize) < dimension)
            }
            (VectorKind::Dense, Query::Sparse(_)) => return Err(VectorError::MustBeDense),
            (VectorKind::Sparse, Query::Dense(_)) => return Err(VectorError::MustBeSparse),
        };
        if fits { Ok(()) } else { Err(VectorError::Dimension { dimension }) }
    }
}

/// Rows by slot, searchable. `T` is what the owner keeps with each row.
#[expect(clippy::large_enum_variant, reason = "there is one for each store, not one for each point")]
pub(crate) enum VectorIndex<T> {
    Flat(FlatIndex<T>),
    Hnsw(HnswIndex<T>),
    Inverted(InvertedIndex<T>),
}

impl<T> VectorIndex<T> {
    /// Vectors may be in files of the directory.
    pub(crate) fn new(
        spec: IndexSpec,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
        directory: &Arc<Path>,
    ) -> Self {
        let IndexSpec { metric, dimension, kind } = spec;
        let rows = |timeline, directory: Option<&Arc<Path>>| {
            let slots = Slots::with_rows_in(timeline, dimension, directory.cloned());
            DenseRows::new(metric, dimension, kernels, slots)
        };
        match kind {
            IndexKind::Flat => Self::Flat(FlatIndex::new(rows(timeline, None))),
            IndexKind::Hnsw(params) => {
                let directory = (params.memory == MemoryMode::Compact).then_some(directory);
                Self::Hnsw(HnswIndex::new(rows(timeline, directory), params))
            }
            IndexKind::Inverted { approximate } => {
                Self::Inverted(InvertedIndex::new(metric, approximate, kernels.instruction_set(), timeline))
            }
        }
    }

    /// Makes room for so many new points in this batch.
    ///
    /// # Errors
    /// [`IndexFull`]; no point has changed then.
    pub(crate) fn reserve(&self, batch: &Batch<'_>, points: usize) -> Result<(), IndexFull> {
        match self {
            Self::Flat(index) => index.slots().reserve(batch, points),
            Self::Hnsw(index) => index.slots().reserve(batch, points),
            Self::Inverted(index) => index.slots().reserve(batch, points),
        }
    }

    /// Adds a checked vector with its entry; visible once the batch is published.
    ///
    /// # Panics
    /// If the vector was not checked against the index's [`IndexSpec`], or the batch made no room for it.
    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, vector: StoredVector) -> u32 {
        let slot = match (self, vector) {
            (Self::Flat(index), StoredVector::Dense(vector)) => index.insert(batch, entry, vector.as_slice()),
            (Self::Hnsw(index), StoredVector::Dense(vector)) => index.insert(batch, entry, vector.as_slice()),
            (Self::Inverted(index), StoredVector::Sparse(vector)) => index.insert(batch, entry, &vector),
            _ => unreachable!("the vector was checked against the index"),
        };
        slot.expect("the batch made room for all of its points")
    }

    /// Removes a live slot with this batch.
    pub(crate) fn remove(&self, batch: &Batch<'_>, slot: u32) {
        match self {
            Self::Flat(index) => index.slots().remove(batch, slot),
            Self::Hnsw(index) => index.remove(batch, slot),
            Self::Inverted(index) => index.remove(batch, slot),
        }
    }

    /// To be called after the last change of a batch, before it is published.
    pub(crate) fn finish(&self, batch: &Batch<'_>) {
        match self {
            Self::Flat(index) => index.finish(batch),
            Self::Hnsw(index) => index.finish(batch),
            Self::Inverted(_) => {}
        }
    }

    /// What a pin of the index's timeline sees.
    pub(crate) fn reader<'p>(&'p self, pin: &'p Pin<'p>) -> IndexReader<'p, T> {
        match self {
            Self::Flat(index) => IndexReader::Flat(index, index.slots().reader(pin)),
            Self::Hnsw(index) => IndexReader::Hnsw(index, index.slots().reader(pin)),
            Self::Inverted(index) => IndexReader::Inverted(index, index.slots().reader(pin)),
        }
    }

    /// What the batch sees so far.
    pub(crate) fn writer_view<'p>(&'p self, batch: &'p Batch<'_>) -> IndexReader<'p, T> {
        match self {
            Self::Flat(index) => IndexReader::Flat(index, index.slots().writer_view(batch)),
            Self::Hnsw(index) => IndexReader::Hnsw(index, index.slots().writer_view(batch)),
            Self::Inverted(index) => IndexReader::Inverted(index, index.slots().writer_view(batch)),
        }
    }

    /// Checks what must hold of a graph.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self, batch: &Batch<'_>) -> Result<(), String> {
        match self {
            Self::Hnsw(index) => index.check(batch),
            Self::Flat(_) | Self::Inverted(_) => Ok(()),
        }
    }

    /// Bytes of files in use by rows.
    pub(crate) fn mapped_bytes(&self) -> usize {
        match self {
            Self::Hnsw(index) => index.slots().mapped_bytes(),
            Self::Flat(_) | Self::Inverted(_) => 0,
        }
    }

    /// Bytes of memory in use by rows and structure; heap data of the entries not included.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Flat(index) => index.bytes(),
            Self::Hnsw(index) => index.bytes(),
            Self::Inverted(index) => index.bytes(),
        }
    }
}

/// An index at one point in time.
pub(crate) enum IndexReader<'p, T> {
    Flat(&'p FlatIndex<T>, Reader<'p, T, f32>),
    Hnsw(&'p HnswIndex<T>, Reader<'p, T, f32>),
    Inverted(&'p InvertedIndex<T>, Reader<'p, T, crate::inverted::SparseRow>),
}

impl<T> Clone for IndexReader<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for IndexReader<'_, T> {}

impl<'p, T> IndexReader<'p, T> {
    /// How many threads may search parts of the index at the same time, with a gain.
    pub(crate) fn parts_max(&self) -> usize {
        match self {
            Self::Flat(index, reader) => index.parts_max(*reader),
            Self::Hnsw(..) | Self::Inverted(..) => 1,
        }
    }

    /// Offers to each query's collector the nearest live slots of a part of the index; there may be as many parts as
    /// [`parts_max`](Self::parts_max) says. Distances are smaller for nearer points.
    pub(crate) fn search_into(
        &self,
        queries: &PreparedQueries<'_>,
        options: &SearchOptions,
        part: Part,
        collectors: &mut [Collector<impl FnMut(f32, u32) -> f32>],
    ) -> Result<(), SearchError> {
        debug_assert!(part.number < self.parts_max().max(1), "there are as many parts");
        match (self, queries) {
            (Self::Flat(index, reader), PreparedQueries::Dense(queries)) => {
                index.search_into(*reader, queries, options, part, collectors)
            }
            (Self::Hnsw(index, reader), PreparedQueries::Dense(queries)) => {
                let mut queries = queries.iter().zip(collectors);
                queries.try_for_each(|(query, near)| index.search_into(*reader, query, options, near))
            }
            (Self::Inverted(index, reader), PreparedQueries::Sparse(queries)) => {
                let mut queries = queries.iter().zip(collectors);
                queries.try_for_each(|(query, near)| index.search_into(*reader, query, options, near))
            }
            _ => unreachable!("the queries were prepared for this index"),
        }
    }

    /// The entry of a live slot.
    pub(crate) fn entry(&self, slot: u32) -> Option<&'p T> {
        match self {
            Self::Flat(_, reader) | Self::Hnsw(_, reader) => reader.entry(slot),
            Self::Inverted(_, reader) => reader.entry(slot),
        }
    }

    /// The vector of a live slot, as it was inserted.
    pub(crate) fn vector(&self, slot: u32) -> Option<StoredVector> {
        match self {
            Self::Flat(_, reader) | Self::Hnsw(_, reader) => StoredVector::try_from(reader.row(slot)?).ok(),
            Self::Inverted(_, reader) => Some(StoredVector::Sparse(reader.row(slot)?[0].to_vector())),
        }
    }

    /// All live slots, ascending.
    pub(crate) fn slots(self) -> impl Iterator<Item = u32> {
        let end = match self {
            Self::Flat(_, reader) | Self::Hnsw(_, reader) => reader.end(),
            Self::Inverted(_, reader) => reader.end(),
        };
        let live = move |first| match self {
            Self::Flat(_, reader) | Self::Hnsw(_, reader) => reader.live(first),
            Self::Inverted(_, reader) => reader.live(first),
        };
        let blocks = (0..end).step_by(BLOCK);
        blocks.flat_map(move |first| ones(live(first)).flatten().map(move |slot| first + slot))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rayon::ThreadPoolBuilder;

    use super::*;

    #[test]
    fn every_thread_has_queries() {
        let pool = ThreadPoolBuilder::new().num_threads(8).build().unwrap();
        let together = |spec: IndexSpec| {
            pool.install(|| [0, 1, 8, 12, 50, 10_000].map(|queries| spec.queries_together(queries)))
        };
        assert_eq!(together(IndexSpec::flat(Metric::L2, 2)), [1, 4, 4, 4, 8, 128]);
        for spec in
            [IndexSpec::hnsw(Metric::L2, 2, HnswParams::default()), IndexSpec::inverted(Metric::Cosine, 2)]
        {
            assert_eq!(together(spec), [1, 1, 1, 2, 4, 4], "{spec:?}");
        }
    }

    #[test]
    fn what_there_is_no_index_for_is_refused() {
        let params = HnswParams { ef_search: 0, ..HnswParams::default() };
        let no_graph = params.check().unwrap_err();
        for (spec, error) in [
            (IndexSpec::flat(Metric::L2, 0), SpecError::ZeroDimension),
            (IndexSpec::flat(Metric::JaccardBinary, 2), SpecError::JaccardOfDense),
            (IndexSpec::hnsw(Metric::JaccardBinary, 2, HnswParams::default()), SpecError::JaccardOfDense),
            (IndexSpec::hnsw(Metric::L2, 2, params), SpecError::GraphParams(no_graph)),
            (IndexSpec::inverted(Metric::L2, 2), SpecError::L2OfSparse),
            (IndexSpec::inverted_approximate(Metric::L2, 2), SpecError::L2OfSparse),
            (IndexSpec::inverted_approximate(Metric::JaccardBinary, 2), SpecError::ApproximateJaccard),
        ] {
            assert_eq!(spec.check(), Err(error), "{spec:?}");
        }
        let max = HnswParams { m: 1024, ..HnswParams::default() };
        for spec in [
            IndexSpec::flat(Metric::Cosine, 1),
            IndexSpec::hnsw(Metric::InnerProduct, 2, max),
            IndexSpec::inverted(Metric::JaccardBinary, 2),
            IndexSpec::inverted_approximate(Metric::Cosine, 2),
        ] {
            assert_eq!(spec.check(), Ok(()), "{spec:?}");
        }
    }
}
