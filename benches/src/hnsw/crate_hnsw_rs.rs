//! The crate hnsw_rs, in this process.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use hnsw_rs::prelude::{DistCosine, DistL2, Distance, Hnsw, Neighbour};
use vektonn_index::Metric;

use super::PARAMS;
use crate::affinity;
use crate::contest::{Built, Contender, Elapsed, Search, Turn};
use crate::datasets::DenseSet;

const LAYERS_MAX: usize = 16;
/// More vectors take one core the better part of an hour.
const ROWS_MAX: usize = 200_000;

/// An index with the rows' numbers as ids.
struct HnswRs<'s, D: Distance<f32> + Send + Sync> {
    set: &'s DenseSet,
    index: Hnsw<'static, f32, D>,
}

/// Builds on one core. The crate has no inner product of vectors of any length.
///
/// # Errors
/// It cannot take part, and why.
pub(super) fn build<'s>(
    set: &'s DenseSet,
    metric: Metric,
    core: &[usize],
) -> Result<(Box<dyn Contender + 's>, Built)> {
    if set.base.len() > ROWS_MAX {
        bail!("one core would build it for the better part of an hour");
    }
    affinity::pin(core)?;
    let before = affinity::resident_bytes()?;
    let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
    let contender: Box<dyn Contender + 's> = match metric {
        Metric::L2 => Box::new(HnswRs::new(set, DistL2 {})),
        Metric::Cosine => Box::new(HnswRs::new(set, DistCosine {})),
        _ => bail!("hnsw_rs has no {metric:?} of these vectors"),
    };
    let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
    let bytes = affinity::resident_bytes()? - before;
    Ok((contender, Built { wall_s, cpu_s, bytes, peak_bytes: f64::NAN }))
}

impl<'s, D: Distance<f32> + Send + Sync> HnswRs<'s, D> {
    fn new(set: &'s DenseSet, distance: D) -> Self {
        let (m, ef) = (PARAMS.m as usize, PARAMS.ef_construction as usize);
        let index = Hnsw::new(m, set.base.len(), LAYERS_MAX, ef, distance);
        (0..set.base.len()).for_each(|row| index.insert((set.base.row(row), row)));
        Self { set, index }
    }

    fn query(&self, query: usize, search: &Search) -> Vec<Neighbour> {
        let ef = search.setting["ef"].as_u64().unwrap_or_default() as usize;
        let query = self.set.queries.row(query % self.set.queries.len());
        self.index.search(query, search.k, ef.max(search.k))
    }
}

impl<D: Distance<f32> + Send + Sync> Contender for HnswRs<'_, D> {
    /// Always one thread: it searches one query at a time.
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        affinity::pin(&cores[..1])
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
        for query in turn.first..turn.first + turn.queries {
            black_box(self.query(query, turn.search));
        }
        let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
        Ok(Elapsed { queries: turn.queries, wall_s, cpu_s })
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let mut ids = vec![];
        for query in 0..self.set.queries.len() {
            let found = self.query(query, search).into_iter().map(|neighbor| neighbor.d_id as i32);
            ids.extend(found.chain(std::iter::repeat(-1)).take(search.k));
        }
        Ok(ids)
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        let timed = |query: usize| {
            let started = Instant::now();
            black_box(self.query(query, turn.search));
            started.elapsed().as_secs_f64()
        };
        Ok((turn.first..turn.first + turn.queries).map(timed).collect())
    }

    fn call_overhead(&mut self, _k: usize) -> Result<f64> {
        Ok(0.0)
    }
}
