//! What a search sees: a store at one point in time.

use std::hash::Hash;

use rayon::prelude::*;
use vektonn_core::StoredVector;

use crate::collector::Collector;
use crate::index::{IndexReader, IndexSpec};
use crate::index_store::{Entry, IndexStore};
use crate::options::{SearchError, SearchOptions};
use crate::part::{Part, SharedBound};
use crate::query::Query;
use crate::store::timeline::Pin;
use crate::top_k::TopK;

/// A store at one point in time.
pub struct View<'s, Id, Payload> {
    store: &'s IndexStore<Id, Payload>,
    pin: Pin<'s>,
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
    pub(crate) fn new(spec: IndexSpec, reader: IndexReader<'v, Entry<Id, Payload>>) -> Self {
        Self { spec, reader }
    }

    /// The id of the point in a live slot.
    pub(crate) fn id_of(&self, slot: u32) -> &'v Id {
        id_of(&self.reader, slot)
    }

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

    /// The same for several queries, each with its `nearest`. So many `calls` like this one share the threads of the current
    /// rayon pool; where they are fewer than the threads, and the index is large, several threads search parts of it.
    pub(crate) fn search_many_into<T: Ord + Send>(
        &self,
        queries: &[Query<'_>],
        options: &SearchOptions,
        calls: usize,
        nearest: &mut [TopK<T>],
        item: impl Fn(&'v Id, u32) -> T + Sync,
    ) -> Result<(), SearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        queries.iter().try_for_each(|&query| self.spec.check_query(query))?;
        let parts = match self.reader.parts_max() {
            // Asking for the number of threads may start them.
            0 | 1 => 1,
            parts_max => parts_max.min(rayon::current_num_threads() / calls),
        };
        if parts <= 1 {
            let collector = |nearest| self.collector(nearest, &item);
            let mut collectors: Vec<_> = nearest.iter_mut().map(collector).collect();
            return self.reader.search_many_into(queries, options, Part::WHOLE, &mut collectors);
        }
        let bounds: Vec<_> = nearest.iter().map(|nearest| SharedBound::new(nearest.bound())).collect();
        let search_part = |number| {
            let mut nearest: Vec<_> = bounds.iter().map(|_| TopK::new(options.k)).collect();
            let collectors = nearest.iter_mut().zip(&bounds).map(|(nearest, bound)| {
                Collector::new(bound.get(), |distance, slot| {
                    nearest.offer(distance, item(self.id_of(slot), slot));
                    bound.tighten(nearest.bound())
                })
            });
            let part = Part { number, of: parts };
            self.reader.search_many_into(queries, options, part, &mut collectors.collect::<Vec<_>>())?;
            Ok(nearest)
        };
        let found: Vec<_> =
            (0..parts).into_par_iter().map(search_part).collect::<Result<_, SearchError>>()?;
        for found in found {
            nearest.iter_mut().zip(found).for_each(|(nearest, found)| nearest.append(found));
        }
        Ok(())
    }

    /// Keeps in `nearest` what is offered by slot.
    fn collector<T: Ord>(
        &self,
        nearest: &mut TopK<T>,
        item: impl Fn(&'v Id, u32) -> T,
    ) -> Collector<impl FnMut(f32, u32) -> f32> {
        Collector::new(nearest.bound(), move |distance, slot| {
            nearest.offer(distance, item(self.id_of(slot), slot));
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

    /// See [`search_many_into`](Self::search_many_into).
    pub(crate) fn search_many(
        &self,
        queries: &[Query<'_>],
        options: &SearchOptions,
        calls: usize,
    ) -> Result<Vec<Vec<Hit<'v, Id, Payload>>>, SearchError>
    where
        Id: Send + Sync,
        Payload: Send + Sync,
    {
        let mut nearest: Vec<_> = queries.iter().map(|_| TopK::new(options.k)).collect();
        self.search_many_into(queries, options, calls, &mut nearest, |id, slot| (id, slot))?;
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

pub(crate) fn id_of<'p, Id, Payload>(reader: &IndexReader<'p, Entry<Id, Payload>>, slot: u32) -> &'p Id {
    &reader.entry(slot).expect("the id map names live slots only").id
}
