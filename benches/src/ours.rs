//! Our index as a contender, through the public API alone.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use rayon::ThreadPool;
use vektonn_index::{
    HnswParams, IndexStore, Metric, Neighbor, SearchOptions, SparseVector, StoreChange, StoredVector,
};

use crate::affinity;
use crate::contest::{Built, Contender, Elapsed, Search, Turn};
use crate::datasets::{DenseSet, SparseSet, sparse};
use crate::formats::csr::SparseRows;
use crate::matrix::Matrix;

/// Points in one batch of changes, as a follower of Kafka applies them.
const CHANGES: usize = 512;

/// An index with the rows' numbers as ids.
pub(crate) struct Ours<'s> {
    store: Arc<IndexStore<u32>>,
    queries: Queries<'s>,
    /// By cores.
    pools: HashMap<Vec<usize>, ThreadPool>,
    cores: Vec<usize>,
}

#[derive(Clone)]
enum Queries<'s> {
    Dense(&'s Matrix),
    /// One at a time, and all.
    Sparse(Vec<SparseVector>, &'s SparseRows),
}

impl Queries<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Dense(matrix) => matrix.len(),
            Self::Sparse(vectors, _) => vectors.len(),
        }
    }
}

/// Settings are `ef` of graphs, `approximation` of sparse indexes.
fn options(search: &Search) -> SearchOptions {
    let mut options = SearchOptions::new(search.k);
    if let Some(ef) = search.setting["ef"].as_u64() {
        options = options.ef_search(ef as usize);
    }
    if let Some(share) = search.setting["approximation"].as_f64() {
        options = options.approximation(share as f32);
    }
    options
}

type Found = Vec<Neighbor<u32>>;

impl<'s> Ours<'s> {
    /// An exact index of all vectors of a set.
    pub(crate) fn exact(set: &'s DenseSet, metric: Metric) -> Result<Self> {
        let store = IndexStore::dense(metric, set.base.dimension())?;
        fill(&store, set.base.len(), |row| Ok(StoredVector::try_from(set.base.row(row))?))?;
        Self::new(store, Queries::Dense(&set.queries))
    }

    /// An exact index of all vectors of a set.
    pub(crate) fn sparse(set: &'s SparseSet, metric: Metric) -> Result<Self> {
        let store = IndexStore::sparse(metric, set.base.cols())?;
        fill(&store, set.base.rows(), |row| Ok(sparse::row(&set.base, row)?.into()))?;
        let queries = (0..set.queries.rows()).map(|query| sparse::row(&set.queries, query));
        Self::new(store, Queries::Sparse(queries.collect::<Result<_>>()?, &set.queries))
    }

    /// A graph of all vectors of a set, built by a thread on each of these cores.
    pub(crate) fn hnsw(
        set: &'s DenseSet,
        metric: Metric,
        params: HnswParams,
        cores: &[usize],
    ) -> Result<(Self, Built)> {
        let all: Vec<u32> = (0..set.base.len() as u32).collect();
        Self::hnsw_of(set, metric, params, cores, &all)
    }

    /// The same of some rows of a set.
    pub(crate) fn hnsw_of(
        set: &'s DenseSet,
        metric: Metric,
        params: HnswParams,
        cores: &[usize],
        rows: &[u32],
    ) -> Result<(Self, Built)> {
        let store = IndexStore::hnsw(metric, set.base.dimension(), params)?;
        let mut ours = Self::new(store, Queries::Dense(&set.queries))?;
        ours.use_cores(cores)?;
        let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
        let build = || -> Result<()> {
            for rows in rows.chunks(CHANGES) {
                let changes = rows.iter().map(|&row| upsert(row, set.base.row(row as usize)));
                ours.store.apply(changes.collect::<Result<Vec<_>>>()?)?;
            }
            Ok(())
        };
        // The index has threads of its own for what it builds in parallel. They are where this thread is.
        if cores.len() == 1 {
            ours.pool()?.install(build)?
        } else {
            build()?
        }
        let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
        // This process has memory of earlier indexes to use again: a process of its own tells what one takes.
        Ok((ours, Built { wall_s, cpu_s, bytes: f64::NAN, peak_bytes: f64::NAN }))
    }

    /// The same index once more, to take part with other settings.
    pub(crate) fn again(&self) -> Result<Self> {
        let mut ours =
            Self { store: self.store(), queries: self.queries.clone(), pools: HashMap::new(), cores: vec![] };
        ours.use_cores(&affinity::cores()?)?;
        Ok(ours)
    }

    fn new(store: IndexStore<u32>, queries: Queries<'s>) -> Result<Self> {
        let mut ours = Self { store: Arc::new(store), queries, pools: HashMap::new(), cores: vec![] };
        ours.use_cores(&affinity::cores()?)?;
        Ok(ours)
    }

    fn one(&self, query: usize, options: &SearchOptions) -> Result<Found> {
        Ok(match &self.queries {
            Queries::Dense(matrix) => self.store.search(matrix.row(query), options)?,
            Queries::Sparse(vectors, _) => self.store.search(&vectors[query], options)?,
        })
    }

    /// On all threads of the current pool.
    fn several(&self, first: usize, count: usize, options: &SearchOptions) -> Result<Vec<Found>> {
        Ok(match &self.queries {
            Queries::Dense(matrix) => self.store.search_batch(matrix.block(first, count), options)?,
            Queries::Sparse(_, matrix) => {
                self.store.search_batch_sparse(matrix.slice_outer(first..first + count), options)?
            }
        })
    }

    /// What is searched.
    pub(crate) fn store(&self) -> Arc<IndexStore<u32>> {
        Arc::clone(&self.store)
    }

    fn pool(&self) -> Result<&ThreadPool> {
        self.pools.get(&self.cores).context("no cores were chosen")
    }
}

/// Adds rows in batches, with their numbers as ids.
fn fill(store: &IndexStore<u32>, rows: usize, vector: impl Fn(usize) -> Result<StoredVector>) -> Result<()> {
    let all: Vec<usize> = (0..rows).collect();
    for rows in all.chunks(CHANGES) {
        let changes = rows.iter().map(|&row| Ok(StoreChange::upsert(row as u32, vector(row)?, ())));
        store.apply(changes.collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}

/// A change that adds a row, or replaces it.
pub(crate) fn upsert(id: u32, row: &[f32]) -> Result<StoreChange<u32>> {
    Ok(StoreChange::upsert(id, StoredVector::try_from(row)?, ()))
}

impl Contender for Ours<'_> {
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        self.cores = cores.to_vec();
        if !self.pools.contains_key(cores) {
            self.pools.insert(cores.to_vec(), affinity::pool(cores)?);
        }
        affinity::pin(cores)
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        let calls = turn.calls(self.queries.len());
        let options = options(turn.search);
        // Inside of the pool, so that whatever a search runs in parallel stays on its threads.
        self.pool()?.install(|| {
            let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
            for &(first, count) in &calls {
                if turn.search.together == 1 && self.cores.len() == 1 {
                    black_box(self.one(first, &options)?);
                } else {
                    black_box(self.several(first, count, &options)?);
                }
            }
            let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
            Ok(Elapsed { queries: calls.iter().map(|call| call.1).sum(), wall_s, cpu_s })
        })
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let options = options(search);
        let mut ids = vec![];
        let mut add = |found: Found| {
            let found = found.into_iter().map(|neighbor| neighbor.id as i32);
            ids.extend(found.chain(std::iter::repeat(-1)).take(search.k));
        };
        for first in (0..self.queries.len()).step_by(search.together) {
            if search.together == 1 {
                add(self.one(first, &options)?);
            } else {
                let count = search.together.min(self.queries.len() - first);
                self.pool()?.install(|| self.several(first, count, &options))?.into_iter().for_each(&mut add);
            }
        }
        Ok(ids)
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        let options = options(turn.search);
        let calls = turn.calls(self.queries.len());
        self.pool()?.install(|| {
            let timed = |&(first, _): &(usize, usize)| {
                let started = Instant::now();
                black_box(self.one(first, &options)?);
                Ok(started.elapsed().as_secs_f64())
            };
            calls.iter().map(timed).collect()
        })
    }

    fn call_overhead(&mut self, _k: usize) -> Result<f64> {
        Ok(0.0)
    }
}
