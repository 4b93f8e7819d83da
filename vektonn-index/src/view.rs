//! What a search sees: a store at one point in time.

use std::fmt;
use std::hash::Hash;

use faer::MatRef;
use rayon::prelude::*;
use sprs::{CsMatViewI, SpIndex};
use vektonn_core::{StoredVector, VectorError};

use crate::collector::Collector;
use crate::index::{IndexReader, IndexSpec};
use crate::index_store::{Entry, IndexStore};
use crate::inverted::sparse_from_sprs;
use crate::neighbor::Neighbor;
use crate::options::{BatchSearchError, SearchError, SearchOptions};
use crate::part::{Nearest, Part, Wanted};
use crate::query::{PreparedQueries, Query};
use crate::store::timeline::Pin;
use crate::top_k::TopK;

/// A store at one point in time: whatever is asked of it, the answers are of the same points.
///
/// ```
/// use vektonn_index::faer::mat;
/// use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};
///
/// let store = IndexStore::dense(Metric::L2, 2)?;
/// store.apply([StoreChange::upsert(7, [0.0, 1.0].try_into()?, "old")])?;
/// let view = store.view();
/// store.apply([StoreChange::upsert(7, [0.0, 3.0].try_into()?, "new")])?;
///
/// let found = view.search_batch(mat![[0.0_f32, 0.0], [0.0, 3.0]].as_ref(), &SearchOptions::new(1))?;
/// assert_eq!((found[0][0].payload, found[1][0].distance), (&"old", 4.0));
/// assert_eq!(view.get(&7).map(|point| point.payload), Some(&"old"));
/// assert_eq!(store.view().get(&7).map(|point| *point.payload), Some("new"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct View<'s, Id, Payload> {
    store: &'s IndexStore<Id, Payload>,
    pin: Pin<'s>,
}

impl<Id, Payload> fmt::Debug for View<'_, Id, Payload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("store", self.store).field("batch", &self.pin.batch()).finish()
    }
}

impl<'s, Id: Ord + Hash, Payload> View<'s, Id, Payload> {
    pub(crate) fn new(store: &'s IndexStore<Id, Payload>, pin: Pin<'s>) -> Self {
        Self { store, pin }
    }

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

    /// Searches for every row of a matrix (queries x dimensions), on all threads of the current rayon pool: also for
    /// one row, if the store is large and exact.
    ///
    /// # Errors
    /// [`BatchSearchError`].
    pub fn search_batch(
        &self,
        queries: MatRef<'_, f32>,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hit<'_, Id, Payload>>>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        self.search_rows(queries, options, |hits| hits)
    }

    /// Searches for every row of a sparse matrix (queries x dimensions), compressed by rows or by columns, on all threads of
    /// the current rayon pool.
    ///
    /// # Errors
    /// [`BatchSearchError`].
    pub fn search_batch_sparse<I: SpIndex, P: SpIndex>(
        &self,
        queries: CsMatViewI<'_, f32, I, P>,
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hit<'_, Id, Payload>>>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        self.search_sparse_rows(queries, options, |hits| hits)
    }

    /// The point of this id. Waits for a batch that is being applied, and looks at all points if this one has changed since
    /// the view was made, or something else has and there is no such point.
    pub fn get(&self, id: &Id) -> Option<Point<'_, Id, Payload>> {
        let (now, slot) = self.store.locate(id);
        // What is alive in both is the same point.
        if let Some(point) = slot.and_then(|slot| self.at().point(slot)) {
            return Some(point);
        }
        if now.pin.batch() == self.pin.batch() {
            return None;
        }
        self.at().point(self.at().find(id)?)
    }

    /// The number of points, which are counted one by one. That of [`IndexStore::len`] is known.
    pub fn len(&self) -> usize {
        self.at().reader.slots().count()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.at().reader.slots().next().is_none()
    }

    /// All points, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Point<'_, Id, Payload>> {
        self.at().into_points()
    }

    /// Searches for every row of a matrix, and makes something of the hits of each.
    pub(crate) fn search_rows<'v, R: Send>(
        &'v self,
        queries: MatRef<'_, f32>,
        options: &SearchOptions,
        made_of: impl Fn(Vec<Hit<'v, Id, Payload>>) -> R + Sync,
    ) -> Result<Vec<R>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        let row = |row| Ok(queries.row(row).iter().copied().collect::<Vec<f32>>());
        self.search_numbered(queries.nrows(), row, options, made_of)
    }

    /// The same for the rows of a sparse matrix.
    pub(crate) fn search_sparse_rows<'v, I: SpIndex, P: SpIndex, R: Send>(
        &'v self,
        queries: CsMatViewI<'_, f32, I, P>,
        options: &SearchOptions,
        made_of: impl Fn(Vec<Hit<'v, Id, Payload>>) -> R + Sync,
    ) -> Result<Vec<R>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        if !queries.is_csr() {
            return self.search_sparse_rows(queries.to_csr().view(), options, made_of);
        }
        let row = |row| {
            let row = queries.outer_view(row).expect("the matrix has so many rows");
            sparse_from_sprs(row, self.store.spec().dimension)
        };
        self.search_numbered(queries.rows(), row, options, made_of)
    }

    /// The same for queries that are made from their numbers.
    fn search_numbered<'v, Q, R: Send>(
        &'v self,
        count: usize,
        query: impl Fn(usize) -> Result<Q, VectorError> + Sync,
        options: &SearchOptions,
        made_of: impl Fn(Vec<Hit<'v, Id, Payload>>) -> R + Sync,
    ) -> Result<Vec<R>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
        for<'q> Query<'q>: From<&'q Q>,
    {
        let numbers: Vec<usize> = (0..count).collect();
        let groups = self.store.spec().groups(&numbers);
        let calls = groups.len();
        let search_group = |numbers: &[usize]| -> Result<Vec<R>, BatchSearchError> {
            let query = |&number: &usize| {
                query(number).map_err(|error| BatchSearchError { position: number, error: error.into() })
            };
            let queries: Vec<Q> = numbers.iter().map(query).collect::<Result<_, _>>()?;
            let queries: Vec<Query<'_>> = queries.iter().map(Query::from).collect();
            let found = self.at().search_many(&queries, options, calls);
            let found =
                found.map_err(|failed| BatchSearchError { position: numbers[failed.position], ..failed })?;
            Ok(found.into_iter().map(&made_of).collect())
        };
        let found: Vec<_> = groups.map(search_group).collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
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
    pub(crate) fn new(spec: IndexSpec, reader: IndexReader<'v, Entry<Id, Payload>>) -> Self {
        Self { spec, reader }
    }

    /// The id of the point in a live slot.
    pub(crate) fn id_of(&self, slot: u32) -> &'v Id {
        id_of(&self.reader, slot)
    }

    /// The live slot of an id, looked for among all.
    pub(crate) fn find(&self, id: &Id) -> Option<u32> {
        self.reader.slots().find(|&slot| self.id_of(slot) == id)
    }

    /// How many threads may search parts of the store at the same time, with a gain, if so many `calls` like this one share
    /// those of the current rayon pool.
    pub(crate) fn parts(&self, calls: usize) -> usize {
        match self.reader.parts_max() {
            // Asking for the number of threads may start them.
            0 | 1 => 1,
            parts_max => (rayon::current_num_threads() / calls).clamp(1, parts_max),
        }
    }

    /// Offers the nearest points of a part of the store, as `item` makes them of ids and slots.
    pub(crate) fn search_into<T: Ord>(
        &self,
        queries: &PreparedQueries<'_>,
        options: &SearchOptions,
        part: Part,
        nearest: &mut [Nearest<'_, T>],
        item: impl Fn(&'v Id, u32) -> T,
    ) -> Result<(), SearchError> {
        let collectors = nearest.iter_mut().map(|nearest| {
            let bound = nearest.bound();
            Collector::new(bound, |distance, slot| nearest.offer(distance, item(self.id_of(slot), slot)))
        });
        self.reader.search_into(queries, options, part, &mut collectors.collect::<Vec<_>>())
    }

    /// The point in a slot, if it is alive.
    pub(crate) fn point(&self, slot: u32) -> Option<Point<'v, Id, Payload>> {
        let Entry { id, payload } = self.reader.entry(slot)?;
        Some(Point { id, payload, reader: self.reader, slot })
    }

    /// All live points, in no particular order.
    pub(crate) fn into_points(self) -> impl Iterator<Item = Point<'v, Id, Payload>> {
        self.reader.slots().filter_map(move |slot| self.point(slot))
    }

    fn search(
        &self,
        query: Query<'_>,
        options: &SearchOptions,
    ) -> Result<Vec<Hit<'v, Id, Payload>>, SearchError> {
        let query = self.spec.prepare(&[query]).map_err(|refused| refused.error)?;
        let nearest = Wanted::new(1, options.k).search(|nearest| {
            self.search_into(&query, options, Part::WHOLE, nearest, |id, slot| (id, slot))
        })?;
        Ok(nearest.into_iter().flat_map(|nearest| self.hits(nearest)).collect())
    }

    /// Searches for several queries together. So many `calls` like this one share the threads of the current rayon pool; where
    /// they are fewer than the threads, and the store is large, several threads search parts of it.
    pub(crate) fn search_many(
        &self,
        queries: &[Query<'_>],
        options: &SearchOptions,
        calls: usize,
    ) -> Result<Vec<Vec<Hit<'v, Id, Payload>>>, BatchSearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        let queries = self.spec.prepare(queries)?;
        let of = self.parts(calls);
        let parts = (0..of).map(|number| Part { number, of }).collect();
        let nearest = Wanted::new(queries.len(), options.k).search_all(parts, |part, nearest| {
            self.search_into(&queries, options, part, nearest, |id, slot| (id, slot))
        });
        let nearest = nearest.map_err(|error| BatchSearchError { position: 0, error })?;
        Ok(nearest.into_iter().map(|nearest| self.hits(nearest)).collect())
    }

    fn hits(&self, nearest: TopK<(&'v Id, u32)>) -> Vec<Hit<'v, Id, Payload>> {
        let hit = |Neighbor { distance, id: (_, slot) }| {
            let point = self.point(slot)?;
            Some(Hit { distance, id: point.id, payload: point.payload, point })
        };
        nearest.into_sorted_vec().into_iter().filter_map(hit).collect()
    }
}

/// A point of a [`View`].
pub struct Point<'v, Id, Payload> {
    /// Its id.
    pub id: &'v Id,
    /// What was stored with it.
    pub payload: &'v Payload,
    reader: IndexReader<'v, Entry<Id, Payload>>,
    slot: u32,
}

/// A point of a [`View`] that a search found.
pub struct Hit<'v, Id, Payload> {
    /// Its distance to the query, smaller for nearer points.
    pub distance: f32,
    /// Its id.
    pub id: &'v Id,
    /// What was stored with it.
    pub payload: &'v Payload,
    point: Point<'v, Id, Payload>,
}

// By hand, since that needs nothing of ids and payloads.
impl<Id, Payload> Clone for Point<'_, Id, Payload> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Id, Payload> Copy for Point<'_, Id, Payload> {}

impl<Id, Payload> Clone for Hit<'_, Id, Payload> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Id, Payload> Copy for Hit<'_, Id, Payload> {}

impl<Id: fmt::Debug, Payload: fmt::Debug> fmt::Debug for Point<'_, Id, Payload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, payload, .. } = self;
        f.debug_struct("Point").field("id", id).field("payload", payload).finish_non_exhaustive()
    }
}

impl<Id: fmt::Debug, Payload: fmt::Debug> fmt::Debug for Hit<'_, Id, Payload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distance, id, payload, .. } = self;
        let mut hit = f.debug_struct("Hit");
        hit.field("distance", distance).field("id", id).field("payload", payload).finish_non_exhaustive()
    }
}

impl<Id, Payload> Point<'_, Id, Payload> {
    /// A copy of its vector.
    pub fn vector(&self) -> StoredVector {
        self.reader.vector(self.slot).expect("a point is alive as long as its view")
    }
}

impl<Id, Payload> Hit<'_, Id, Payload> {
    /// A copy of its vector.
    pub fn vector(&self) -> StoredVector {
        self.point.vector()
    }
}

pub(crate) fn id_of<'p, Id, Payload>(reader: &IndexReader<'p, Entry<Id, Payload>>, slot: u32) -> &'p Id {
    &reader.entry(slot).expect("the id map names live slots only").id
}
