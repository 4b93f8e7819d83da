//! What every index must do, whatever its kind and its instruction set: one suite for all. A new kind of index adds its line to
//! `conformance!` and nothing else.
//!
//! Coordinates are small integers, so distances are exact and ties are real. Each case runs with every instruction set of this
//! processor, and all of them must find the same bits.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vektonn_core::{
    HnswParams, IndexKind, MemoryMode, Metric, SparseVector, StoredVector, VectorError, VectorKind,
};

use crate::distance::{DenseKernels, InstructionSet};
use crate::index::IndexSpec;
use crate::index_store::{ApplyError, IndexStore, StoreChange};
use crate::options::{SearchError, SearchOptions};
use crate::query::Query;
use crate::store::timeline::Timeline;

const DIMENSION: usize = 6;

type Coordinates = [i8; DIMENSION];

/// A kind of index, and how many points it has before a case begins: some kinds change their structure as they grow.
#[derive(Clone, Copy, Debug)]
struct Kind {
    spec: IndexSpec,
    points: usize,
}

impl Kind {
    /// Whether a search finds exactly the nearest. Few points are compared one by one, whatever the kind.
    fn is_exact(self) -> bool {
        !self.spec.kind.is_approximate() || self.points == 0
    }
}

/// An index and what it should hold.
struct Checked {
    kind: Kind,
    store: IndexStore<u32>,
    model: BTreeMap<u32, Coordinates>,
    /// Everything that was found, to be compared with other instruction sets.
    trace: Vec<(u32, u32)>,
}

/// Numbers without meaning, from -3 to 3, many of them zero.
fn coordinates(i: u32) -> Coordinates {
    std::array::from_fn(|j| {
        let bits = (i * DIMENSION as u32 + j as u32 + 1).wrapping_mul(0x9e37_79b9) >> 12;
        if bits.is_multiple_of(3) { 0 } else { (bits % 7) as i8 - 3 }
    })
}

fn stored(kind: VectorKind, coordinates: Coordinates) -> StoredVector {
    let dense = coordinates.map(f32::from);
    match kind {
        VectorKind::Dense => StoredVector::try_from(&dense[..]).unwrap(),
        VectorKind::Sparse => {
            let (indices, values): (Vec<u32>, Vec<f32>) =
                (0..).zip(dense).filter(|&(_, value)| value != 0.0).unzip();
            StoredVector::Sparse(SparseVector::new(&indices, &values, DIMENSION).unwrap())
        }
    }
}

/// The definition of the distance, in f64.
fn distance(metric: Metric, a: Coordinates, b: Coordinates) -> f32 {
    let sum = |term: fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(&b).map(|(&a, &b)| term(a.into(), b.into())).sum()
    };
    let distance = match metric {
        Metric::L2 => sum(|a, b| (a - b) * (a - b)),
        Metric::InnerProduct => -sum(|a, b| a * b),
        Metric::Cosine => match sum(|a, _| a * a).sqrt() * sum(|_, b| b * b).sqrt() {
            0.0 => 1.0,
            norms => (1.0 - sum(|a, b| a * b) / norms).clamp(0.0, 2.0),
        },
        Metric::JaccardBinary => match sum(|a, b| f64::from(a != 0.0 || b != 0.0)) {
            0.0 => 1.0,
            union => 1.0 - sum(|a, b| f64::from(a != 0.0 && b != 0.0)) / union,
        },
    };
    distance as f32 + 0.0
}

impl Checked {
    fn new(kind: Kind, set: InstructionSet) -> Self {
        let timeline = Arc::new(Timeline::new());
        let directory = std::env::temp_dir().into();
        let store = IndexStore::on_timeline(kind.spec, DenseKernels::new(set), timeline, &directory);
        let mut checked = Self { kind, store, model: BTreeMap::new(), trace: Vec::new() };
        let first = 1_000_000;
        let mut bytes = vec![];
        for points in (first..first + kind.points as u32).collect::<Vec<_>>().chunks(2500) {
            checked.upsert(points.iter().map(|&id| (id, coordinates(id))));
            bytes.push(checked.store.bytes());
        }
        if let (IndexKind::Hnsw(_), [first_half, all]) = (kind.spec.kind, &*bytes) {
            assert!(*all > 3 * first_half, "the second half makes a graph: {bytes:?}");
        }
        checked
    }

    fn vector(&self, coordinates: Coordinates) -> StoredVector {
        stored(self.kind.spec.kind.vector_kind(), coordinates)
    }

    fn upsert(&mut self, points: impl IntoIterator<Item = (u32, Coordinates)>) {
        let points: Vec<_> = points.into_iter().collect();
        let changes = points.iter().map(|&(id, at)| StoreChange::upsert(id, self.vector(at), ()));
        self.store.apply(changes.collect::<Vec<_>>()).unwrap();
        self.model.extend(points);
    }

    fn delete(&mut self, ids: impl IntoIterator<Item = u32>) {
        let ids: Vec<_> = ids.into_iter().collect();
        self.store.apply(ids.iter().map(|&id| StoreChange::delete(id))).unwrap();
        self.model.retain(|id, _| !ids.contains(id));
    }

    fn found(&self, query: Coordinates, options: &SearchOptions) -> Result<Vec<(f32, u32)>, SearchError> {
        let found = self.store.search(Query::from(&self.vector(query)), options)?;
        Ok(found.into_iter().map(|found| (found.distance, found.id)).collect())
    }

    /// Searches, and compares with all points sorted. What is found approximately are as many different live points, in
    /// order, at their true distances.
    fn check(&mut self, query: Coordinates, k: usize) -> Vec<u32> {
        let found = self.found(query, &SearchOptions::new(k)).unwrap();
        let metric = self.kind.spec.metric;
        let to_query = |&(_, &at): &(&u32, &Coordinates)| distance(metric, query, at);
        let mut expected: Vec<(f32, u32)> = if self.kind.is_exact() {
            self.model.iter().map(|point| (to_query(&point), *point.0)).collect()
        } else {
            let ids: BTreeSet<u32> = found.iter().map(|&(_, id)| id).collect();
            assert_eq!(ids.len(), k.min(self.model.len()), "{:?}: {k} nearest of {query:?}", self.kind);
            ids.into_iter().map(|id| (distance(metric, query, self.model[&id]), id)).collect()
        };
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        expected.truncate(k);
        assert_eq!(found, expected, "{:?}: {k} nearest of {query:?}", self.kind);
        assert_eq!(self.store.len(), self.model.len());
        self.trace.extend(found.iter().map(|&(distance, id)| (distance.to_bits(), id)));
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn check_all(&mut self) {
        for (i, k) in [1, 3, 10, 40].into_iter().enumerate() {
            self.check(coordinates(7 * i as u32 + 3), k);
        }
    }
}

/// Runs a case with every instruction set, and compares what they find.
fn with_every_instruction_set(kind: Kind, case: fn(&mut Checked)) {
    let sets = InstructionSet::ALL.into_iter().filter(|set| set.is_supported());
    let traces: Vec<_> = sets
        .map(|set| {
            let mut checked = Checked::new(kind, set);
            case(&mut checked);
            checked.store.check_graph().unwrap();
            (set, checked.trace)
        })
        .collect();
    for (set, trace) in &traces[1..] {
        assert_eq!(trace, &traces[0].1, "{set} as {}", traces[0].0);
    }
}

/// Nothing is found in nothing, by any query.
fn empty(checked: &mut Checked) {
    checked.check_all();
    checked.check([0; DIMENSION], 5);
    checked.delete([1, 2]);
    checked.check_all();
}

fn one_point(checked: &mut Checked) {
    checked.upsert([(5, [1, 0, 2, 0, 0, 3])]);
    checked.check_all();
    assert!(checked.store.contains(&5));
}

/// All points are found if more are asked for, and none if none are.
fn k_out_of_range(checked: &mut Checked) {
    checked.upsert((0..20).map(|id| (id, coordinates(id))));
    let all = checked.model.len();
    for k in [0, all - 1, all, all + 1, usize::MAX] {
        assert_eq!(checked.check([1, 2, -1, 0, 0, 1], k).len(), k.min(all));
    }
}

fn ties_go_to_the_smaller_id(checked: &mut Checked) {
    // Inserted in no order of their ids.
    checked.upsert((0..60).map(|i| (i * 37 % 60, [3, 3, 3, (i % 2) as i8, 0, 0])));
    for k in [1, 7, 30, 31, 59] {
        checked.check([3, 3, 3, 0, 0, 0], k);
    }
}

fn duplicates(checked: &mut Checked) {
    checked.upsert((0..100).map(|id| (id, [2, -1, 0, 0, 3, 0])));
    for k in [1, 10, 100] {
        checked.check([2, -1, 0, 0, 3, 0], k);
    }
    checked.delete((0..100).step_by(2));
    checked.check([2, -1, 0, 0, 3, 0], 10);
}

/// An update moves a point: it is found where it is, and not where it was.
fn updates(checked: &mut Checked) {
    for round in 0..5 {
        checked.upsert((0..50).map(|id| (id, coordinates(id + 1000 * round))));
        checked.check_all();
        checked.upsert([(3, [3, 3, 3, 3, 3, 3]), (4, [-3, -3, -3, -3, -3, -3])]);
        checked.check([3, 3, 3, 3, 3, 3], 2);
    }
    // The last of several changes of one point in one batch counts.
    checked.upsert([(3, [0, 0, 0, 0, 0, 1]), (3, [0, 0, 0, 1, 0, 0])]);
    checked.check([0, 0, 0, 1, 0, 0], 3);
}

fn deletions_and_reinsertions(checked: &mut Checked) {
    checked.upsert((0..200).map(|id| (id, coordinates(id))));
    checked.delete((0..200).filter(|id| id % 3 != 0));
    checked.check_all();
    checked.delete([1, 1, 999]);
    checked.upsert((0..100).map(|id| (id, coordinates(id + 77))));
    checked.check_all();
    checked.delete(0..200);
    checked.check_all();
    checked.upsert((50..60).map(|id| (id, coordinates(id))));
    checked.check_all();
}

/// It has no direction and nothing in common with anything.
fn zero_vector(checked: &mut Checked) {
    checked.upsert((0..30).map(|id| (id, if id % 4 == 1 { [0; DIMENSION] } else { coordinates(id) })));
    checked.check_all();
    for k in [1, 8, 40] {
        checked.check([0; DIMENSION], k);
    }
}

fn batch_equals_single(checked: &mut Checked) {
    checked.upsert((0..150).map(|id| (id, coordinates(id))));
    for count in [1, 3, 4, 9] {
        let queries: Vec<Coordinates> = (0..count).map(|i| coordinates(i * 31 + 5)).collect();
        let vectors: Vec<_> = queries.iter().map(|&query| checked.vector(query)).collect();
        let view = checked.store.view();
        let at = view.at();
        let together =
            at.search_many(&vectors.iter().map(Query::from).collect::<Vec<_>>(), &SearchOptions::new(10), 1);
        let together: Vec<Vec<_>> = together
            .unwrap()
            .iter()
            .map(|hits| hits.iter().map(|hit| (hit.distance, *hit.id)).collect())
            .collect();
        let alone = queries.iter().map(|&query| checked.found(query, &SearchOptions::new(10)).unwrap());
        assert_eq!(together, alone.collect::<Vec<_>>());
    }
}

fn deadline(checked: &mut Checked) {
    checked.upsert((0..100).map(|id| (id, coordinates(id))));
    let now = Instant::now();
    let late = SearchOptions::new(3).deadline(now);
    assert_eq!(checked.found(coordinates(1), &late), Err(SearchError::DeadlineExceeded));
    let early = SearchOptions::new(3).deadline(now + Duration::from_secs(1000));
    assert_eq!(checked.found(coordinates(1), &early).map(|found| found.len()), Ok(3));
}

/// A vector that does not fit is refused, with the whole batch that it came in.
fn wrong_vectors(checked: &mut Checked) {
    checked.upsert((0..10).map(|id| (id, coordinates(id))));
    let options = SearchOptions::new(3);
    let (long, other_kind) = match checked.kind.spec.kind.vector_kind() {
        VectorKind::Dense => (
            StoredVector::try_from(&[1.0; DIMENSION + 1][..]).unwrap(),
            stored(VectorKind::Sparse, coordinates(1)),
        ),
        VectorKind::Sparse => (
            StoredVector::Sparse(SparseVector::new(&[DIMENSION as u32], &[1.0], DIMENSION + 1).unwrap()),
            stored(VectorKind::Dense, coordinates(1)),
        ),
    };
    for wrong in [long, other_kind] {
        assert!(matches!(checked.store.search(&wrong, &options), Err(SearchError::Vector(_))));
        let batch = [StoreChange::delete(1), StoreChange::upsert(2, wrong, ())];
        assert!(matches!(checked.store.apply(batch), Err(ApplyError::Vector { position: 1, .. })));
    }
    checked.check_all();
}

/// What is not a number is refused before it gets anywhere.
fn not_finite(checked: &mut Checked) {
    checked.upsert((0..10).map(|id| (id, coordinates(id))));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let coordinates = [0.0, 1.0, bad, 0.0, 0.0, 0.0];
        assert!(StoredVector::try_from(&coordinates[..]).is_err());
        assert!(SparseVector::new(&[1, 2], &[1.0, bad], DIMENSION).is_err());
        if checked.kind.spec.kind.vector_kind() == VectorKind::Dense {
            let error = SearchError::Vector(VectorError::NotFinite);
            assert_eq!(checked.store.search(&coordinates, &SearchOptions::new(1)), Err(error));
        }
    }
    checked.check_all();
}

/// One test for each case and kind.
macro_rules! conformance {
    ($($name:ident: $spec:ident($metric:ident $(, $params:expr)?), $points:literal points;)*) => {$(
        mod $name {
            use super::*;

            fn kind() -> Kind {
                let spec = IndexSpec::$spec(Metric::$metric, DIMENSION $(, $params)?);
                Kind { spec, points: $points }
            }

            conformance!(@cases empty, one_point, k_out_of_range, ties_go_to_the_smaller_id, duplicates, updates,
                deletions_and_reinsertions, zero_vector, batch_equals_single, deadline, wrong_vectors, not_finite);
        }
    )*};
    (@cases $($case:ident),*) => {$(
        #[test]
        fn $case() {
            with_every_instruction_set(kind(), super::$case);
        }
    )*};
}

/// A graph that is made in little time.
const GRAPH: HnswParams =
    HnswParams { m: 4, ef_construction: 12, ef_search: 40, memory: MemoryMode::Balanced };

// Dense indexes of 4,096 points and more search by codes, or in a graph, and sparse ones of some hundreds by windows of lists.
conformance! {
    flat_l2: flat(L2), 0 points;
    flat_inner_product: flat(InnerProduct), 0 points;
    flat_cosine: flat(Cosine), 0 points;
    coded_l2: flat(L2), 5000 points;
    coded_inner_product: flat(InnerProduct), 5000 points;
    coded_cosine: flat(Cosine), 5000 points;
    hnsw_l2: hnsw(L2, HnswParams::default()), 0 points;
    hnsw_inner_product: hnsw(InnerProduct, HnswParams::default()), 0 points;
    hnsw_cosine: hnsw(Cosine, HnswParams::default()), 0 points;
    graph_l2: hnsw(L2, GRAPH), 5000 points;
    graph_inner_product: hnsw(InnerProduct, GRAPH), 5000 points;
    graph_cosine: hnsw(Cosine, GRAPH), 5000 points;
    inverted_inner_product: inverted(InnerProduct), 0 points;
    inverted_cosine: inverted(Cosine), 0 points;
    inverted_jaccard: inverted(JaccardBinary), 0 points;
    windows_inner_product: inverted(InnerProduct), 5000 points;
    windows_cosine: inverted(Cosine), 5000 points;
    windows_jaccard: inverted(JaccardBinary), 5000 points;
    approximate_cosine: inverted_approximate(Cosine), 5000 points;
}
