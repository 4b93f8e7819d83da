//! Searching some of a shard's splits, at one point in time.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rayon::prelude::*;
use vektonn_core::{FoundDataPoint, Metric, SearchQuery, StoredVector, Vector};

use super::Shard;
use super::splits::Split;
use crate::options::{SearchError, SearchOptions};
use crate::query::Query;
use crate::store::timeline::Pin;
use crate::top_k::TopK;

/// Splits of so many points are searched at the same time: that takes each some 50 microseconds or more.
const PARALLEL_POINTS_MIN: usize = if cfg!(test) { 50 } else { 20_000 };

/// A point that was found, in the total order of a shard's points: by id, then by split.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate<'v> {
    id: &'v [u8],
    split: &'v [u8],
    /// Which of the searched splits, and which of its slots.
    place: (usize, u32),
}

impl Shard {
    /// Finds the nearest data points of each query vector, in the splits that match the filter. The results stand in
    /// the order of the query vectors; several of them are searched on all threads of the current rayon pool.
    ///
    /// An empty sparse query vector is legal here: it is the zero vector.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search(
        &self,
        query: &SearchQuery,
        deadline: Option<Instant>,
    ) -> Result<Vec<Vec<FoundDataPoint>>, SearchError> {
        let mut options = SearchOptions::new(query.k);
        options.ef_search = query.ef_search;
        options.approximation = query.approximation;
        options.deadline = deadline;
        options.check_deadline()?;
        let pin = self.timeline.pin();
        // After the pin: every split with a point that the pin sees is among them, since none goes before that can be seen.
        let splits = self.splits.matching(&self.layout, &query.split_filter);
        let search = |vectors: &[Vector], calls| {
            let vectors = vectors.iter().map(|vector| match vector {
                Vector::Sparse { coordinates, .. } if coordinates.is_empty() => {
                    Ok(StoredVector::Sparse(Default::default()))
                }
                vector => self.narrow(vector),
            });
            let vectors: Vec<StoredVector> = vectors.collect::<Result<_, _>>()?;
            self.search_splits(&pin, &splits, &vectors, &options, calls, query.retrieve_vectors)
        };
        match query.query_vectors.as_slice() {
            [_] => search(&query.query_vectors, 1),
            vectors => {
                let groups = vectors.par_chunks(self.spec.queries_together(vectors.len()));
                let calls = groups.len();
                let found = groups.map(|vectors| search(vectors, calls));
                Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
        }
    }

    fn search_splits<'v>(
        &self,
        pin: &'v Pin<'v>,
        splits: &'v [Arc<Split>],
        queries: &[StoredVector],
        options: &SearchOptions,
        calls: usize,
        retrieve_vectors: bool,
    ) -> Result<Vec<Vec<FoundDataPoint>>, SearchError> {
        let views: Vec<_> = splits.iter().map(|split| split.store().at(pin)).collect();
        let queries: Vec<Query<'_>> = queries.iter().map(Query::from).collect();
        let mut nearest: Vec<_> = queries.iter().map(|_| TopK::new(options.k)).collect();
        let search = |i: usize, calls: usize, nearest: &mut [TopK<Candidate<'v>>]| {
            views[i].search_many_into(&queries, options, calls, nearest, |id, slot| Candidate {
                id,
                split: splits[i].key(),
                place: (i, slot),
            })
        };
        let large = splits.iter().take_while(|split| split.store().len() >= PARALLEL_POINTS_MIN).count();
        // Asking for the number of threads may start them.
        let together = if large > 1 && calls < rayon::current_num_threads() { large } else { 0 };
        if together > 0 {
            search_together(together, calls, &mut nearest, search)?;
        }
        for i in together..splits.len() {
            search(i, calls, &mut nearest)?;
        }
        let found = |found: crate::Neighbor<Candidate<'_>>| {
            let (i, slot) = found.id.place;
            let point = views[i].point(slot)?;
            Some(FoundDataPoint {
                vector: retrieve_vectors.then(|| point.vector()),
                attributes: self.layout.decode(point.id, splits[i].key(), point.payload),
                distance: self.as_users_see_it(found.distance),
            })
        };
        let all_found = |nearest: TopK<_>| nearest.into_sorted_vec().into_iter().filter_map(found).collect();
        Ok(nearest.into_iter().map(all_found).collect())
    }

    /// Inside, smaller is nearer; users of inner product see the product itself.
    fn as_users_see_it(&self, distance: f32) -> f32 {
        match self.spec.metric {
            // + 0.0: an inner product of zero is not -0.
            Metric::InnerProduct => -distance + 0.0,
            _ => distance,
        }
    }
}

/// Searches the first splits: the largest one by itself, then the others at the same time. Each begins with what those that
/// are done have found, since what is farther is of no use.
///
/// `search` takes a split, how many calls use the threads, and what was found so far.
fn search_together<'v>(
    splits: usize,
    calls: usize,
    nearest: &mut [TopK<Candidate<'v>>],
    search: impl Fn(usize, usize, &mut [TopK<Candidate<'v>>]) -> Result<(), SearchError> + Sync,
) -> Result<(), SearchError> {
    search(0, calls, nearest)?;
    let nearest = Mutex::new(nearest);
    (1..splits).into_par_iter().with_max_len(1).try_for_each(|i| {
        let mut all = nearest.lock().to_vec();
        search(i, calls * (splits - 1), &mut all)?;
        for (nearest, all) in nearest.lock().iter_mut().zip(all) {
            let found = all.into_sorted_vec().into_iter().filter(|found| found.id.place.0 == i);
            found.for_each(|found| nearest.offer(found.distance, found.id));
        }
        Ok(())
    })
}
