//! A graph that is changed and searched by threads that do other work, too.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::channel;
use std::time::Duration;

use rayon::prelude::*;
use vektonn_index::{HnswParams, IndexStore, Metric, SearchOptions, StoreChange};

/// Enough for a graph.
const POINTS: u32 = 5_000;
const BATCH: u32 = 50;
/// Shorter than a batch takes: so some threads have nothing to do, and then work comes.
const PAUSE: Duration = Duration::from_micros(500);
const FAR_TOO_LONG: Duration = Duration::from_secs(120);

fn change(id: u32) -> StoreChange<u32> {
    let mut random = fastrand::Rng::with_seed(id.into());
    let coordinates: Vec<f32> = (0..8).map(|_| random.f32()).collect();
    StoreChange::upsert(id, coordinates.try_into().unwrap(), ())
}

/// A thread of a pool that waits for a part of its work does other work of the pool meanwhile. If it holds the index's lock, that must not
/// be another change of the index.
#[test]
fn threads_of_a_pool_change_one_graph() {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let store = &IndexStore::hnsw(Metric::L2, 8, HnswParams::default()).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        // Twice: there must be a graph, and then changes of it.
        for _ in 0..2 {
            pool.in_place_scope(|scope| {
                for first in (0..POINTS).step_by(BATCH as usize) {
                    scope.spawn(move |_| store.apply((first..first + BATCH).map(change)).unwrap());
                    std::thread::sleep(PAUSE);
                }
            });
        }
        pool.install(|| {
            (0..POINTS).into_par_iter().step_by(7).for_each(|id| {
                let point = store.get(&id, |hit| hit.vector()).unwrap();
                let found = store.search(&point, &SearchOptions::new(1)).unwrap();
                assert_eq!(found[0].distance, 0.0);
            });
        });
        sender.send(store.len()).unwrap();
    });
    assert_eq!(receiver.recv_timeout(FAR_TOO_LONG), Ok(POINTS as usize));
}
