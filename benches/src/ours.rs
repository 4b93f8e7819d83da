//! Our index as a contender, through the public API alone.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange, StoredVector};

use crate::affinity;
use crate::contest::{Contender, Elapsed, Search, Turn};
use crate::datasets::DenseSet;
use crate::matrix::Matrix;

/// Points in one batch of changes, as a follower of Kafka applies them.
const CHANGES: usize = 512;

/// An index with the rows' numbers as ids.
pub(crate) struct Ours<'s> {
    store: Arc<IndexStore<u32>>,
    queries: &'s Matrix,
    /// By cores.
    pools: HashMap<Vec<usize>, ThreadPool>,
    cores: Vec<usize>,
}

impl<'s> Ours<'s> {
    /// An exact index of all vectors of a set.
    pub(crate) fn exact(set: &'s DenseSet, metric: Metric) -> Result<Self> {
        let store = IndexStore::dense(metric, set.base.dimension())?;
        let all: Vec<usize> = (0..set.base.len()).collect();
        for rows in all.chunks(CHANGES) {
            let changes = rows.iter().map(|&row| upsert(row as u32, set.base.row(row)));
            store.apply(changes.collect::<Result<Vec<_>>>()?)?;
        }
        let mut ours =
            Self { store: Arc::new(store), queries: &set.queries, pools: HashMap::new(), cores: vec![] };
        ours.use_cores(&affinity::cores()?)?;
        Ok(ours)
    }

    /// What is searched.
    pub(crate) fn store(&self) -> Arc<IndexStore<u32>> {
        Arc::clone(&self.store)
    }

    fn pool(&self) -> Result<&ThreadPool> {
        self.pools.get(&self.cores).context("no cores were chosen")
    }

    /// First query and number of queries of each call of a turn.
    fn calls(&self, turn: &Turn<'_>) -> Vec<(usize, usize)> {
        let together = turn.search.together.min(self.queries.len());
        let starts = self.queries.len() / together;
        let call = |call: usize| ((turn.first / together + call) % starts * together, together);
        (0..turn.queries.div_ceil(together)).map(call).collect()
    }
}

/// A change that adds a row, or replaces it.
pub(crate) fn upsert(id: u32, row: &[f32]) -> Result<StoreChange<u32>> {
    Ok(StoreChange::upsert(id, StoredVector::try_from(row)?, ()))
}

impl Contender for Ours<'_> {
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        self.cores = cores.to_vec();
        if !self.pools.contains_key(cores) {
            let of_thread = cores.to_vec();
            let pool = ThreadPoolBuilder::new()
                .num_threads(cores.len())
                // A machine that refuses shows it when the caller is pinned; here nothing can be answered.
                .start_handler(move |thread| drop(affinity::pin(&of_thread[thread..=thread])))
                .build()?;
            self.pools.insert(cores.to_vec(), pool);
        }
        affinity::pin(cores)
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        let calls = self.calls(turn);
        let options = SearchOptions::new(turn.search.k);
        // Inside of the pool, so that whatever a search runs in parallel stays on its threads.
        self.pool()?.install(|| {
            let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
            for &(first, count) in &calls {
                if turn.search.together == 1 {
                    black_box(self.store.search(self.queries.row(first), &options)?);
                } else {
                    black_box(self.store.search_batch(self.queries.block(first, count), &options)?);
                }
            }
            let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
            Ok(Elapsed { queries: calls.iter().map(|call| call.1).sum(), wall_s, cpu_s })
        })
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let options = SearchOptions::new(search.k);
        let mut ids = vec![];
        let mut add = |found: Vec<vektonn_index::Neighbor<u32>>| {
            let found = found.into_iter().map(|neighbor| neighbor.item as i32);
            ids.extend(found.chain(std::iter::repeat(-1)).take(search.k));
        };
        for first in (0..self.queries.len()).step_by(search.together) {
            if search.together == 1 {
                add(self.store.search(self.queries.row(first), &options)?);
            } else {
                let count = search.together.min(self.queries.len() - first);
                let block = self.queries.block(first, count);
                self.pool()?
                    .install(|| self.store.search_batch(block, &options))?
                    .into_iter()
                    .for_each(&mut add);
            }
        }
        Ok(ids)
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        let options = SearchOptions::new(turn.search.k);
        let calls = self.calls(turn);
        self.pool()?.install(|| {
            let timed = |&(first, _): &(usize, usize)| {
                let started = Instant::now();
                black_box(self.store.search(self.queries.row(first), &options)?);
                Ok(started.elapsed().as_secs_f64())
            };
            calls.iter().map(timed).collect()
        })
    }

    fn call_overhead(&mut self, _k: usize) -> Result<f64> {
        Ok(0.0)
    }
}
