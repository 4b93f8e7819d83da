//! How much of what is nearest was found.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use vektonn_index::Metric;

use crate::datasets::DenseSet;
use crate::formats::bin::NeighborLists;
use crate::ground_truth::{distance, tolerance};

/// The mean over all queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recall {
    /// The share of the k nearest ids that were found. Where distances are equal, others may be as good.
    pub(crate) by_id: f64,
    /// The share of k that were found and lie no farther than the k-th nearest, by distances computed here.
    pub(crate) by_distance: f64,
}

impl Recall {
    /// The worse of each.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { by_id: self.by_id.min(other.by_id), by_distance: self.by_distance.min(other.by_distance) }
    }
}

/// Judges answers: `k` rows for each query, in any order; what is no row, or appears again, counts as not found.
pub(crate) fn recall(
    set: &DenseSet,
    metric: Metric,
    truth: &NeighborLists,
    answers: &[i32],
    k: usize,
) -> Result<Recall> {
    let queries = set.queries.len();
    judge(queries, set.base.len(), truth, answers, k, |query, row, kth| {
        let (query, row) = (set.queries.row(query), set.base.row(row));
        distance(metric, query, row) <= kth + tolerance(metric, kth, query, row)
    })
}

/// The same for any vectors: `is_near` tells of a query and a row whether they lie no farther apart than a distance.
pub(crate) fn judge(
    queries: usize,
    rows: usize,
    truth: &NeighborLists,
    answers: &[i32],
    k: usize,
    is_near: impl Fn(usize, usize, f64) -> bool,
) -> Result<Recall> {
    ensure!(answers.len() == queries * k, "{} answers for {queries} queries", answers.len());
    ensure!(k <= truth.k, "{} neighbours are known, not {k}", truth.k);
    ensure!(truth.ids.len() >= queries * truth.k, "neighbours of other queries");
    let (mut ids, mut distances) = (0, 0);
    for (query, found) in answers.chunks(k).enumerate() {
        let nearest: HashSet<i32> = truth.ids[query * truth.k..][..k].iter().copied().collect();
        let kth = f64::from(truth.distances[query * truth.k + k - 1]);
        let found: HashSet<i32> = found.iter().copied().collect();
        ids += found.intersection(&nearest).count();
        let found = found.iter().filter_map(|&id| usize::try_from(id).ok()).filter(|&row| row < rows);
        distances += found.filter(|&row| is_near(query, row, kth)).count();
    }
    let share = |count: usize| count as f64 / (queries * k) as f64;
    Ok(Recall { by_id: share(ids), by_distance: share(distances) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::datasets::Folders;
    use crate::matrix::Matrix;

    #[test]
    fn ties_count_by_distance_only() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { data: dir.path().into(), cache: dir.path().into() };
        let write = |name: &str, values: Vec<f32>| {
            let path = dir.path().join(name);
            crate::formats::bin::write_fbin(&path, &Matrix::new(1, values).unwrap()).unwrap();
            path
        };
        let (base, queries) =
            (write("base.fbin", vec![0.0, 1.0, -1.0, 9.0]), write("queries.fbin", vec![0.0]));
        let set = DenseSet::from_files(&base, &queries, &folders).unwrap();
        let truth = crate::ground_truth::of(&set, Metric::L2, &folders).unwrap();
        let judge = |answers: &[i32]| {
            let recall = recall(&set, Metric::L2, &truth, answers, 2).unwrap();
            (recall.by_id, recall.by_distance)
        };
        assert_eq!(judge(&[0, 1]), (1.0, 1.0));
        assert_eq!(judge(&[2, 0]), (0.5, 1.0), "as far as row 1");
        assert_eq!(judge(&[0, 3]), (0.5, 0.5));
        assert_eq!(judge(&[0, 0]), (0.5, 0.5), "found twice");
        assert_eq!(judge(&[-1, 4]), (0.0, 0.0), "no rows");
    }
}
