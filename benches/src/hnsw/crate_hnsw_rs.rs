//! The crate hnsw_rs, in this process.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use hnsw_rs::prelude::{DistDot, DistL2, Distance, Hnsw, Neighbour};
use rayon::ThreadPool;
use vektonn_index::Metric;

use super::PARAMS;
use crate::affinity;
use crate::contest::{Built, Contender, Elapsed, Search, Turn};
use crate::datasets::DenseSet;

const LAYERS_MAX: usize = 16;
/// More vectors take one core the better part of an hour.
const ROWS_MAX: usize = 200_000;
/// `DistDot` panics where rounding makes a product larger than 1.000002: vectors are a little shorter than 1, in the same order.
const LENGTH: f32 = 0.99999;

/// An index with the rows' numbers as ids.
struct HnswRs<D: Distance<f32> + Send + Sync + 'static> {
    index: Hnsw<'static, f32, D>,
    queries: Vec<Vec<f32>>,
    pool: ThreadPool,
}

/// Builds on one core. The crate has no inner product of vectors of any length; its cosine is that of vectors of length 1, for what it
/// calls cosine adds up norms again and again, without SIMD.
///
/// # Errors
/// It cannot take part, and why.
pub(super) fn build(set: &DenseSet, metric: Metric, core: &[usize]) -> Result<(Box<dyn Contender>, Built)> {
    ensure!(set.base.len() <= ROWS_MAX, "one core would build it for the better part of an hour");
    affinity::pin(core)?;
    match metric {
        Metric::L2 => HnswRs::build(set, DistL2 {}, <[f32]>::to_vec),
        Metric::Cosine => HnswRs::build(set, DistDot {}, normalized),
        _ => bail!("hnsw_rs has no {metric:?} of these vectors"),
    }
}

fn normalized(row: &[f32]) -> Vec<f32> {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32;
    row.iter().map(|x| if norm > 0.0 { x / norm * LENGTH } else { 0.0 }).collect()
}

impl<D: Distance<f32> + Send + Sync + 'static> HnswRs<D> {
    fn build(
        set: &DenseSet,
        distance: D,
        convert: fn(&[f32]) -> Vec<f32>,
    ) -> Result<(Box<dyn Contender>, Built)> {
        let (m, ef) = (PARAMS.m as usize, PARAMS.ef_construction as usize);
        let rows: Vec<_> = set.base.rows().map(convert).collect();
        let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
        let index = Hnsw::new(m, rows.len(), LAYERS_MAX, ef, distance);
        rows.iter().enumerate().for_each(|(id, row)| index.insert((row, id)));
        let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
        // This process has memory of earlier indexes to use again: what this one takes cannot be seen.
        let built = Built { wall_s, cpu_s, bytes: f64::NAN, peak_bytes: f64::NAN };
        let queries = set.queries.rows().map(convert).collect();
        Ok((Box::new(Self { index, queries, pool: affinity::pool(&affinity::cores()?)? }), built))
    }

    fn one(&self, query: usize, search: &Search) -> Vec<Neighbour> {
        self.index.search(&self.queries[query], search.k, ef(search))
    }

    fn several(&self, first: usize, count: usize, search: &Search) -> Vec<Vec<Neighbour>> {
        let queries = &self.queries[first..first + count];
        self.pool.install(|| self.index.parallel_search(queries, search.k, ef(search)))
    }
}

fn ef(search: &Search) -> usize {
    (search.setting["ef"].as_u64().unwrap_or_default() as usize).max(search.k)
}

impl<D: Distance<f32> + Send + Sync + 'static> Contender for HnswRs<D> {
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        self.pool = affinity::pool(cores)?;
        affinity::pin(cores)
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        let calls = turn.calls(self.queries.len());
        let (started, cpu) = (Instant::now(), affinity::cpu_seconds());
        for &(first, count) in &calls {
            if turn.search.together == 1 {
                black_box(self.one(first, turn.search));
            } else {
                black_box(self.several(first, count, turn.search));
            }
        }
        let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), affinity::cpu_seconds() - cpu);
        Ok(Elapsed { queries: calls.iter().map(|call| call.1).sum(), wall_s, cpu_s })
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let queries = self.queries.len();
        let found: Vec<_> = if search.together == 1 {
            (0..queries).map(|query| self.one(query, search)).collect()
        } else {
            self.several(0, queries, search)
        };
        let ids = found.into_iter().flat_map(|found| {
            let ids = found.into_iter().map(|neighbor| neighbor.d_id as i32);
            ids.chain(std::iter::repeat(-1)).take(search.k)
        });
        Ok(ids.collect())
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        let timed = |(query, _): (usize, usize)| {
            let started = Instant::now();
            black_box(self.one(query, turn.search));
            started.elapsed().as_secs_f64()
        };
        Ok(turn.calls(self.queries.len()).into_iter().map(timed).collect())
    }

    fn call_overhead(&mut self, _k: usize) -> Result<f64> {
        Ok(0.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::datasets::Folders;
    use crate::formats::bin::write_fbin;
    use crate::matrix::Matrix;

    #[test]
    fn cosines_are_found_alone_and_in_batches() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { data: dir.path().into(), cache: dir.path().into() };
        // Many vectors that point the same way, whose products rounding can bring above 1.
        let mut random = fastrand::Rng::with_seed(1);
        let rows: Vec<Vec<f32>> = (0..300)
            .map(|i| (0..384).map(|j| random.f32() + if i % 3 == j % 3 { 3.0 } else { 0.0 }).collect())
            .collect();
        let path = dir.path().join("base.fbin");
        write_fbin(&path, &Matrix::new(384, rows.concat()).unwrap()).unwrap();
        let set = DenseSet::from_files(&path, &path, &folders).unwrap();
        let cores = affinity::cores().unwrap();
        let (mut index, _) = build(&set, Metric::Cosine, &cores[..1]).unwrap();
        index.use_cores(&cores).unwrap();
        let mut answers = |together| {
            let setting = serde_json::json!({"ef": 50});
            index.answers(&Search { k: 1, together, setting }).unwrap()
        };
        for together in [1, 100] {
            let found = answers(together).into_iter().zip(0..300).filter(|(id, query)| id == query).count();
            assert!(found > 270, "{found} of 300: each row is its own neighbour");
        }
    }
}
