//! Truncated singular value decomposition of a sparse matrix, by a randomised subspace iteration (Halko, Martinsson, Tropp:
//! Finding Structure with Randomness, SIAM Review 2011, algorithms 4.4 and 5.1).

use anyhow::{Result, anyhow, ensure};
use faer::{Mat, MatRef, Side};
use fastrand::Rng;
use rayon::prelude::*;
use sprs::CsMatViewI;

use crate::formats::csr::SparseRows;
use crate::matrix::Matrix;

const ITERATIONS: usize = 4;
/// Directions beyond those asked for: they make the last of those accurate.
const OVERSAMPLING: usize = 16;
const SEED: u64 = 384;

/// Projects rows and queries onto the first `rank` right singular vectors of the rows: U times Sigma, as scikit-learn's
/// TruncatedSVD does, ordered by falling singular value.
pub(super) fn project(rows: &SparseRows, queries: &SparseRows, rank: usize) -> Result<(Matrix, Matrix)> {
    ensure!(rows.cols() == queries.cols(), "{} columns, queries of {}", rows.cols(), queries.cols());
    ensure!(rank <= rows.rows().min(rows.cols()), "{:?} has no rank of {rank}", rows.shape());
    let width = (rank + OVERSAMPLING).min(rows.rows()).min(rows.cols());
    let transposed = rows.to_other_storage();
    let mut random = Rng::with_seed(SEED);
    let mut space = Mat::from_fn(rows.cols(), width, |_, _| random.f64() - 0.5);
    for _ in 0..ITERATIONS {
        let image = orthonormal(product(rows.view(), space.as_ref()));
        space = orthonormal(product(transposed.transpose_view(), image.as_ref()));
    }
    // Rayleigh and Ritz: within the space, the singular vectors are the eigenvectors of a small matrix.
    let image = product(rows.view(), space.as_ref());
    let gram = image.transpose() * &image;
    let eigen =
        gram.self_adjoint_eigen(Side::Lower).map_err(|error| anyhow!("no singular vectors: {error:?}"))?;
    let largest_first = Mat::from_fn(width, rank, |i, j| eigen.U()[(i, width - 1 - j)]);
    let of_queries = product(queries.view(), space.as_ref());
    Ok((to_matrix(&(image * &largest_first))?, to_matrix(&(of_queries * &largest_first))?))
}

fn orthonormal(matrix: Mat<f64>) -> Mat<f64> {
    matrix.qr().compute_thin_Q()
}

/// Sparse rows times a dense matrix.
fn product(rows: CsMatViewI<'_, f32, u32, usize>, dense: MatRef<'_, f64>) -> Mat<f64> {
    let width = dense.ncols();
    // Row by row, as the product reads it.
    let dense: Vec<f64> = dense.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect();
    let mut values = vec![0.0; rows.rows() * width];
    values.par_chunks_mut(width).enumerate().for_each(|(i, sum)| {
        let row = rows.outer_view(i);
        for (column, &value) in row.iter().flat_map(|row| row.iter()) {
            let dense = &dense[column * width..][..width];
            sum.iter_mut().zip(dense).for_each(|(sum, x)| *sum += f64::from(value) * x);
        }
    });
    MatRef::from_row_major_slice(&values, rows.rows(), width).to_owned()
}

fn to_matrix(matrix: &Mat<f64>) -> Result<Matrix> {
    let rows = matrix.row_iter().flat_map(|row| row.iter().map(|&x| x as f32).collect::<Vec<_>>());
    Matrix::new(matrix.ncols(), rows.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A sparse matrix of rank 3 whose singular vectors are known.
    #[test]
    fn a_matrix_of_low_rank_keeps_its_inner_products() {
        let mut random = Rng::with_seed(7);
        let mut rows = sprs::TriMatI::<f32, u32>::new((60, 40));
        for row in 0..60 {
            // Three disjoint groups of columns, with weights 8, 4 and 1: three orthogonal directions.
            let (group, factor) = (row % 3, random.f32() + 0.5);
            for column in (group..40).step_by(3) {
                rows.add_triplet(row, column, factor * [8.0, 4.0, 1.0][group]);
            }
        }
        let rows: SparseRows = rows.to_csr();
        let (projected, queries) = project(&rows, &rows, 3).unwrap();
        assert_eq!(projected, queries);
        for [a, b] in [[0, 3], [0, 1], [1, 4], [2, 5], [5, 5]] {
            let expected = rows.outer_view(a).unwrap().dot(&rows.outer_view(b).unwrap());
            let found: f32 = projected.row(a).iter().zip(projected.row(b)).map(|(x, y)| x * y).sum();
            assert!((found - expected).abs() < 1e-3, "{a}, {b}: {found} instead of {expected}");
        }
        let power = |column: usize| projected.rows().map(|row| row[column] * row[column]).sum::<f32>();
        assert!(power(0) > power(1) && power(1) > power(2), "the largest comes first");
        assert!(project(&rows, &rows, 41).is_err());
    }
}
