//! Exact neighbours of sparse vectors, in f64, by adding up one column after another: by another program than what is measured.

use std::fs;

use anyhow::Result;
use rayon::prelude::*;
use vektonn_index::Metric;

use crate::datasets::{Folders, SparseSet};
use crate::formats::bin::{self, NeighborLists};
use crate::formats::csr::SparseRows;
use crate::recall::{self, Recall};

const K: usize = 100;
/// What rounding in f32 may change of a distance, relative to the product of the norms.
const TOLERANCE: f64 = 2e-6;

/// The nearest neighbours of every query, ordered by (distance, row), and what judges answers by them.
pub(super) struct Truth<'s> {
    set: &'s SparseSet,
    metric: Metric,
    lists: NeighborLists,
    norms: Vec<f64>,
    query_norms: Vec<f64>,
}

impl<'s> Truth<'s> {
    /// Loaded if they are known, or computed once.
    pub(super) fn of(set: &'s SparseSet, metric: Metric, folders: &Folders) -> Result<Self> {
        let file = format!("{}-{:016x}-{metric:?}-truth.bin", set.name, set.fingerprint);
        let path = folders.cache.join("data").join(file);
        if !path.exists() {
            eprintln!("computing the neighbours of {}, {metric:?}", set.name);
            fs::create_dir_all(folders.cache.join("data"))?;
            bin::write_neighbors(&path, &compute(set, metric, K.min(set.base.rows())))?;
        }
        let lists = bin::read_neighbors(&path)?;
        Ok(Self { set, metric, lists, norms: norms(&set.base), query_norms: norms(&set.queries) })
    }

    /// How good answers are, `k` rows for each query.
    pub(super) fn judge(&self, answers: &[i32], k: usize) -> Result<Recall> {
        let SparseSet { base, queries, .. } = self.set;
        recall::judge(queries.rows(), base.rows(), &self.lists, answers, k, |query, row, kth| {
            let (a, b) = (queries.outer_view(query), base.outer_view(row));
            let (Some(a), Some(b)) = (a, b) else { return false };
            let shared = a.iter().filter_map(|(term, &x)| Some((x, *b.get(term)?)));
            let similarity = match self.metric {
                Metric::JaccardBinary => shared.filter(|&(x, y)| x != 0.0 && y != 0.0).count() as f64,
                _ => shared.map(|(x, y)| f64::from(x) * f64::from(y)).sum(),
            };
            let scale = if self.metric == Metric::InnerProduct {
                self.query_norms[query] * self.norms[row]
            } else {
                1.0
            };
            let distance = self.distance(query, row, similarity);
            distance <= kth + TOLERANCE * scale
        })
    }

    fn distance(&self, query: usize, row: usize, similarity: f64) -> f64 {
        let sizes = || [self.set.queries.outer_view(query), self.set.base.outer_view(row)].map(size);
        distance(self.metric, similarity, self.query_norms[query] * self.norms[row], || sizes().iter().sum())
    }
}

/// Terms that are present.
fn size(vector: Option<sprs::CsVecViewI<'_, f32, u32>>) -> f64 {
    vector.map_or(0, |vector| vector.data().iter().filter(|&&x| x != 0.0).count()) as f64
}

/// From an inner product and the product of the norms, or from the terms in common and the sum of the sizes.
fn distance(metric: Metric, similarity: f64, norms: f64, sizes: impl FnOnce() -> f64) -> f64 {
    match metric {
        Metric::InnerProduct | Metric::L2 => -similarity,
        Metric::Cosine => 1.0 - if norms > 0.0 { similarity / norms } else { 0.0 },
        Metric::JaccardBinary => {
            let union = sizes() - similarity;
            1.0 - if union > 0.0 { similarity / union } else { 0.0 }
        }
    }
}

fn norms(rows: &SparseRows) -> Vec<f64> {
    let norm = |row: sprs::CsVecViewI<'_, f32, u32>| {
        row.data().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    rows.outer_iterator().map(norm).collect()
}

fn compute(set: &SparseSet, metric: Metric, k: usize) -> NeighborLists {
    let columns = set.base.to_csc();
    let (norms, query_norms) = (norms(&set.base), norms(&set.queries));
    let sizes: Vec<f64> = set.base.outer_iterator().map(|row| size(Some(row))).collect();
    let is_binary = metric == Metric::JaccardBinary;
    let nearest = |query: usize| {
        let mut sums = vec![0.0_f64; set.base.rows()];
        let query_view = set.queries.outer_view(query);
        for (term, &x) in query_view.iter().flat_map(|view| view.iter()) {
            let column = columns.outer_view(term);
            for (row, &y) in column.iter().flat_map(|column| column.iter()) {
                let product = f64::from(x) * f64::from(y);
                sums[row] += if is_binary { f64::from(u8::from(product != 0.0)) } else { product };
            }
        }
        let query_size = size(query_view);
        let mut all: Vec<(f64, usize)> = sums
            .iter()
            .enumerate()
            .map(|(row, &sum)| {
                let sum = distance(metric, sum, query_norms[query] * norms[row], || query_size + sizes[row]);
                (sum, row)
            })
            .collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        all.select_nth_unstable_by(k - 1, order);
        all.truncate(k);
        all.sort_unstable_by(order);
        all
    };
    let all: Vec<Vec<(f64, usize)>> = (0..set.queries.rows()).into_par_iter().map(nearest).collect();
    NeighborLists {
        k,
        ids: all.iter().flatten().map(|&(_, row)| row as i32).collect(),
        distances: all.iter().flatten().map(|&(distance, _)| distance as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use super::*;

    #[test]
    fn neighbours_of_three_rows_are_known() {
        let rows = |starts: &[usize], terms: &[u32], values: &[f32]| {
            SparseRows::new((starts.len() - 1, 4), starts.to_vec(), terms.to_vec(), values.to_vec())
        };
        let set = SparseSet {
            name: "three".to_owned(),
            origin: String::new(),
            base: rows(&[0, 2, 3, 5], &[0, 1, 1, 2, 3], &[3.0, 4.0, 2.0, 1.0, 1.0]),
            queries: rows(&[0, 1], &[1], &[2.0]),
            base_file: PathBuf::new(),
            queries_file: PathBuf::new(),
            fingerprint: 0,
        };
        let of = |metric| {
            let lists = compute(&set, metric, 3);
            (lists.ids, lists.distances)
        };
        assert_eq!(of(Metric::InnerProduct), (vec![0, 1, 2], vec![-8.0, -4.0, 0.0]));
        assert_eq!(of(Metric::Cosine), (vec![1, 0, 2], vec![0.0, 0.2, 1.0]));
        assert_eq!(of(Metric::JaccardBinary), (vec![1, 0, 2], vec![0.0, 0.5, 1.0]));

        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { data: dir.path().into(), cache: dir.path().into() };
        for metric in [Metric::InnerProduct, Metric::Cosine, Metric::JaccardBinary] {
            let truth = Truth::of(&set, metric, &folders).unwrap();
            let best = truth.lists.ids[0];
            assert_eq!(truth.judge(&[best], 1).unwrap(), Recall { by_id: 1.0, by_distance: 1.0 });
            assert_eq!(truth.judge(&[2], 1).unwrap(), Recall { by_id: 0.0, by_distance: 0.0 });
        }
    }
}
