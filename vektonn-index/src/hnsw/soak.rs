//! Mixed load for minutes: `cargo xtask soak`.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use parking_lot::Mutex;
use vektonn_core::{DenseVector, HnswParams, Metric};

use crate::index_store::{IndexStore, StoreChange};
use crate::options::SearchOptions;

const IDS: u32 = 40_000;
const DIMENSION: usize = 24;
const CLUSTERS: u64 = 50;
const BATCH_MAX: usize = 300;
const K: usize = 10;
/// Which part of the ids is alive, most of the time.
const ALIVE: f64 = 0.6;
const CHECKED_EVERY: Duration = Duration::from_secs(20);

/// What the writers have acknowledged, by id: the version, or nothing.
struct Truth {
    versions: Mutex<Vec<Option<u32>>>,
    applied: AtomicUsize,
    searches: AtomicUsize,
}

fn vector(random: &mut Rng) -> DenseVector {
    let mut center = Rng::with_seed(random.u64(..CLUSTERS));
    let coordinates = (0..DIMENSION).map(|_| center.f32() + 0.3 * random.f32()).collect::<Vec<_>>();
    DenseVector::new(coordinates).unwrap()
}

/// Upserts and deletes in batches of any size; sometimes a whole range of ids goes at once.
fn write(store: &IndexStore<u32, u32>, truth: &Truth, random: &mut Rng) {
    let first = random.u32(..IDS);
    let goes_at_once = random.u8(..) == 0;
    let count = if goes_at_once { IDS / 4 } else { random.usize(1..BATCH_MAX) as u32 };
    // One writer at a time, so that the last acknowledged version of an id is known.
    let mut versions = truth.versions.lock();
    let mut changes = vec![];
    for i in 0..count {
        let id = if goes_at_once { (first + i) % IDS } else { random.u32(..IDS) };
        let version = truth.applied.fetch_add(1, Ordering::Relaxed) as u32;
        let is_upsert = !goes_at_once && random.f64() < ALIVE;
        versions[id as usize] = is_upsert.then_some(version);
        changes.push(if is_upsert {
            StoreChange::upsert(id, vector(random).into(), version)
        } else {
            StoreChange::delete(id)
        });
    }
    store.apply(changes).unwrap();
}

/// What is found is alive in the view, each id once, nearest first, and as many as are asked for; time goes on.
fn search(store: &IndexStore<u32, u32>, truth: &Truth, random: &mut Rng) {
    let options = SearchOptions::new(K).ef_search(random.usize(K..100));
    let view = store.view();
    let hits = view.search(vector(random).as_slice(), &options).unwrap();
    assert!(hits.len() == K || store.len() < 2 * K, "{} found", hits.len());
    assert!(hits.is_sorted_by(|a, b| (a.distance, a.id) < (b.distance, b.id)));
    let mut ids: Vec<u32> = hits.iter().map(|hit| *hit.id).collect();
    ids.sort_unstable();
    assert!(ids.is_sorted_by(|a, b| a < b), "an id twice: {ids:?}");
    truth.searches.fetch_add(1, Ordering::Relaxed);
}

/// Nobody writes: the store holds what was acknowledged, and its graph is whole.
fn check(store: &IndexStore<u32, u32>, truth: &Truth) {
    let versions = truth.versions.lock();
    let mut found = vec![None; IDS as usize];
    for hit in store.view().iter() {
        assert_eq!(found[*hit.id as usize].replace(*hit.payload), None, "{} is there twice", hit.id);
    }
    assert!(found == *versions, "what is alive is not what was acknowledged");
    store.check_graph().unwrap();
}

#[test]
#[ignore = "takes as many minutes as VEKTONN_SOAK_MINUTES says: cargo xtask soak"]
fn soak() {
    let minutes =
        std::env::var("VEKTONN_SOAK_MINUTES").map_or(1.0, |minutes| minutes.parse::<f64>().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let params = HnswParams { m: 8, ef_construction: 60, ef_search: 40, ..HnswParams::default() };
    let store = IndexStore::<u32, u32>::hnsw(Metric::L2, DIMENSION, params).unwrap();
    let truth = Truth {
        versions: Mutex::new(vec![None; IDS as usize]),
        applied: AtomicUsize::new(0),
        searches: AtomicUsize::new(0),
    };
    let mut checks = 0;
    while Instant::now() < end {
        let round_end = end.min(Instant::now() + CHECKED_EVERY);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, truth) = (&store, &truth);
                scope.spawn(move || {
                    let mut random = Rng::with_seed(checks * 4 + thread);
                    let work = if thread < 2 { write } else { search };
                    while Instant::now() < round_end {
                        work(store, truth, &mut random);
                    }
                });
            }
        });
        check(&store, &truth);
        checks += 1;
    }
    println!(
        "{} changes, {} searches, {} points, {checks} checks of the whole graph",
        truth.applied.load(Ordering::Relaxed),
        truth.searches.load(Ordering::Relaxed),
        store.len()
    );
}
