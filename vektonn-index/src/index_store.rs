//! Your ids and payloads on top of an index.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use faer::MatRef;
use parking_lot::RwLock;
use rayon::prelude::*;
use vektonn_core::{HnswParams, Metric, StoredVector, VectorError, VectorKind};

use crate::collector::Collector;
use crate::distance::DenseKernels;
use crate::index::{IndexReader, IndexSpec, SpecError, VectorIndex};
use crate::neighbor::Neighbor;
use crate::options::{SearchError, SearchOptions};
use crate::query::Query;
use crate::store::id_map::IdMap;
use crate::store::slots::IndexFull;
use crate::store::timeline::{Batch, Pin, Timeline};
use crate::top_k::TopK;

/// Queries that one thread searches together: beyond that nothing is gained, and coded queries leave the cache.
const QUERIES_TOGETHER_MAX: usize = 64;

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

/// What is kept with each row.
struct Entry<Id, Payload> {
    id: Id,
    payload: Payload,
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
}

/// Why a batch of changes was refused. Nothing of it was applied, except where noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A vector does not fit the index.
    #[error("change {position}: {source}")]
    Vector {
        /// Which change of the batch, from 0.
        position: usize,
        /// What is wrong with its vector.
        source: VectorError,
    },
    /// The index can hold no more points; the changes before this one were applied.
    #[error("change {position}: an index holds at most {} points", u32::MAX)]
    Full {
        /// Which change of the batch, from 0.
        position: usize,
    },
}

impl<Id: Ord + Hash, Payload> IndexStore<Id, Payload> {
    /// An empty store of dense vectors.
    ///
    /// # Errors
    /// [`SpecError`] if the metric is for sparse vectors only or the dimension is 0.
    pub fn dense(metric: Metric, dimension: usize) -> Result<Self, SpecError> {
        Self::new(IndexSpec { kind: VectorKind::Dense, metric, dimension, hnsw: None, approximate: false })
    }

    /// An empty store of dense vectors that is searched approximately, through a graph, once it holds some thousand.
    ///
    /// ```
    /// use vektonn_index::{HnswParams, IndexStore, Metric, SearchOptions, StoreChange};
    ///
    /// let store = IndexStore::hnsw(Metric::Cosine, 2, HnswParams::default())?;
    /// store.apply([StoreChange::upsert("north", [0.0, 2.0].try_into()?, ())])?;
    /// let nearest = store.search(&[1.0, 3.0], &SearchOptions::new(1).ef_search(50))?;
    /// assert_eq!(nearest[0].item, "north");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SpecError`] if the metric is for sparse vectors only, the dimension is 0, or the parameters are out of range.
    pub fn hnsw(metric: Metric, dimension: usize, params: HnswParams) -> Result<Self, SpecError> {
        Self::new(IndexSpec {
            kind: VectorKind::Dense,
            metric,
            dimension,
            hnsw: Some(params),
            approximate: false,
        })
    }

    /// An empty store of sparse vectors with indices below `dimension`.
    ///
    /// # Errors
    /// [`SpecError`] if the dimension is 0.
    pub fn sparse(metric: Metric, dimension: usize) -> Result<Self, SpecError> {
        Self::new(IndexSpec { kind: VectorKind::Sparse, metric, dimension, hnsw: None, approximate: false })
    }

    /// An empty store.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn new(spec: IndexSpec) -> Result<Self, SpecError> {
        Ok(Self::on_timeline(spec, spec.kernels()?, Arc::new(Timeline::new())))
    }

    /// An empty store that shares its batches with other stores.
    pub(crate) fn on_timeline(spec: IndexSpec, kernels: DenseKernels, timeline: Arc<Timeline>) -> Self {
        let index = VectorIndex::new(spec, kernels, Arc::clone(&timeline));
        Self { spec, index, timeline, ids: RwLock::default(), len: AtomicUsize::new(0) }
    }

    /// What this store compares, and how.
    pub fn spec(&self) -> IndexSpec {
        self.spec
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use, heap data inside of ids and payloads not included.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.ids.read().bytes()
    }

    /// Applies a batch of changes in order: of several changes of one id the last one wins. Searches see the
    /// batch whole or not at all.
    ///
    /// # Errors
    /// [`ApplyError::Vector`] before anything is changed, [`ApplyError::Full`].
    pub fn apply(
        &self,
        changes: impl IntoIterator<Item = StoreChange<Id, Payload>>,
    ) -> Result<(), ApplyError> {
        let changes: Vec<_> = changes.into_iter().collect();
        for (position, change) in changes.iter().enumerate() {
            if let StoreChange::Upsert { vector, .. } = change {
                self.spec.check_stored(vector).map_err(|source| ApplyError::Vector { position, source })?;
            }
        }
        let batch = self.timeline.write();
        // Held until the batch is published, so that `get` never finds a slot that is not visible yet.
        let mut ids = self.ids.write();
        let applied = changes.into_iter().enumerate().try_for_each(|(position, change)| {
            self.apply_one(&batch, &mut ids, change).map_err(|IndexFull| ApplyError::Full { position })
        });
        self.index.finish(&batch);
        drop(batch);
        applied
    }

    /// Applies changes as a part of a batch on a shared timeline.
    pub(crate) fn apply_in(
        &self,
        batch: &Batch<'_>,
        changes: impl IntoIterator<Item = StoreChange<Id, Payload>>,
    ) -> Result<(), IndexFull> {
        let mut ids = self.ids.write();
        let applied = changes.into_iter().try_for_each(|change| self.apply_one(batch, &mut ids, change));
        self.index.finish(batch);
        applied
    }

    fn apply_one(
        &self,
        batch: &Batch<'_>,
        ids: &mut IdMap,
        change: StoreChange<Id, Payload>,
    ) -> Result<(), IndexFull> {
        let replaced = match change {
            StoreChange::Upsert { id, vector, payload } => {
                let slot = self.index.insert(batch, Entry { id, payload }, vector)?;
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
        self.len.store(ids.len(), Ordering::Release);
        Ok(())
    }

    /// The store as it is now. What the view shows does not change while it exists; drop it soon, since it keeps
    /// the memory of replaced points from being used again.
    pub fn view(&self) -> View<'_, Id, Payload> {
        View { store: self, pin: self.timeline.pin() }
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

    /// What a pin of this store's timeline sees.
    pub(crate) fn at<'v>(&'v self, pin: &'v Pin<'v>) -> At<'v, Id, Payload> {
        At { spec: self.spec, reader: self.index.reader(pin) }
    }

    /// Whether there is a point of this id. Waits for a batch that is being applied.
    pub fn contains(&self, id: &Id) -> bool {
        self.get(id, |_| ()).is_some()
    }

    /// Reads the point of this id. Waits for a batch that is being applied.
    pub fn get<R>(&self, id: &Id, read: impl FnOnce(Hit<'_, Id, Payload>) -> R) -> Option<R> {
        let ids = self.ids.read();
        let view = self.view();
        let at = view.at();
        let slot = ids.get(id, |slot| id_of(&at.reader, slot))?;
        drop(ids);
        at.hit(slot, 0.0).map(read)
    }

    /// Searches for every row of a matrix (queries x dimensions), on all threads of the current rayon pool. All
    /// rows see the same points.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search_batch(
        &self,
        queries: MatRef<'_, f32>,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Neighbor<Id>>>, SearchError>
    where
        Id: Clone + Send + Sync,
        Payload: Send + Sync,
    {
        let view = self.view();
        let rows: Vec<usize> = (0..queries.nrows()).collect();
        let search_group = |rows: &[usize]| {
            let rows: Vec<Vec<f32>> =
                rows.iter().map(|&row| queries.row(row).iter().copied().collect()).collect();
            let queries: Vec<Query<'_>> = rows.iter().map(Query::from).collect();
            view.at().search_many(&queries, options)
        };
        let groups: Vec<_> =
            rows.par_chunks(queries_together(rows.len())).map(search_group).collect::<Result<_, _>>()?;
        Ok(groups.into_iter().flatten().map(ids_of).collect())
    }
}

/// How many queries of so many one thread should search together: enough to share the reading of the points, and few
/// enough for every thread of the current rayon pool to have some.
pub(crate) fn queries_together(queries: usize) -> usize {
    queries.div_ceil(rayon::current_num_threads()).next_multiple_of(4).clamp(1, QUERIES_TOGETHER_MAX)
}

/// A store at one point in time.
pub struct View<'s, Id, Payload> {
    store: &'s IndexStore<Id, Payload>,
    pin: Pin<'s>,
}

impl<Id: Ord + Hash, Payload> View<'_, Id, Payload> {
    /// The nearest points, nearest first, ties ordered by id.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search<'q>(
        &self,
        query: impl Into<Query<'q>>,
        options: &SearchOptions,
    ) -> Result<Vec<Hit<'_, Id, Payload>>, SearchError> {
        self.at().search(query.into(), options)
    }

    /// All points, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Hit<'_, Id, Payload>> {
        self.at().into_hits()
    }

    pub(crate) fn at(&self) -> At<'_, Id, Payload> {
        self.store.at(&self.pin)
    }
}

/// What a pin sees of a store.
pub(crate) struct At<'v, Id, Payload> {
    spec: IndexSpec,
    reader: IndexReader<'v, Entry<Id, Payload>>,
}

impl<'v, Id: Ord + Hash, Payload> At<'v, Id, Payload> {
    /// Offers the nearest points to `nearest`, which may hold points of other stores already.
    pub(crate) fn search_into<T: Ord>(
        &self,
        query: Query<'_>,
        options: &SearchOptions,
        nearest: &mut TopK<T>,
        item: impl Fn(&'v Id, u32) -> T,
    ) -> Result<(), SearchError> {
        self.spec.check_query(query)?;
        self.reader.search_into(query, options, &mut self.collector(nearest, item))
    }

    /// The same for several queries, each with its `nearest`.
    pub(crate) fn search_many_into<T: Ord>(
        &self,
        queries: &[Query<'_>],
        options: &SearchOptions,
        nearest: &mut [TopK<T>],
        item: impl Fn(&'v Id, u32) -> T,
    ) -> Result<(), SearchError> {
        queries.iter().try_for_each(|&query| self.spec.check_query(query))?;
        let collector = |nearest| self.collector(nearest, &item);
        let mut collectors: Vec<_> = nearest.iter_mut().map(collector).collect();
        self.reader.search_many_into(queries, options, &mut collectors)
    }

    /// Keeps in `nearest` what is offered by slot.
    fn collector<T: Ord>(
        &self,
        nearest: &mut TopK<T>,
        item: impl Fn(&'v Id, u32) -> T,
    ) -> Collector<impl FnMut(f32, u32) -> f32> {
        Collector::new(nearest.bound(), move |distance, slot| {
            nearest.offer(distance, item(id_of(&self.reader, slot), slot));
            nearest.bound()
        })
    }

    /// The point in a slot, if it is alive.
    pub(crate) fn hit(&self, slot: u32, distance: f32) -> Option<Hit<'v, Id, Payload>> {
        let Entry { id, payload } = self.reader.entry(slot)?;
        Some(Hit { distance, id, payload, reader: self.reader, slot })
    }

    /// All live points, in no particular order.
    pub(crate) fn into_hits(self) -> impl Iterator<Item = Hit<'v, Id, Payload>> {
        self.reader.slots().filter_map(move |slot| self.hit(slot, 0.0))
    }

    fn search(
        &self,
        query: Query<'_>,
        options: &SearchOptions,
    ) -> Result<Vec<Hit<'v, Id, Payload>>, SearchError> {
        let mut nearest = TopK::new(options.k);
        self.search_into(query, options, &mut nearest, |id, slot| (id, slot))?;
        Ok(self.hits(nearest))
    }

    pub(crate) fn search_many(
        &self,
        queries: &[Query<'_>],
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hit<'v, Id, Payload>>>, SearchError> {
        let mut nearest: Vec<_> = queries.iter().map(|_| TopK::new(options.k)).collect();
        self.search_many_into(queries, options, &mut nearest, |id, slot| (id, slot))?;
        Ok(nearest.into_iter().map(|nearest| self.hits(nearest)).collect())
    }

    fn hits(&self, nearest: TopK<(&'v Id, u32)>) -> Vec<Hit<'v, Id, Payload>> {
        let nearest = nearest.into_sorted_vec().into_iter();
        nearest.filter_map(|found| self.hit(found.item.1, found.distance)).collect()
    }
}

/// A point of a [`View`].
pub struct Hit<'v, Id, Payload> {
    /// Its distance to the query, smaller for nearer points; 0 where there was no query.
    pub distance: f32,
    /// Its id.
    pub id: &'v Id,
    /// What was stored with it.
    pub payload: &'v Payload,
    reader: IndexReader<'v, Entry<Id, Payload>>,
    slot: u32,
}

impl<Id, Payload> Hit<'_, Id, Payload> {
    /// A copy of its vector.
    pub fn vector(&self) -> StoredVector {
        self.reader.vector(self.slot).expect("a hit is alive as long as its view")
    }
}

fn id_of<'p, Id, Payload>(reader: &IndexReader<'p, Entry<Id, Payload>>, slot: u32) -> &'p Id {
    &reader.entry(slot).expect("the id map names live slots only").id
}

fn ids_of<Id: Clone, Payload>(hits: Vec<Hit<'_, Id, Payload>>) -> Vec<Neighbor<Id>> {
    hits.into_iter().map(|hit| Neighbor { distance: hit.distance, item: hit.id.clone() }).collect()
}
