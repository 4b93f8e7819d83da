//! Your ids and payloads on top of an index.

use std::fmt;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use faer::MatRef;
use parking_lot::RwLock;
use sprs::{CsMatViewI, SpIndex};
use vektonn_core::{HnswParams, Metric, StoredVector, VectorError};

use crate::distance::{DenseKernels, InstructionSet};
use crate::index::{IndexSpec, SpecError, VectorIndex};
use crate::neighbor::Neighbor;
use crate::options::{BatchSearchError, SearchError, SearchOptions};
use crate::query::Query;
use crate::store::id_map::IdMap;
use crate::store::slots::IndexFull;
use crate::store::timeline::{Batch, Pin, Timeline};
use crate::view::{At, Hit, Point, View, id_of};

/// Vectors with ids and payloads, searchable while they change.
///
/// Any number of threads may search and apply changes at the same time: searches never wait, batches of changes
/// are applied one after another. Equal distances are ordered by id.
///
/// ```
/// use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};
///
/// let store = IndexStore::dense(Metric::InnerProduct, 3)?;
/// store.apply([StoreChange::upsert(7, [1.0, 0.5, 0.0].try_into()?, "seven")])?;
/// let view = store.view();
/// let hits = view.search(&[1.0, 1.0, 1.0], &SearchOptions::new(1))?;
/// assert_eq!((hits[0].distance, hits[0].payload), (-1.5, &"seven"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IndexStore<Id, Payload = ()> {
    spec: IndexSpec,
    index: VectorIndex<Entry<Id, Payload>>,
    timeline: Arc<Timeline>,
    ids: RwLock<IdMap>,
    len: AtomicUsize,
}

impl<Id, Payload> fmt::Debug for IndexStore<Id, Payload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spec, len, .. } = self;
        f.debug_struct("IndexStore").field("spec", spec).field("len", len).finish_non_exhaustive()
    }
}

/// What is kept with each row.
pub(crate) struct Entry<Id, Payload> {
    pub(crate) id: Id,
    pub(crate) payload: Payload,
}

/// A change of an [`IndexStore`].
#[derive(Clone, Debug)]
pub enum StoreChange<Id, Payload = ()> {
    /// Adds a point, or replaces the one of the same id.
    Upsert {
        /// The point's id.
        id: Id,
        /// Its vector.
        vector: StoredVector,
        /// Whatever belongs to it.
        payload: Payload,
    },
    /// Removes a point. It is no error if there is none.
    Delete {
        /// The point's id.
        id: Id,
    },
}

impl<Id, Payload> StoreChange<Id, Payload> {
    /// Adds a point, or replaces the one of the same id.
    pub fn upsert(id: Id, vector: StoredVector, payload: Payload) -> Self {
        Self::Upsert { id, vector, payload }
    }

    /// Removes a point.
    pub fn delete(id: Id) -> Self {
        Self::Delete { id }
    }

    pub(crate) fn is_upsert(&self) -> bool {
        matches!(self, Self::Upsert { .. })
    }
}

/// Why a batch of changes was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A vector does not fit the index.
    // Not named `source`: the message is whole, and a chain would repeat the end of it.
    #[error("change {position}: {error}")]
    Vector {
        /// Which change of the batch, from 0.
        position: usize,
        /// What is wrong with its vector.
        error: VectorError,
    },
    /// There is no room for all points of the batch, beside those that it replaces or deletes.
    #[error(transparent)]
    Full(#[from] IndexFull),
}

impl<Id: Ord + Hash, Payload> IndexStore<Id, Payload> {
    /// An empty store of dense vectors.
    ///
    /// # Errors
    /// [`SpecError`] if the metric is for sparse vectors only, the dimension is 0, or the environment asks for an
    /// [`InstructionSet`] that cannot be used.
    pub fn dense(metric: Metric, dimension: usize) -> Result<Self, SpecError> {
        Self::new(IndexSpec::flat(metric, dimension))
    }

    /// An empty store of dense vectors that is searched approximately, through a graph, once it holds some thousand. Vectors
    /// of more than 65,536 dimensions get no graph: all are compared.
    ///
    /// ```
    /// use vektonn_index::{HnswParams, IndexStore, Metric, SearchOptions, StoreChange};
    ///
    /// let store = IndexStore::hnsw(Metric::Cosine, 2, HnswParams::default())?;
    /// store.apply([StoreChange::upsert("north", [0.0, 2.0].try_into()?, ())])?;
    /// let nearest = store.search(&[1.0, 3.0], &SearchOptions::new(1).ef_search(50))?;
    /// assert_eq!(nearest[0].id, "north");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpecError`] if the metric is for sparse vectors only, the dimension is 0, the parameters are out of range, or the
    /// environment asks for an [`InstructionSet`] that cannot be used.
    pub fn hnsw(metric: Metric, dimension: usize, params: HnswParams) -> Result<Self, SpecError> {
        Self::new(IndexSpec::hnsw(metric, dimension, params))
    }

    /// An empty store of sparse vectors with indices below `dimension`.
    ///
    /// # Errors
    /// [`SpecError`] if the metric is for dense vectors only, the dimension is 0, or the environment asks for an
    /// [`InstructionSet`] that cannot be used.
    pub fn sparse(metric: Metric, dimension: usize) -> Result<Self, SpecError> {
        Self::new(IndexSpec::inverted(metric, dimension))
    }

    /// An empty store. If its vectors are to be in files ([`MemoryMode::Compact`](crate::MemoryMode)), those are in the
    /// system's directory for temporary ones.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn new(spec: IndexSpec) -> Result<Self, SpecError> {
        Self::new_in(spec, &std::env::temp_dir())
    }

    /// An empty store. If its vectors are to be in files ([`MemoryMode::Compact`](crate::MemoryMode)), those are in the
    /// directory, without names, as long as the store exists. They are twice as large as all vectors, at most. The first
    /// vectors, up to half a mebibyte of them, are in memory: small stores, of which there may be many, have no files.
    ///
    /// ```
    /// use vektonn_index::{HnswParams, IndexSpec, IndexStore, MemoryMode, Metric, StoreChange};
    ///
    /// let params = HnswParams { memory: MemoryMode::Compact, ..HnswParams::default() };
    /// let store = IndexStore::new_in(IndexSpec::hnsw(Metric::L2, 2000, params), &std::env::temp_dir())?;
    /// store.apply([StoreChange::upsert("origin", [0.0; 2000].try_into()?, ())])?;
    /// assert_eq!(store.mapped_bytes(), 2000 * size_of::<f32>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn new_in(spec: IndexSpec, directory: &Path) -> Result<Self, SpecError> {
        spec.check()?;
        let kernels = DenseKernels::new(InstructionSet::detect()?);
        Ok(Self::on_timeline(spec, kernels, Arc::new(Timeline::new()), &directory.into()))
    }

    /// An empty store that shares its batches with other stores.
    pub(crate) fn on_timeline(
        spec: IndexSpec,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
        directory: &Arc<Path>,
    ) -> Self {
        let index = VectorIndex::new(spec, kernels, Arc::clone(&timeline), directory);
        Self { spec, index, timeline, ids: RwLock::default(), len: AtomicUsize::new(0) }
    }

    /// What this store compares, and how.
    pub fn spec(&self) -> IndexSpec {
        self.spec
    }

    /// The number of points. It does not wait for a batch that is being applied.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory in use, heap data inside of ids and payloads not included. Waits for a batch that is being applied.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.ids.read().bytes()
    }

    /// Bytes in files that are mapped into memory. The system keeps in memory what is in use of them.
    pub fn mapped_bytes(&self) -> usize {
        self.index.mapped_bytes()
    }

    /// Checks what must hold of a graph.
    #[cfg(any(test, fuzzing))]
    #[doc(hidden)]
    pub fn check_graph(&self) -> Result<(), String> {
        self.index.check(&self.timeline.write())
    }

    /// Applies a batch of changes in order: of several changes of one id the last one wins. Searches see the
    /// batch whole or not at all.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed then.
    ///
    /// # Panics
    /// If an earlier batch has panicked, as by the hash or the comparison of an id. Searches go on, and do not see it.
    pub fn apply(
        &self,
        changes: impl IntoIterator<Item = StoreChange<Id, Payload>>,
    ) -> Result<(), ApplyError> {
        let changes: Vec<_> = changes.into_iter().collect();
        for (position, change) in changes.iter().enumerate() {
            if let StoreChange::Upsert { vector, .. } = change {
                self.spec.check_stored(vector).map_err(|error| ApplyError::Vector { position, error })?;
            }
        }
        let batch = self.timeline.write();
        self.reserve(&batch, &changes)?;
        let mut ids = self.ids.write();
        // Published, or given up, before the ids are unlocked, so that `get` never finds a slot that is not visible yet.
        let batch = batch;
        self.apply_in(&batch, &mut ids, changes);
        Ok(())
    }

    /// Makes room for the changes of a batch.
    pub(crate) fn reserve(
        &self,
        batch: &Batch<'_>,
        changes: &[StoreChange<Id, Payload>],
    ) -> Result<(), IndexFull> {
        self.index.reserve(batch, changes.iter().filter(|change| change.is_upsert()).count())
    }

    /// Applies changes that there was made room for, as a part of a batch on a shared timeline.
    pub(crate) fn apply_reserved(&self, batch: &Batch<'_>, changes: Vec<StoreChange<Id, Payload>>) {
        self.apply_in(batch, &mut self.ids.write(), changes);
    }

    fn apply_in(&self, batch: &Batch<'_>, ids: &mut IdMap, changes: Vec<StoreChange<Id, Payload>>) {
        changes.into_iter().for_each(|change| self.apply_one(batch, ids, change));
        self.index.finish(batch);
        self.len.store(ids.len(), Ordering::Release);
    }

    fn apply_one(&self, batch: &Batch<'_>, ids: &mut IdMap, change: StoreChange<Id, Payload>) {
        let replaced = match change {
            StoreChange::Upsert { id, vector, payload } => {
                let slot = self.index.insert(batch, Entry { id, payload }, vector);
                let reader = self.index.writer_view(batch);
                ids.insert(id_of(&reader, slot), slot, |slot| id_of(&reader, slot))
            }
            StoreChange::Delete { id } => {
                let reader = self.index.writer_view(batch);
                ids.remove(&id, |slot| id_of(&reader, slot))
            }
        };
        if let Some(slot) = replaced {
            self.index.remove(batch, slot);
        }
    }

    /// The store as it is now. What the view shows does not change while it exists; drop it soon, since it keeps
    /// the memory of replaced points from being used again.
    pub fn view(&self) -> View<'_, Id, Payload> {
        View::new(self, self.timeline.pin())
    }

    /// The nearest points, nearest first, without their payloads. For more, use [`view`](Self::view).
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search<'q>(
        &self,
        query: impl Into<Query<'q>>,
        options: &SearchOptions,
    ) -> Result<Vec<Neighbor<Id>>, SearchError>
    where
        Id: Clone,
    {
        Ok(ids_of(self.view().search(query, options)?))
    }

    /// Searches for every row of a matrix (queries x dimensions), on all threads of the current rayon pool: also for
    /// one row, if the store is large and exact. All rows see the same points. For payloads, use [`View::search_batch`].
    ///
    /// ```
    /// use vektonn_index::faer::mat;
    /// use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};
    ///
    /// let store = IndexStore::dense(Metric::L2, 2)?;
    /// store.apply([
    ///     StoreChange::upsert("origin", [0.0, 0.0].try_into()?, ()),
    ///     StoreChange::upsert("north", [0.0, 2.0].try_into()?, ()),
    /// ])?;
    /// let queries = mat![[0.0_f32, 0.5], [1.0, 2.0]];
    /// let found = store.search_batch(queries.as_ref(), &SearchOptions::new(1))?;
    /// assert_eq!((found[0][0].id, found[1][0].id), ("origin", "north"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchSearchError`].
    pub fn search_batch(
        &self,
        queries: MatRef<'_, f32>,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Neighbor<Id>>>, BatchSearchError>
    where
        Id: Clone + Send + Sync,
        Payload: Send + Sync,
    {
        self.view().search_rows(queries, options, ids_of)
    }

    /// Searches for every row of a sparse matrix (queries x dimensions), compressed by rows or by columns, on all threads of
    /// the current rayon pool. All rows see the same points. For payloads, use [`View::search_batch_sparse`].
    ///
    /// ```
    /// use vektonn_index::sprs::CsMat;
    /// use vektonn_index::{IndexStore, Metric, SearchOptions, SparseVector, StoreChange};
    ///
    /// let store = IndexStore::sparse(Metric::Cosine, 4)?;
    /// store.apply([StoreChange::upsert("one", SparseVector::new(&[1_u32], &[2.0], 4)?.into(), ())])?;
    /// let queries: CsMat<f32> = CsMat::eye(4);
    /// let found = store.search_batch_sparse(queries.view(), &SearchOptions::new(1))?;
    /// assert_eq!((found[0][0].distance, found[1][0].distance), (1.0, 0.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchSearchError`].
    pub fn search_batch_sparse<I: SpIndex, P: SpIndex>(
        &self,
        queries: CsMatViewI<'_, f32, I, P>,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Neighbor<Id>>>, BatchSearchError>
    where
        Id: Clone + Send + Sync,
        Payload: Send + Sync,
    {
        self.view().search_sparse_rows(queries, options, ids_of)
    }

    /// What a pin of this store's timeline sees.
    pub(crate) fn at<'v>(&'v self, pin: &'v Pin<'v>) -> At<'v, Id, Payload> {
        At::new(self.spec, self.index.reader(pin))
    }

    /// Whether there is a point of this id. Waits for a batch that is being applied.
    pub fn contains(&self, id: &Id) -> bool {
        self.get(id, |_| ()).is_some()
    }

    /// Reads the point of this id. Waits for a batch that is being applied.
    pub fn get<R>(&self, id: &Id, read: impl FnOnce(Point<'_, Id, Payload>) -> R) -> Option<R> {
        let (view, slot) = self.locate(id);
        view.at().point(slot?).map(read)
    }

    /// The store as it is now, and the slot of this id in it. Waits for a batch that is being applied.
    pub(crate) fn locate(&self, id: &Id) -> (View<'_, Id, Payload>, Option<u32>) {
        let ids = self.ids.read();
        let view = self.view();
        let slot = match self.timeline.is_broken() {
            // The ids are those of a batch that nobody sees.
            true => view.at().find(id),
            false => ids.get(id, |slot| view.at().id_of(slot)),
        };
        (view, slot)
    }
}

fn ids_of<Id: Clone, Payload>(hits: Vec<Hit<'_, Id, Payload>>) -> Vec<Neighbor<Id>> {
    hits.into_iter().map(|hit| Neighbor { distance: hit.distance, id: hit.id.clone() }).collect()
}
