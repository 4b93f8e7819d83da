//! The order of rows that a runbook's numbers mean.

use anyhow::Result;
use faer::Mat;
use fastrand::Rng;

use super::book::Order;
use crate::matrix::Matrix;

/// Clusters of k-means, and how often their centres move.
const CLUSTERS: usize = 64;
const ROUNDS: usize = 5;
/// Rows that are compared with all centres at a time.
const BLOCK: usize = 4_096;

/// The rows in that order.
pub(super) fn ordered(base: Matrix, order: Order) -> Result<Matrix> {
    let mut rows: Vec<usize> = (0..base.len()).collect();
    match order {
        Order::File => return Ok(base),
        Order::Shuffled => Rng::with_seed(1).shuffle(&mut rows),
        Order::Clusters => {
            let clusters = clusters(&base, CLUSTERS.min(base.len()));
            rows.sort_by_key(|&row| clusters[row]);
        }
    }
    let values = rows.iter().flat_map(|&row| base.row(row).iter().copied()).collect();
    Matrix::new(base.dimension(), values)
}

/// The cluster of each row: k-means (Lloyd, 1982) from centres that are random rows.
fn clusters(base: &Matrix, count: usize) -> Vec<usize> {
    let mut random = Rng::with_seed(1);
    let chosen = random.choose_multiple(0..base.len(), count);
    let mut centers = Mat::from_fn(count, base.dimension(), |i, j| base.row(chosen[i])[j]);
    let mut clusters = nearest(base, &centers);
    for _ in 0..ROUNDS {
        let mut sizes = vec![0_usize; count];
        let mut sums = Mat::<f32>::zeros(count, base.dimension());
        for (row, &cluster) in base.rows().zip(&clusters) {
            sizes[cluster] += 1;
            row.iter().enumerate().for_each(|(j, x)| sums[(cluster, j)] += x);
        }
        for (cluster, &size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
            (0..base.dimension()).for_each(|j| centers[(cluster, j)] = sums[(cluster, j)] / size as f32);
        }
        clusters = nearest(base, &centers);
    }
    clusters
}

/// The nearest centre of each row.
fn nearest(base: &Matrix, centers: &Mat<f32>) -> Vec<usize> {
    let norms: Vec<f32> = centers.row_iter().map(|center| center.squared_norm_l2()).collect();
    let mut clusters = Vec::with_capacity(base.len());
    for first in (0..base.len()).step_by(BLOCK) {
        let dots = base.block(first, BLOCK.min(base.len() - first)) * centers.transpose();
        // The row's own norm is the same for all centres.
        let distance = |row: usize, center: usize| norms[center] - 2.0 * dots[(row, center)];
        clusters.extend((0..dots.nrows()).map(|row| {
            let compare = |&a: &usize, &b: &usize| distance(row, a).total_cmp(&distance(row, b));
            (0..norms.len()).min_by(compare).unwrap_or_default()
        }));
    }
    clusters
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn clusters_lie_together() {
        // Two far groups of rows, taking turns.
        let mut random = Rng::with_seed(2);
        let values = (0..400).map(|i| random.f32() + if i % 2 == 0 { 0.0 } else { 1e3 }).collect();
        let base = Matrix::new(1, values).unwrap();
        let found = ordered(base.clone(), Order::Clusters).unwrap();
        let is_far: Vec<bool> = found.rows().map(|row| row[0] > 500.0).collect();
        let changes = is_far.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= CLUSTERS, "{changes} changes between the groups, in the file 399");
        let sorted = |matrix: &Matrix| {
            let mut values = matrix.values().to_vec();
            values.sort_by(f32::total_cmp);
            values
        };
        for order in [Order::File, Order::Shuffled, Order::Clusters] {
            assert_eq!(sorted(&ordered(base.clone(), order).unwrap()), sorted(&base), "{order:?}");
        }
        assert_ne!(ordered(base.clone(), Order::Shuffled).unwrap(), base);
    }
}
