//! The nearest neighbours, found by comparing everything in f64: by another program than the one that is measured.

use std::collections::BinaryHeap;
use std::fs;

use anyhow::{Context, Result, ensure};
use faer::{Mat, MatRef};
use rayon::prelude::*;
use vektonn_index::Metric;

use crate::datasets::{DenseSet, Folders, KnownNeighbors};
use crate::formats::bin::{self, NeighborLists};
use crate::matrix::Matrix;

/// As many as the field's files have.
const K: usize = 100;
/// Rows and queries that are multiplied at a time.
const BLOCK_ROWS: usize = 4_096;
const BLOCK_QUERIES: usize = 64;

/// The nearest neighbours of every query, ordered by (distance, row); loaded if they are known, or computed once.
pub(crate) fn of(set: &DenseSet, metric: Metric, folders: &Folders) -> Result<NeighborLists> {
    if let Some(known) = set.known.as_ref().filter(|known| known.metric == metric) {
        return with_distances(set, known).with_context(|| format!("the known neighbours of {}", set.name));
    }
    let file = format!("{}-{:016x}-{metric:?}-truth.bin", set.name, set.fingerprint);
    let path = folders.cache.join("data").join(file);
    if !path.exists() {
        eprintln!("computing the neighbours of {}, {metric:?}", set.name);
        let lists = nearest(&set.base, &set.queries, metric, K.min(set.base.len()));
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        bin::write_neighbors(&path, &lists)?;
    }
    bin::read_neighbors(&path)
}

/// The distances are computed here: files differ in what they call a distance.
fn with_distances(set: &DenseSet, known: &KnownNeighbors) -> Result<NeighborLists> {
    let KnownNeighbors { metric, k, ref ids } = *known;
    let queries = set.queries.len();
    ensure!(k > 0, "there are none of any query");
    ensure!(ids.len() == queries * k, "{} ids for {queries} queries, {k} of each", ids.len());
    let mut nearest = Vec::with_capacity(ids.len());
    for (query, ids) in set.queries.rows().zip(ids.chunks(k)) {
        let candidate = |&id: &i32| {
            let row = usize::try_from(id).ok().filter(|&row| row < set.base.len());
            let row = row.with_context(|| format!("there is no row {id}"))?;
            Ok(Candidate { distance: distance(metric, query, set.base.row(row)), row })
        };
        let mut candidates = ids.iter().map(candidate).collect::<Result<Vec<_>>>()?;
        candidates.sort_unstable();
        nearest.extend(candidates);
    }
    Ok(lists(k, &nearest))
}

/// The distance in f64; smaller is nearer.
pub(crate) fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum(),
        _ => from_dot(metric, dot(a, b), dot(a, a), dot(b, b)),
    }
}

/// What rounding in f32 may change of a distance.
pub(crate) fn tolerance(metric: Metric, distance: f64, a: &[f32], b: &[f32]) -> f64 {
    const RELATIVE: f64 = 2e-6;
    match metric {
        Metric::L2 => RELATIVE * distance,
        Metric::InnerProduct => RELATIVE * (dot(a, a) * dot(b, b)).sqrt(),
        Metric::Cosine | Metric::JaccardBinary => RELATIVE,
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// From an inner product and both squared norms.
fn from_dot(metric: Metric, dot: f64, a: f64, b: f64) -> f64 {
    match metric {
        Metric::L2 => (a + b - 2.0 * dot).max(0.0),
        Metric::InnerProduct => -dot,
        Metric::Cosine | Metric::JaccardBinary if a == 0.0 || b == 0.0 => 1.0,
        Metric::Cosine | Metric::JaccardBinary => 1.0 - dot / (a * b).sqrt(),
    }
}

/// A candidate, ordered by (distance, row).
#[derive(Clone, Copy, PartialEq)]
struct Candidate {
    distance: f64,
    row: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The nearest rows of every query, ordered by (distance, row), found now.
pub(crate) fn nearest(base: &Matrix, queries: &Matrix, metric: Metric, k: usize) -> NeighborLists {
    let mut heaps = vec![BinaryHeap::new(); queries.len()];
    for first in (0..base.len()).step_by(BLOCK_ROWS) {
        let rows = to_f64(base.block(first, BLOCK_ROWS.min(base.len() - first)));
        let norms: Vec<f64> = rows.row_iter().map(|row| row.squared_norm_l2()).collect();
        heaps.par_chunks_mut(BLOCK_QUERIES).enumerate().for_each(|(i, nearest)| {
            let queries = to_f64(queries.block(i * BLOCK_QUERIES, nearest.len()));
            let dots = &queries * rows.transpose();
            for (i, nearest) in nearest.iter_mut().enumerate() {
                let norm = queries.row(i).squared_norm_l2();
                for (row, &row_norm) in norms.iter().enumerate() {
                    let distance = from_dot(metric, dots[(i, row)], norm, row_norm);
                    offer(nearest, k, Candidate { distance, row: first + row });
                }
            }
        });
    }
    let nearest: Vec<_> = heaps.into_iter().flat_map(BinaryHeap::into_sorted_vec).collect();
    lists(k, &nearest)
}

fn lists(k: usize, nearest: &[Candidate]) -> NeighborLists {
    NeighborLists {
        k,
        ids: nearest.iter().map(|candidate| candidate.row as i32).collect(),
        distances: nearest.iter().map(|candidate| candidate.distance as f32).collect(),
    }
}

fn offer(nearest: &mut BinaryHeap<Candidate>, k: usize, candidate: Candidate) {
    if nearest.len() < k {
        nearest.push(candidate);
    } else if nearest.peek().is_some_and(|farthest| candidate < *farthest) {
        nearest.pop();
        nearest.push(candidate);
    }
}

fn to_f64(block: MatRef<'_, f32>) -> Mat<f64> {
    Mat::from_fn(block.nrows(), block.ncols(), |i, j| f64::from(block[(i, j)]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn neighbours_on_a_line_are_known() {
        let base = Matrix::new(1, vec![0.0, 5.0, 2.0, -1.0, 2.0]).unwrap();
        let queries = Matrix::new(1, vec![1.5, -4.0]).unwrap();
        let lists = nearest(&base, &queries, Metric::L2, 3);
        assert_eq!(lists.ids, [2, 4, 0, 3, 0, 2], "ties by row");
        assert_eq!(lists.distances, [0.25, 0.25, 2.25, 9.0, 16.0, 36.0]);
        let lists = nearest(&base, &queries, Metric::InnerProduct, 2);
        assert_eq!(lists.ids, [1, 2, 3, 0]);
        let lists = nearest(&base, &queries, Metric::Cosine, 4);
        assert_eq!(lists.ids, [1, 2, 4, 0, 3, 0, 1, 2]);
        assert_eq!(lists.distances[3..5], [1.0, 0.0]);
    }

    #[test]
    fn known_neighbours_are_taken_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { data: dir.path().into(), cache: dir.path().into() };
        let path = |name: &str| dir.path().join(name);
        bin::write_fbin(&path("base.fbin"), &Matrix::new(1, vec![0.0, 5.0, 2.0]).unwrap()).unwrap();
        bin::write_fbin(&path("queries.fbin"), &Matrix::new(1, vec![1.5]).unwrap()).unwrap();
        let given = |ids: Vec<i32>| {
            let set = DenseSet::from_files(&path("base.fbin"), &path("queries.fbin"), &folders).unwrap();
            let lists = NeighborLists { k: ids.len(), ids, distances: vec![9.0, 9.0] };
            bin::write_neighbors(&path("truth.bin"), &lists).unwrap();
            of(&set.with_truth(&path("truth.bin"), Metric::L2).unwrap(), Metric::L2, &folders)
        };
        let lists = given(vec![0, 2]).unwrap();
        assert_eq!((lists.ids, lists.distances), (vec![2, 0], vec![0.25, 2.25]));
        assert!(format!("{:#}", given(vec![0, 3]).unwrap_err()).contains("there is no row 3"));
        assert!(given(vec![0, -1]).is_err());
        fs::write(path("truth.bin"), [1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let set = DenseSet::from_files(&path("base.fbin"), &path("queries.fbin"), &folders).unwrap();
        let empty = of(&set.with_truth(&path("truth.bin"), Metric::L2).unwrap(), Metric::L2, &folders);
        assert!(format!("{:#}", empty.unwrap_err()).contains("there are none of any query"));
    }

    #[test]
    fn blocks_change_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut matrix = |rows: usize| Matrix::new(3, (0..rows * 3).map(|_| random.f32()).collect()).unwrap();
        let (base, queries) = (matrix(BLOCK_ROWS + 10), matrix(BLOCK_QUERIES + 1));
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let lists = nearest(&base, &queries, metric, 5);
            for (query, ids) in queries.rows().zip(lists.ids.chunks(5)) {
                let mut all: Vec<_> =
                    base.rows().map(|row| distance(metric, query, row)).enumerate().collect();
                all.sort_by(|a, b| a.1.total_cmp(&b.1));
                let expected: Vec<i32> = all[..5].iter().map(|(row, _)| *row as i32).collect();
                assert_eq!(ids, expected, "{metric:?}");
            }
        }
    }
}
