//! Searching some of a shard's splits, at one point in time.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use vektonn_core::{FoundDataPoint, Metric, SearchQuery, StoredVector, Vector};

use super::Shard;
use super::splits::Split;
use crate::options::{SearchError, SearchOptions};
use crate::part::{Nearest, Part, Wanted};
use crate::query::Query;
use crate::store::timeline::Pin;
use crate::top_k::TopK;

/// A thread has so many points for itself: that takes it some 50 microseconds or more.
const RUN_POINTS: usize = 20_000;

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

    fn search_splits(
        &self,
        pin: &Pin<'_>,
        splits: &[Arc<Split>],
        queries: &[StoredVector],
        options: &SearchOptions,
        calls: usize,
        retrieve_vectors: bool,
    ) -> Result<Vec<Vec<FoundDataPoint>>, SearchError> {
        let views: Vec<_> = splits.iter().map(|split| split.store().at(pin)).collect();
        let queries: Vec<Query<'_>> = queries.iter().map(Query::from).collect();
        let queries = self.spec.prepare(&queries).map_err(|refused| refused.error)?;
        let sizes = splits.iter().zip(&views).map(|(split, view)| (split.store().len(), view.parts(calls)));
        let mut pieces = pieces(sizes);
        // Asking for the number of threads may start them.
        if pieces.len() > 1 && calls >= rayon::current_num_threads() {
            pieces = vec![Piece { splits: (0..splits.len()).collect(), part: Part::WHOLE }];
        }
        let search = |Piece { splits: numbers, part }, nearest: &mut [Nearest<'_, _>]| {
            numbers.into_iter().try_for_each(|i: usize| {
                views[i].search_into(&queries, options, part, nearest, |id, slot| Candidate {
                    id,
                    split: splits[i].key(),
                    place: (i, slot),
                })
            })
        };
        let nearest = Wanted::new(queries.len(), options.k).search_all(pieces, search)?;
        let found = |found: crate::Neighbor<Candidate<'_>>| {
            let (i, slot) = found.id.place;
            let point = views[i].point(slot)?;
            Some(FoundDataPoint {
                vector: retrieve_vectors.then(|| point.vector()),
                attributes: self.layout.decode(point.id, splits[i].values(), point.payload),
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

/// What one thread searches: some splits, or a part of a large one.
#[derive(Debug)]
struct Piece {
    splits: Vec<usize>,
    part: Part,
}

/// Cuts splits, the largest of which come first, into pieces: those that are to be searched in `parts` into these, the others
/// into runs of about [`RUN_POINTS`]. `sizes` are their points and `parts`.
fn pieces(sizes: impl Iterator<Item = (usize, usize)>) -> Vec<Piece> {
    let (mut pieces, mut runs) = (Vec::new(), Vec::new());
    let (mut run, mut run_points) = (Vec::new(), 0);
    for (i, (points, of)) in sizes.enumerate() {
        if of > 1 {
            pieces.extend((0..of).map(|number| Piece { splits: vec![i], part: Part { number, of } }));
            continue;
        }
        run.push(i);
        run_points += points;
        if run_points >= RUN_POINTS {
            runs.push(std::mem::take(&mut run));
            run_points = 0;
        }
    }
    // So few that another thread would gain nothing by them.
    match runs.last_mut() {
        Some(last) => last.append(&mut run),
        None => runs.extend((!run.is_empty()).then_some(run)),
    }
    pieces.extend(runs.into_iter().map(|splits| Piece { splits, part: Part::WHOLE }));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The splits of each piece, and the part.
    fn cut(sizes: &[(usize, usize)]) -> Vec<(Vec<usize>, usize, usize)> {
        let pieces = pieces(sizes.iter().copied()).into_iter();
        pieces.map(|Piece { splits, part }| (splits, part.number, part.of)).collect()
    }

    #[test]
    fn pieces_are_worth_a_thread() {
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[(1_000_000, 2)]), [(vec![0], 0, 2), (vec![0], 1, 2)]);
        assert_eq!(cut(&[(1_000_000, 1)]), [(vec![0], 0, 1)]);
        assert_eq!(cut(&[(9_000, 1), (8_000, 1), (2_999, 1)]), [(vec![0, 1, 2], 0, 1)]);
        assert_eq!(cut(&[(90_000, 1), (8_000, 1), (7_000, 1)]), [(vec![0, 1, 2], 0, 1)]);
    }

    #[test]
    fn medium_splits_are_searched_in_runs_and_large_ones_in_parts() {
        assert_eq!(
            cut(&[(50_000, 1), (20_000, 1), (15_000, 1), (6_000, 1), (5_000, 1), (10, 1)]),
            [(vec![0], 0, 1), (vec![1], 0, 1), (vec![2, 3, 4, 5], 0, 1)]
        );
        assert_eq!(
            cut(&[(900_000, 2), (15_000, 1), (10_000, 3), (10_000, 1)]),
            [
                (vec![0], 0, 2),
                (vec![0], 1, 2),
                (vec![2], 0, 3),
                (vec![2], 1, 3),
                (vec![2], 2, 3),
                (vec![1, 3], 0, 1)
            ]
        );
    }
}
