//! The index store against the simplest correct thing: a map of all points, scanned and sorted.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use vektonn_index::faer::mat;
use vektonn_index::{
    IndexSpec, IndexStore, Metric, Query, SearchOptions, SparseVector, StoreChange, StoredVector, VectorKind,
    View,
};

const DIMENSION: usize = 5;

/// Few ids and few distinct coordinates, so that updates, ties and equal distances are common.
type Model = BTreeMap<u8, (StoredVector, u32)>;

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(u8, Option<Vec<f32>>)>),
    Search { query: Vec<f32>, k: usize },
}

fn coordinates() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(prop_oneof![3 => (-2..3i8).prop_map(f32::from), 1 => -10.0..10.0f32], DIMENSION)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..40u8, proptest::option::weighted(0.7, coordinates()));
    let apply = proptest::collection::vec(change, 0..30).prop_map(Step::Apply);
    let search = (coordinates(), 1..50usize).prop_map(|(query, k)| Step::Search { query, k });
    proptest::collection::vec(prop_oneof![apply, search], 1..30)
}

fn stored(kind: VectorKind, coordinates: &[f32]) -> StoredVector {
    match kind {
        VectorKind::Dense => StoredVector::try_from(coordinates).unwrap(),
        VectorKind::Sparse => {
            let (indices, values): (Vec<u32>, Vec<f32>) =
                (0u32..).zip(coordinates.iter().copied()).filter(|&(_, value)| value != 0.0).unzip();
            StoredVector::Sparse(SparseVector::new(&indices, &values, DIMENSION).unwrap())
        }
    }
}

fn dense(vector: &StoredVector) -> Vec<f64> {
    match vector {
        StoredVector::Dense(vector) => vector.as_slice().iter().map(|&x| f64::from(x)).collect(),
        StoredVector::Sparse(vector) => {
            let mut dense = vec![0.0; DIMENSION];
            for (&index, &value) in vector.indices().iter().zip(vector.values()) {
                dense[index as usize] = f64::from(value);
            }
            dense
        }
    }
}

fn naive_distance(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 { a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum() };
    match metric {
        Metric::L2 => sum(&|a, b| (a - b) * (a - b)),
        Metric::InnerProduct => -sum(&|a, b| a * b),
        Metric::Cosine => {
            let norms = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
            if norms == 0.0 { 1.0 } else { 1.0 - sum(&|a, b| a * b) / norms }
        }
        Metric::JaccardBinary => {
            let both = sum(&|a, b| f64::from(a != 0.0 && b != 0.0));
            let any = sum(&|a, b| f64::from(a != 0.0 || b != 0.0));
            if any == 0.0 { 1.0 } else { 1.0 - both / any }
        }
    }
}

fn store<Id: Ord + Hash>(kind: VectorKind, metric: Metric) -> IndexStore<Id, u32> {
    IndexStore::new(match kind {
        VectorKind::Dense => IndexSpec::flat(metric, DIMENSION),
        VectorKind::Sparse => IndexSpec::inverted(metric, DIMENSION),
    })
    .unwrap()
}

/// Applies the steps to a store and to the model, and compares every search.
fn agree(kind: VectorKind, metric: Metric, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let store = store(kind, metric);
    let mut model = Model::new();
    let mut version = 0;
    for step in steps {
        match step {
            Step::Apply(changes) => {
                let changes = changes.into_iter().map(|(id, coordinates)| {
                    version += 1;
                    match coordinates {
                        Some(coordinates) => {
                            let vector = stored(kind, &coordinates);
                            model.insert(id, (vector.clone(), version));
                            StoreChange::upsert(id, vector, version)
                        }
                        None => {
                            model.remove(&id);
                            StoreChange::delete(id)
                        }
                    }
                });
                store.apply(changes.collect::<Vec<_>>()).unwrap();
                prop_assert_eq!(store.len(), model.len());
                for id in 0..40 {
                    let found = store.get(&id, |point| (point.vector(), *point.payload));
                    prop_assert_eq!(found.as_ref(), model.get(&id));
                }
            }
            Step::Search { query, k } => {
                let query = stored(kind, &query);
                compare(metric, &store, &model, &query, k)?;
            }
        }
    }
    let view = store.view();
    let mut all: Vec<_> = view.iter().map(|point| (*point.id, (point.vector(), *point.payload))).collect();
    all.sort_by_key(|(id, _)| *id);
    prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    Ok(())
}

fn compare(
    metric: Metric,
    store: &IndexStore<u8, u32>,
    model: &Model,
    query: &StoredVector,
    k: usize,
) -> Result<(), TestCaseError> {
    let view = store.view();
    let found = view.search(Query::from(query), &SearchOptions::new(k)).unwrap();
    prop_assert_eq!(found.len(), k.min(model.len()));

    // The order is exactly (distance, id), and every hit is the point of its id.
    let order: Vec<_> = found.iter().map(|hit| (hit.distance, *hit.id)).collect();
    prop_assert!(order.is_sorted(), "{order:?}");
    for hit in &found {
        prop_assert_eq!(&(hit.vector(), *hit.payload), &model[hit.id]);
    }

    // Its distances are those of the naive scan, but for rounding to f32.
    let query = dense(query);
    let mut naive: Vec<f64> =
        model.values().map(|(vector, _)| naive_distance(metric, &query, &dense(vector))).collect();
    naive.sort_by(f64::total_cmp);
    for (hit, naive) in found.iter().zip(naive) {
        let slack = 1e-5 * (1.0 + naive.abs());
        prop_assert!((f64::from(hit.distance) - naive).abs() <= slack, "{} is not {naive}", hit.distance);
    }

    // No closer point was left out: with all points asked for, the first k are the same ones.
    let all = view
        .search(
            Query::from(&stored_from(&query, store.spec().kind.vector_kind())),
            &SearchOptions::new(usize::MAX),
        )
        .unwrap();
    let first: Vec<_> = all.iter().take(k).map(|hit| (hit.distance, *hit.id)).collect();
    prop_assert_eq!(first, order);
    Ok(())
}

fn stored_from(coordinates: &[f64], kind: VectorKind) -> StoredVector {
    stored(kind, &coordinates.iter().map(|&x| x as f32).collect::<Vec<_>>())
}

macro_rules! models {
    ($($name:ident: $kind:ident, $metric:ident;)*) => {$(
        proptest! {
            #[test]
            fn $name(steps in steps()) {
                agree(VectorKind::$kind, Metric::$metric, steps)?;
            }
        }
    )*};
}

models! {
    dense_l2_agrees_with_a_naive_scan: Dense, L2;
    dense_inner_product_agrees_with_a_naive_scan: Dense, InnerProduct;
    dense_cosine_agrees_with_a_naive_scan: Dense, Cosine;
    sparse_inner_product_agrees_with_a_naive_scan: Sparse, InnerProduct;
    sparse_cosine_agrees_with_a_naive_scan: Sparse, Cosine;
    sparse_jaccard_agrees_with_a_naive_scan: Sparse, JaccardBinary;
}

/// One point is replaced, one deleted, one added, and one left alone.
#[test]
fn a_view_answers_of_its_own_moment() {
    let store = IndexStore::dense(Metric::L2, 1).unwrap();
    let point = |id: u8, payload| StoreChange::upsert(id, [f32::from(id)].try_into().unwrap(), payload);
    let before = store.view();
    store.apply([point(1, "old"), point(2, "gone"), point(3, "same")]).unwrap();
    let view = store.view();
    store.apply([point(1, "new"), StoreChange::delete(2), point(4, "late")]).unwrap();
    let payloads = |view: &View<'_, u8, &'static str>| {
        let of = |id| view.get(&id).map(|point| *point.payload);
        ([1, 2, 3, 4].map(of), view.len(), view.is_empty())
    };
    assert_eq!(payloads(&before), ([None; 4], 0, true));
    assert_eq!(payloads(&view), ([Some("old"), Some("gone"), Some("same"), None], 3, false));
    assert_eq!(payloads(&store.view()), ([Some("new"), None, Some("same"), Some("late")], 3, false));

    let queries = mat![[1.0_f32], [2.0]];
    let found = view.search_batch(queries.as_ref(), &SearchOptions::new(1)).unwrap();
    let found: Vec<_> = found.iter().map(|hits| (*hits[0].id, *hits[0].payload)).collect();
    assert_eq!(found, [(1, "old"), (2, "gone")]);
    let found = store.search_batch(queries.as_ref(), &SearchOptions::new(1)).unwrap();
    assert_eq!(found.iter().map(|hits| hits[0].id).collect::<Vec<_>>(), [1, 1]);
}

/// Inner products of such vectors leave the range of f32, their cosines do not.
#[test]
fn cosine_of_very_long_and_very_short_vectors() {
    for scale in [1e-44, 1e-30, 1e-20, 1.0, 1e18, 1e25, 1e38] {
        let store = IndexStore::dense(Metric::Cosine, 2).unwrap();
        let point = |id, y: f32| StoreChange::upsert(id, [scale, y * scale].try_into().unwrap(), ());
        store.apply([point(1, 1.0), point(2, -1.0)]).unwrap();
        let found = store.search(&[2.0 * scale, 0.0], &SearchOptions::new(2)).unwrap();
        let expected = 1.0 - 0.5_f32.sqrt();
        assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), [1, 2], "at {scale}");
        assert!(found.iter().all(|it| (it.distance - expected).abs() < 0.05), "at {scale}: {found:?}");
    }
}

/// Every id is updated over and over in batches of all ids; a search must always see each id exactly once and
/// all of one batch.
#[test]
fn searches_during_updates_see_whole_batches() {
    whole_batches_are_seen(VectorKind::Dense);
}

/// The same where points wait in a tail and windows are made of them.
#[test]
fn searches_during_updates_of_sparse_points_see_whole_batches() {
    whole_batches_are_seen(VectorKind::Sparse);
}

fn whole_batches_are_seen(kind: VectorKind) {
    const IDS: u32 = 200;
    let store = store(kind, Metric::InnerProduct);
    let vector = |version: u32, id: u32| stored(kind, &[version as f32, id as f32, 1.0, 0.0, 0.0]);
    let batch = |version| (0..IDS).map(move |id| StoreChange::upsert(id, vector(version, id), version));
    let query = stored(kind, &[1.0; DIMENSION]);
    store.apply(batch(0)).unwrap();
    std::thread::scope(|scope| {
        let searchers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 300 {
                        let view = store.view();
                        let hits = view.search(&query, &SearchOptions::new(usize::MAX)).unwrap();
                        let mut ids: Vec<u32> = hits.iter().map(|hit| *hit.id).collect();
                        ids.sort_unstable();
                        assert!(ids.iter().copied().eq(0..IDS), "each id once");
                        let versions: Vec<u32> = hits.iter().map(|hit| *hit.payload).collect();
                        assert!(versions.iter().all(|&version| version == versions[0]), "one batch");
                        assert!(versions[0] >= last, "time goes on");
                        last = versions[0];
                    }
                })
            })
            .collect();
        let mut version = 0;
        while searchers.iter().any(|searcher| !searcher.is_finished()) {
            version += 1;
            store.apply(batch(version)).unwrap();
        }
    });
}

/// What was acknowledged before a search began is seen by it: an update, an insertion and a deletion in each batch, in an
/// index of few points and in one that has codes, which are made anew all the time.
#[test]
fn searches_see_what_was_acknowledged_before_they_began() {
    for points in [100, 6000] {
        let store = IndexStore::dense(Metric::L2, 2).unwrap();
        let random = |id: u32, salt: u32| (id ^ salt).wrapping_mul(0x9e37_79b9) as f32 / 1e9;
        let point = |id: u32, at: [f32; 2], version| StoreChange::upsert(id, at.try_into().unwrap(), version);
        store.apply((1..points).map(|id| point(id, [random(id, 0), 0.0], 0))).unwrap();
        // Far from all others: point 0, which every batch updates, and those that a batch brings and a later one deletes.
        let (updated, inserted) = ([0.0, 1e3], [0.0, -1e3]);
        let batch = |version: u32| {
            let moved = (1..40).map(|i| (version * 40 + i) * 7919 % (points - 1) + 1);
            let moved = moved.map(move |id| point(id, [random(id, version), 0.0], version));
            let deleted = (version > 10).then(|| StoreChange::delete(points + version - 10));
            let new = [point(0, updated, version), point(points + version, inserted, version)];
            moved.chain(new).chain(deleted).collect::<Vec<_>>()
        };
        let acknowledged = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let search = || {
                let mut last = 0;
                while last < 400 {
                    let before = acknowledged.load(Ordering::SeqCst);
                    let view = store.view();
                    let hits = |query: &[f32; 2], k| view.search(query, &SearchOptions::new(k)).unwrap();
                    last = *hits(&updated, 1)[0].payload;
                    assert!(last >= before, "{before} was acknowledged, {last} is seen");
                    let found = hits(&inserted, 11);
                    let mut versions: Vec<u32> =
                        found.iter().filter(|hit| hit.distance == 0.0).map(|hit| *hit.payload).collect();
                    versions.sort_unstable();
                    assert!(versions.into_iter().eq(last.saturating_sub(9).max(1)..=last), "of {last}");
                }
            };
            let searchers = [scope.spawn(search), scope.spawn(search)];
            for version in 1.. {
                store.apply(batch(version)).unwrap();
                acknowledged.store(version, Ordering::SeqCst);
                if searchers.iter().all(|searcher| searcher.is_finished()) {
                    return;
                }
            }
        });
    }
}
