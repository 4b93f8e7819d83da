//! Searching some of a shard's splits, at one point in time.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use vektonn_core::{FoundDataPoint, IndexKind, Metric, SearchQuery, StoredVector, Vector};

use super::Shard;
use super::splits::Split;
use crate::flat::PART_COORDINATES_MIN;
use crate::options::{SearchError, SearchOptions};
use crate::part::{Nearest, Part, Wanted};
use crate::query::Query;
use crate::store::timeline::Pin;
use crate::top_k::TopK;

/// Of a sparse vector few coordinates are not zero; of an index most are not even looked at.
const SPARSE_COORDINATES: usize = 100;

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
                let groups = self.spec.groups(vectors);
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
        let run_points = self.run_points();
        let points = || splits.iter().map(|split| split.store().len());
        // The largest come first.
        let large = points().take_while(|&points| points >= run_points).count();
        let parts = views.iter().map(|view| view.parts(calls.saturating_mul(large.max(1))));
        let mut pieces = pieces(points().zip(parts), run_points);
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

    /// A thread has so many points for itself, as in a large store that is searched in parts.
    fn run_points(&self) -> usize {
        let coordinates = match self.spec.kind {
            IndexKind::Inverted { .. } => self.spec.dimension.min(SPARSE_COORDINATES),
            _ => self.spec.dimension,
        };
        (PART_COORDINATES_MIN / coordinates).max(1)
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
/// into runs of so many points or some more. `sizes` are their points and `parts`.
fn pieces(sizes: impl Iterator<Item = (usize, usize)>, points_of_run: usize) -> Vec<Piece> {
    let (mut pieces, mut runs) = (Vec::new(), Vec::new());
    let (mut run, mut run_points) = (Vec::new(), 0);
    for (i, (points, of)) in sizes.enumerate() {
        if of > 1 {
            pieces.extend((0..of).map(|number| Piece { splits: vec![i], part: Part { number, of } }));
            continue;
        }
        run.push(i);
        run_points += points;
        if run_points >= points_of_run {
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
    #![allow(clippy::unwrap_used)]

    use vektonn_core::{
        Attribute, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta, codec,
    };

    use super::*;

    /// A shard with one split for each day, of so many points.
    fn shard_of(points_of_days: &[i64], id: impl Fn(i64, i64) -> i64) -> Shard {
        let source = DataSourceMeta::from_yaml(
            DataSourceId { name: "Source".into(), version: "1.0".into() },
            "{vectorDimension: 2, vectorsAreSparse: false, permanentAttributes: [id, day], \
             attributeValueTypes: {id: Int64, day: Int64}}",
        );
        let index = "{dataSourceId: {name: Source, version: 1.0}, indexAlgorithm: {type: FaissIndex.L2}, \
                     idAttributes: [id], splitAttributes: [day], shardsById: {All: {shardsByAttributeKey: {}}}}";
        let index_id = IndexId { name: "Index".into(), version: "1.0".into() };
        let meta = IndexMeta::from_yaml(index_id, index, Arc::new(source.unwrap())).unwrap();
        let shard = Shard::new(Arc::new(meta), "All").unwrap();
        for (day, &points) in (0..).zip(points_of_days) {
            let upsert = |i| {
                let id = id(day, i);
                let attributes = vec![Attribute::new("id", id), Attribute::new("day", day)];
                Change::Upsert(DataPoint { attributes, vector: Vector::dense([day as f64, id as f64]) })
            };
            shard.apply((0..points).map(upsert).collect::<Vec<_>>()).unwrap();
        }
        shard
    }

    /// Splits of so many points that several threads search them, and of one that is searched in parts, find what one would find.
    #[test]
    fn splits_are_searched_as_one() {
        const IDS: i64 = 9_001;
        let id = |day: i64, i: i64| (i * 7919 + day * 13) % IDS;
        for points in [[9_000, 1_500, 1_400, 1_300, 1_000, 30], [5_000, 4_500, 4_000, 3_000, 1_500, 40]] {
            let shard = shard_of(&points, id);
            let search = |vectors: &[[f64; 2]], k| -> Vec<Vec<(f32, Vec<Attribute>)>> {
                let query = SearchQuery {
                    split_filter: vec![],
                    query_vectors: vectors.iter().map(|&vector| Vector::dense(vector)).collect(),
                    k,
                    ef_search: None,
                    approximation: None,
                    retrieve_vectors: false,
                };
                let found = shard.search(&query, None).unwrap().into_iter();
                found
                    .map(|found| found.into_iter().map(|it| (it.distance, it.attributes)).collect())
                    .collect()
            };
            let expected = |[x, y]: [f64; 2], k| -> Vec<_> {
                let distance =
                    |day: i64, id: i64| ((day as f64 - x).powi(2) + (id as f64 - y).powi(2)) as f32;
                let key = |value: i64| codec::encode_key(&[value.into()]);
                let days = (0..).zip(points);
                let all = days.flat_map(|(day, points)| (0..points).map(move |i| (day, id(day, i))));
                let mut all: Vec<_> =
                    all.map(|(day, id)| (distance(day, id), key(id), key(day), (day, id))).collect();
                all.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let attributes = |(day, id)| vec![Attribute::new("id", id), Attribute::new("day", day)];
                all.into_iter().take(k).map(|(distance, _, _, it)| (distance, attributes(it))).collect()
            };
            // Those in the middle are as far from two days or two ids.
            let queries = [[0.0, 0.0], [2.5, 100.0], [5.0, 8_000.5], [1.5, 4_000.5]];
            for threads in [1, 4] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                for k in [0, 1, 10, 300, 6_000] {
                    let expected = queries.map(|query| expected(query, k));
                    assert_eq!(pool.install(|| search(&queries, k)), expected, "{k} of {threads} threads");
                    for (query, expected) in queries.into_iter().zip(expected) {
                        assert_eq!(
                            pool.install(|| search(&[query], k)),
                            [expected],
                            "{k} of {threads} threads"
                        );
                    }
                }
            }
        }
    }

    /// The splits of each piece, and the part.
    fn cut(sizes: &[(usize, usize)]) -> Vec<(Vec<usize>, usize, usize)> {
        let pieces = pieces(sizes.iter().copied(), 20_000).into_iter();
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
