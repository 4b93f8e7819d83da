//! The one enum of all indexes. Loops inside an index are generic; the choice between them is made here, once per
//! search.

use std::path::Path;
use std::sync::Arc;

use vektonn_core::{HnswParams, Metric, StoredVector, VectorError, VectorKind};

use crate::collector::Collector;
use crate::distance::{DenseKernels, InstructionSet, InstructionSetError};
use crate::flat::FlatIndex;
use crate::hnsw::HnswIndex;
use crate::inverted::InvertedIndex;
use crate::options::{SearchError, SearchOptions};
use crate::part::Part;
use crate::query::Query;
use crate::store::slots::{IndexFull, Reader};
use crate::store::timeline::{Batch, Pin, Timeline};

/// What an index compares, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// Dense or sparse vectors.
    pub kind: VectorKind,
    /// The measure of nearness.
    pub metric: Metric,
    /// Coordinates of a dense vector; exclusive upper bound of a sparse vector's indices.
    pub dimension: usize,
    /// Dense vectors are searched approximately, through a graph with these parameters. Nothing: exactly.
    pub hnsw: Option<HnswParams>,
    /// Sparse vectors are searched approximately, with a share of 0.7, unless a search asks for another
    /// [`approximation`](SearchOptions::approximation).
    pub approximate: bool,
}

/// No index can be made from this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Dense vectors have no Jaccard index here.
    #[error("metric JaccardBinary is for sparse vectors only")]
    JaccardOfDense,
    /// There is nothing to compare.
    #[error("the dimension must be at least 1")]
    ZeroDimension,
    /// There are no graphs of sparse vectors.
    #[error("a graph is for dense vectors only")]
    GraphOfSparse,
    /// Dense vectors are searched approximately through a graph, or exactly.
    #[error("posting lists are for sparse vectors only: an approximate index of dense ones needs a graph")]
    ListsOfDense,
    /// There is no graph of such parameters.
    #[error("a graph needs M from 2 to {LINKS_MAX} and ef of at least 1, got {0:?}")]
    GraphParams(HnswParams),
    /// The environment asks for an instruction set that cannot be used.
    #[error(transparent)]
    InstructionSet(#[from] InstructionSetError),
}

/// The largest `M`, as in configuration files.
const LINKS_MAX: u32 = 1024;

fn is_possible(params: HnswParams) -> bool {
    (2..=LINKS_MAX).contains(&params.m) && params.ef_construction > 0 && params.ef_search > 0
}

impl IndexSpec {
    /// Checks that there is an index for this, and chooses the kernels for it.
    pub(crate) fn kernels(self) -> Result<DenseKernels, SpecError> {
        match self {
            Self { dimension: 0, .. } => Err(SpecError::ZeroDimension),
            Self { kind: VectorKind::Dense, metric: Metric::JaccardBinary, .. } => {
                Err(SpecError::JaccardOfDense)
            }
            Self { kind: VectorKind::Sparse, hnsw: Some(_), .. } => Err(SpecError::GraphOfSparse),
            Self { kind: VectorKind::Dense, approximate: true, .. } => Err(SpecError::ListsOfDense),
            Self { hnsw: Some(params), .. } if !is_possible(params) => Err(SpecError::GraphParams(params)),
            _ => Ok(DenseKernels::new(InstructionSet::detect()?)),
        }
    }

    /// How many queries of so many one thread should search together, so that every thread of the current rayon pool has
    /// some: an exact search of dense vectors reads points for many queries at once, others only ask for fewer tasks.
    pub(crate) fn queries_together(self, queries: usize) -> usize {
        let together_max = match self {
            Self { kind: VectorKind::Dense, hnsw: None, .. } => 128,
            _ => 16,
        };
        queries.div_ceil(rayon::current_num_threads()).next_multiple_of(4).clamp(1, together_max)
    }

    /// Checks that a vector can be stored in such an index.
    pub(crate) fn check_stored(self, vector: &StoredVector) -> Result<(), VectorError> {
        self.check_query(Query::from(vector))
    }

    /// Checks that a query can be compared with the vectors of such an index.
    pub(crate) fn check_query(self, query: Query<'_>) -> Result<(), VectorError> {
        let dimension = self.dimension;
        match (self.kind, query) {
            (VectorKind::Dense, Query::Dense(coordinates)) => {
                if coordinates.len() != dimension {
                    return Err(VectorError::Dimension { dimension });
                }
                if coordinates.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(VectorError::NotFinite) }
            }
            (VectorKind::Sparse, Query::Sparse(vector)) => match vector.indices().last() {
                Some(&last) if last as usize >= dimension => Err(VectorError::Dimension { dimension }),
                _ => Ok(()),
            },
            (VectorKind::Dense, Query::Sparse(_)) => Err(VectorError::MustBeDense),
            (VectorKind::Sparse, Query::Dense(_)) => Err(VectorError::MustBeSparse),
        }
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
        match spec.kind {
            VectorKind::Dense => match spec.hnsw {
                None => Self::Flat(FlatIndex::new(spec.metric, spec.dimension, kernels, timeline)),
                Some(params) => Self::Hnsw(HnswIndex::new(
                    spec.metric,
                    spec.dimension,
                    params,
                    kernels,
                    timeline,
                    directory,
                )),
            },
            VectorKind::Sparse => {
                let instruction_set = kernels.instruction_set();
                Self::Inverted(InvertedIndex::new(spec.metric, spec.approximate, instruction_set, timeline))
            }
        }
    }

    /// Adds a checked vector with its entry; visible once the batch is published.
    ///
    /// # Panics
    /// If the vector was not checked against the index's [`IndexSpec`].
    pub(crate) fn insert(&self, batch: &Batch<'_>, entry: T, vector: StoredVector) -> Result<u32, IndexFull> {
        match (self, vector) {
            (Self::Flat(index), StoredVector::Dense(vector)) => index.insert(batch, entry, vector.as_slice()),
            (Self::Hnsw(index), StoredVector::Dense(vector)) => index.insert(batch, entry, vector.as_slice()),
            (Self::Inverted(index), StoredVector::Sparse(vector)) => index.insert(batch, entry, &vector),
            _ => unreachable!("the vector was checked against the index"),
        }
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
            Self::Hnsw(index) => IndexReader::Hnsw(index, index.rows().slots().reader(pin)),
            Self::Inverted(index) => IndexReader::Inverted(index, index.slots().reader(pin)),
        }
    }

    /// What the batch sees so far.
    pub(crate) fn writer_view<'p>(&'p self, batch: &'p Batch<'_>) -> IndexReader<'p, T> {
        match self {
            Self::Flat(index) => IndexReader::Flat(index, index.slots().writer_view(batch)),
            Self::Hnsw(index) => IndexReader::Hnsw(index, index.rows().slots().writer_view(batch)),
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
            Self::Hnsw(index) => index.rows().slots().mapped_bytes(),
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
    /// Offers the nearest live slots to the collector. Distances are smaller for nearer points.
    pub(crate) fn search_into(
        &self,
        query: Query<'_>,
        options: &SearchOptions,
        collector: &mut Collector<impl FnMut(f32, u32) -> f32>,
    ) -> Result<(), SearchError> {
        match (self, query) {
            (Self::Flat(index, reader), Query::Dense(query)) => {
                index.search_into(*reader, query, options, collector)
            }
            (Self::Hnsw(index, reader), Query::Dense(query)) => {
                index.search_into(*reader, query, options, collector)
            }
            (Self::Inverted(index, reader), Query::Sparse(query)) => {
                index.search_into(*reader, query, options, collector)
            }
            (Self::Flat(..) | Self::Hnsw(..), Query::Sparse(_)) => Err(VectorError::MustBeDense.into()),
            (Self::Inverted(..), Query::Dense(_)) => Err(VectorError::MustBeSparse.into()),
        }
    }

    /// How many threads may search parts of the index at the same time, with a gain.
    pub(crate) fn parts_max(&self) -> usize {
        match self {
            Self::Flat(index, reader) => index.parts_max(*reader),
            Self::Hnsw(..) | Self::Inverted(..) => 1,
        }
    }

    /// The same for several queries, each with its collector, in a part of the index; there may be as many as
    /// [`parts_max`](Self::parts_max) says.
    pub(crate) fn search_many_into<'q>(
        &self,
        queries: &[Query<'q>],
        options: &SearchOptions,
        part: Part,
        collectors: &mut [Collector<impl FnMut(f32, u32) -> f32>],
    ) -> Result<(), SearchError> {
        if let Self::Flat(index, reader) = self {
            let dense = |query: &Query<'q>| match query {
                Query::Dense(query) => Ok(*query),
                Query::Sparse(_) => Err(VectorError::MustBeDense),
            };
            let queries: Vec<&[f32]> = queries.iter().map(dense).collect::<Result<_, _>>()?;
            return index.search_many_into(*reader, &queries, options, part, collectors);
        }
        debug_assert_eq!(part.of, 1, "there are no parts of other indexes");
        let mut queries = queries.iter().zip(collectors);
        queries.try_for_each(|(&query, collector)| self.search_into(query, options, collector))
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
        (0..end).filter(move |&slot| match self {
            Self::Flat(_, reader) | Self::Hnsw(_, reader) => reader.sees(slot),
            Self::Inverted(_, reader) => reader.sees(slot),
        })
    }
}
