//! The coordinates that are coded: fewer than a vector has where that loses little, and all about equally wide.
//!
//! Codes have one step for all dimensions and, of more than [`LINE`] dimensions, few bits. So what a few dimensions hold is
//! spread over all of them by a rotation. Vectors that lie near a subspace, as those of many models do, are projected onto it
//! first: LeanVec (Tepper et al., arXiv 2312.16335) walks a graph in the principal components of its points, too.

use rayon::prelude::*;

use crate::distance::int8::{CodeKernels, Rotation};
use crate::distance::row_codes::LINE;
use crate::distance::{self, DenseKernels};
use crate::workers;

/// What a projection may lose of a row, as a part of the mean square: some times what codes of four bits lose.
const LOST_MAX: f64 = 0.04;
/// One in so many rows may lose more. Not what all lose together is looked at: a few rows of another kind, all of which
/// would look alike, can be all that a search is interested in.
const ROWS_PER_STRANGER: usize = 128;
/// One in so many sampled rows tells how much a projection loses; it is fitted to the others.
const ROWS_PER_TEST: usize = 4;
/// Rows for each dimension of a projection that is fitted to them.
const ROWS_PER_AXIS: usize = 8;
/// Rounds of subspace iteration.
const ROUNDS: usize = 2;
/// Numbers of a tile that stays in a core's cache while it is multiplied.
const TILE: usize = 1 << 16;
/// What rounding leaves of a vector of length 1, at most.
const ROUNDING: f64 = 1e-4;

/// A change of coordinates that leaves distances as they are, or nearly so.
pub(super) struct Basis {
    dense: DenseKernels,
    rotating: CodeKernels,
    kind: Kind,
}

enum Kind {
    /// Few enough as they are.
    Own,
    Rotated(Rotation),
    Projected(Projection),
}

struct Projection {
    /// Rows of the vectors' dimension, orthonormal.
    axes: Box<[f32]>,
    /// What vectors are taken from before they are projected.
    mean: Box<[f32]>,
}

impl Basis {
    /// A basis for vectors like these rows. Not for inner products if it may project: there queries are often of another kind
    /// than points, and what they have beside the subspace would count.
    pub(super) fn fit(rows: &[Vec<f32>], dimension: usize, may_project: bool, dense: DenseKernels) -> Self {
        let rotating = CodeKernels::new(dense.instruction_set());
        let kind = if dimension <= LINE {
            Kind::Own
        } else {
            let projection = may_project.then(|| Projection::fit(rows, dimension, dense, &rotating));
            projection.flatten().map_or_else(|| Kind::Rotated(Rotation::new(dimension)), Kind::Projected)
        };
        Self { dense, rotating, kind }
    }

    /// Replaces `coordinates` by those of a vector times `factor`.
    pub(super) fn turn(&self, row: &[f32], factor: f64, coordinates: &mut Vec<f64>) {
        coordinates.clear();
        let scaled = |&x: &f32| f64::from(x) * factor;
        match &self.kind {
            Kind::Own => coordinates.extend(row.iter().map(scaled)),
            Kind::Rotated(rotation) => {
                coordinates.extend(row.iter().map(scaled));
                self.rotating.rotate(rotation, coordinates);
            }
            Kind::Projected(Projection { axes, mean }) => {
                let centered = row.iter().zip(mean).map(|(x, &mean)| (scaled(x) - f64::from(mean)) as f32);
                let centered: Vec<f32> = centered.collect();
                let mut products = vec![0.0; axes.len() / mean.len()];
                self.dense.dot_many(&centered, axes, mean.len(), &mut products);
                coordinates.extend(products.into_iter().map(f64::from));
            }
        }
    }

    /// A vector with these coordinates.
    pub(super) fn turn_back(&self, mut coordinates: Vec<f64>) -> Vec<f32> {
        match &self.kind {
            Kind::Own => {}
            Kind::Rotated(rotation) => rotation.undo(&mut coordinates),
            Kind::Projected(Projection { axes, mean }) => {
                let mut vector: Vec<f64> = mean.iter().map(|&x| f64::from(x)).collect();
                for (amount, axis) in coordinates.iter().zip(axes.chunks_exact(mean.len())) {
                    vector.iter_mut().zip(axis).for_each(|(x, &axis)| *x += amount * f64::from(axis));
                }
                coordinates = vector;
            }
        }
        coordinates.into_iter().map(|x| x as f32).collect()
    }

    /// The squared distance of a vector times `factor` to the nearest one that has coordinates here: `coordinates`.
    pub(super) fn lost(&self, row: &[f32], factor: f64, coordinates: &[f64]) -> f64 {
        let Kind::Projected(Projection { mean, .. }) = &self.kind else { return 0.0 };
        let whole = row.iter().zip(mean).map(|(&x, &mean)| (f64::from(x) * factor - f64::from(mean)).powi(2));
        let kept: f64 = coordinates.iter().map(|x| x * x).sum();
        (whole.sum::<f64>() - kept).max(0.0)
    }
}

impl Projection {
    /// The narrowest one that keeps nearly all of these rows, if there is any.
    fn fit(rows: &[Vec<f32>], dimension: usize, dense: DenseKernels, rotating: &CodeKernels) -> Option<Self> {
        let widths = std::iter::successors(Some(LINE), |width| Some(width * 2));
        let can_be = |width: &usize| width * 2 <= dimension && width * ROWS_PER_AXIS <= rows.len();
        let mut widths = widths.take_while(can_be).peekable();
        // Where there are none, rows need not be copied.
        widths.peek()?;
        let sample = Sample::new(rows, dimension, dense);
        let space = widths.map(|width| sample.subspace(width)).find(|space| sample.is_kept_by(space))?;
        Some(sample.projection(&space, rotating))
    }
}

/// Rows of a sample less their mean: those that projections are fitted to, and those that test them.
///
/// All sums are canonical, as distances are: the same basis on every instruction set, so the same graph.
struct Sample {
    kernels: DenseKernels,
    mean: Box<[f32]>,
    /// Those that are fitted to, row by row and column by column.
    fitted: Vec<f32>,
    columns: Vec<f32>,
    tested: Vec<f32>,
}

impl Sample {
    fn new(rows: &[Vec<f32>], dimension: usize, kernels: DenseKernels) -> Self {
        let sum_of = |j: usize| rows.iter().map(|row| f64::from(row[j])).sum::<f64>();
        let mean: Box<[f32]> =
            (0..dimension).map(|j| (sum_of(j) / rows.len().max(1) as f64) as f32).collect();
        let part = |is_test: bool| -> Vec<f32> {
            let rows = rows.iter().enumerate().filter(|(i, _)| i.is_multiple_of(ROWS_PER_TEST) == is_test);
            rows.flat_map(|(_, row)| row.iter().zip(&mean).map(|(x, mean)| x - mean)).collect()
        };
        let (fitted, tested) = (part(false), part(true));
        let columns = (0..dimension).flat_map(|j| fitted[j..].iter().step_by(dimension).copied()).collect();
        Self { kernels, mean, fitted, columns, tested }
    }

    /// Orthonormal rows that span about the first `width` principal components: subspace iteration, which begins with what some
    /// of the rows span (Golub and Van Loan, "Matrix Computations", section 8.2.4). Rows of zeros if they span less.
    fn subspace(&self, width: usize) -> Vec<f32> {
        let dimension = self.mean.len();
        let count = self.fitted.len() / dimension;
        let row = |j: usize| &self.fitted[j * count / width * dimension..][..dimension];
        let mut axes: Vec<f32> = (0..width).flat_map(row).copied().collect();
        self.make_orthonormal(&mut axes, dimension);
        for _ in 0..ROUNDS {
            let along = self.products(&axes, &self.fitted, dimension);
            axes = self.products(&along, &self.columns, count);
            self.make_orthonormal(&mut axes, dimension);
        }
        axes
    }

    /// The inner products of each row of `a` with all of `b`, a row for each of `a`.
    fn products(&self, a: &[f32], b: &[f32], columns: usize) -> Vec<f32> {
        let out_columns = b.len() / columns;
        let mut out = vec![0.0; a.len() / columns * out_columns];
        let tile = (TILE / columns).max(1);
        for (i, b) in b.chunks(tile * columns).enumerate() {
            let rows = a.par_chunks_exact(columns).zip(out.par_chunks_exact_mut(out_columns));
            workers::in_parts(rows, workers::ROWS_TOGETHER).for_each(|(a, out)| {
                self.kernels.dot_many(a, b, columns, &mut out[i * tile..][..b.len() / columns]);
            });
        }
        out
    }

    /// The Gram-Schmidt process, each step done twice, so that rounding does no harm.
    fn make_orthonormal(&self, axes: &mut [f32], dimension: usize) {
        let mut products = vec![0.0; axes.len() / dimension];
        for j in 0..axes.len() / dimension {
            let (before, axis) = axes.split_at_mut(j * dimension);
            let axis = &mut axis[..dimension];
            normalize(axis, 0.0);
            for _ in 0..2 {
                self.kernels.dot_many(axis, before, dimension, &mut products[..j]);
                for (product, other) in products.iter().zip(before.chunks_exact(dimension)) {
                    axis.iter_mut().zip(other).for_each(|(x, other)| *x -= product * other);
                }
            }
            // What is left of a row that the others span is nothing but rounding.
            normalize(axis, ROUNDING);
        }
    }

    /// Whether a subspace is near nearly all rows.
    fn is_kept_by(&self, axes: &[f32]) -> bool {
        let dimension = self.mean.len();
        let count = self.tested.len() / dimension;
        let along = self.products(&self.tested, axes, dimension);
        let squared = |row: &[f32]| distance::norm(row).powi(2);
        let most = LOST_MAX * self.tested.chunks_exact(dimension).map(squared).sum::<f64>() / count as f64;
        let rows = self.tested.chunks_exact(dimension).zip(along.chunks_exact(axes.len() / dimension));
        // Nothing is near if all rows are the same, or beyond the range of f32.
        let near = rows.filter(|(row, along)| squared(row) - squared(along) < most).count();
        count - near <= count / ROWS_PER_STRANGER
    }

    /// The projection onto a subspace, whose dimensions are made equally wide.
    fn projection(&self, axes: &[f32], kernels: &CodeKernels) -> Projection {
        let dimension = self.mean.len();
        let width = axes.len() / dimension;
        let rotation = Rotation::new(width);
        let mut rotated = vec![0.0; axes.len()].into_boxed_slice();
        for i in 0..dimension {
            let mut column: Vec<f64> = axes[i..].iter().step_by(dimension).map(|&x| f64::from(x)).collect();
            kernels.rotate(&rotation, &mut column);
            column.iter().enumerate().for_each(|(j, &x)| rotated[j * dimension + i] = x as f32);
        }
        Projection { axes: rotated, mean: self.mean.clone() }
    }
}

/// Gives a vector the length 1, if it is longer than `min`, and else makes it 0.
fn normalize(vector: &mut [f32], min: f64) {
    let norm = distance::norm(vector);
    let factor = if norm > min { 1.0 / norm } else { 0.0 };
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::InstructionSet;

    fn kernels() -> DenseKernels {
        DenseKernels::new(InstructionSet::Scalar)
    }

    /// Rows near a subspace of `rank` dimensions through a point that is not the origin.
    fn rows(count: usize, dimension: usize, rank: usize, noise: f32, seed: u64) -> Vec<Vec<f32>> {
        let mut random = fastrand::Rng::with_seed(7);
        let axes: Vec<Vec<f32>> =
            (0..rank).map(|_| (0..dimension).map(|_| random.f32() - 0.5).collect()).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut row = || {
            let mut row: Vec<f32> = (0..dimension).map(|j| j as f32 + noise * (random.f32() - 0.5)).collect();
            for axis in &axes {
                let amount = random.f32() - 0.5;
                row.iter_mut().zip(axis).for_each(|(x, axis)| *x += amount * axis);
            }
            row
        };
        (0..count).map(|_| row()).collect()
    }

    fn squared(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    /// Distances that are lost or won, at most, as a part of the distance.
    fn worst(basis: &Basis, rows: &[Vec<f32>]) -> f64 {
        let of = |row: &[f32]| -> (Vec<f64>, Vec<f64>) {
            let mut turned = Vec::new();
            basis.turn(row, 2.0, &mut turned);
            (row.iter().map(|&x| f64::from(x) * 2.0).collect(), turned)
        };
        let error = |pair: &[Vec<f32>]| {
            let [(a, turned_a), (b, turned_b)] = [of(&pair[0]), of(&pair[1])];
            let before = squared(&a, &b);
            (squared(&turned_a, &turned_b) - before).abs() / before
        };
        rows.windows(2).map(error).fold(0.0, f64::max)
    }

    fn back(basis: &Basis, row: &[f32]) -> (Vec<f32>, f64) {
        let mut turned = Vec::new();
        basis.turn(row, 1.0, &mut turned);
        let lost = basis.lost(row, 1.0, &turned);
        (basis.turn_back(turned), lost)
    }

    fn widen(row: &[f32]) -> Vec<f64> {
        row.iter().map(|&x| f64::from(x)).collect()
    }

    #[test]
    fn vectors_near_a_subspace_are_projected() {
        let basis = Basis::fit(&rows(1000, 200, 30, 0.1, 1), 200, true, kernels());
        assert!(matches!(&basis.kind, Kind::Projected(projection) if projection.axes.len() == LINE * 200));
        let others = rows(50, 200, 30, 0.1, 2);
        let worst = worst(&basis, &others);
        assert!(worst < 0.02, "{worst}");
        for row in &others {
            let (back, lost) = back(&basis, row);
            let expected = squared(&widen(row), &widen(&back));
            assert!((lost - expected).abs() < 3e-3 * expected, "{lost}, {expected}");
        }
        let mut stranger = others[0].clone();
        stranger.iter_mut().step_by(2).for_each(|x| *x += 1.0);
        assert!(back(&basis, &stranger).1 > 10.0 * back(&basis, &others[0]).1);
    }

    #[test]
    fn others_are_rotated() {
        for (count, dimension, rank, noise) in
            [(600, 100, 100, 0.0), (600, 200, 200, 0.0), (100, 200, 30, 0.1)]
        {
            let sample = rows(count, dimension, rank, noise, 1);
            let basis = Basis::fit(&sample, dimension, true, kernels());
            assert!(matches!(basis.kind, Kind::Rotated(_)), "{count} x {dimension}");
            assert!(worst(&basis, &sample) < 1e-9);
            let (back, lost) = back(&basis, &sample[0]);
            assert_eq!((back, lost), (sample[0].clone(), 0.0));
        }
    }

    /// One in fifty lies somewhere else.
    #[test]
    fn a_few_of_another_kind_keep_all_dimensions() {
        let (mut sample, others) = (rows(1500, 200, 30, 0.1, 1), rows(30, 200, 200, 0.0, 2));
        assert!(matches!(Basis::fit(&sample, 200, true, kernels()).kind, Kind::Projected(_)));
        others.into_iter().enumerate().for_each(|(i, other)| sample[i * 50] = other);
        assert!(matches!(Basis::fit(&sample, 200, true, kernels()).kind, Kind::Rotated(_)));
    }

    #[test]
    fn points_of_inner_products_are_rotated() {
        let basis = Basis::fit(&rows(1000, 200, 30, 0.1, 1), 200, false, kernels());
        assert!(matches!(basis.kind, Kind::Rotated(_)));
    }

    #[test]
    fn few_dimensions_stay_as_they_are() {
        let sample = rows(20, LINE, 3, 0.0, 1);
        let basis = Basis::fit(&sample, LINE, true, kernels());
        assert!(matches!(basis.kind, Kind::Own));
        assert_eq!(back(&basis, &sample[0]), (sample[0].clone(), 0.0));
    }

    #[test]
    fn vectors_without_a_difference_and_those_without_an_end_do_no_harm() {
        for x in [0.0, 1.0, f32::MIN_POSITIVE, f32::MAX] {
            let signed = |i: u32| if x == f32::MAX && i.is_multiple_of(3) { -x } else { x };
            let sample: Vec<_> = (0..600).map(|i| vec![signed(i); 300]).collect();
            let basis = Basis::fit(&sample, 300, true, kernels());
            back(&basis, &[x; 300]);
            back(&basis, &[-f32::MAX; 300]);
            assert!(matches!(basis.kind, Kind::Rotated(_)), "{x}");
        }
    }
}
