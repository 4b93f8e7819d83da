//! From coordinates to 8-bit codes: where a code is zero, how far a step goes, and how much is lost.

use super::codes::usual;
use crate::distance::int8::{CodeKernels, Rotation, WINDOW};

/// Rows that a fit looks at, at most.
pub(super) const SAMPLE: usize = 128;
/// One in so many sampled values is left out at each end of a dimension: outliers shall not decide about all others.
const TRIM: usize = 32;
/// Step sizes that are tried, relative to the one that just holds all values that were not left out.
const STEPS: [f64; 8] = [0.3, 0.45, 0.6, 0.75, 0.9, 1.1, 1.5, 2.5];
/// Rows are rotated unless that makes the usual error so much larger: errors are more even then, and large ones are rare.
const PLAIN_ERROR_MAX: f64 = 0.8;
/// No finer steps for rows that were normalized: it keeps their rounding errors well below a step.
const UNIT_SCALE_MIN: f64 = 1.0 / (1_u64 << 30) as f64;

/// How rows are coded: `x = (row - center) / scale`, rotated if there is a rotation, and coordinate `j` of it as
/// `round(x[j]) + zero[j]`, kept in 0..=255.
///
/// There is one scale for all dimensions, so that dot products of codes are dot products of coordinates. What is lost
/// by keeping a code in 0..=255 is part of the row's error, so a few outliers may have large errors and all other rows
/// small ones.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Ranges {
    pub(super) center: Box<[f32]>,
    pub(super) rotation: Option<Rotation>,
    pub(super) zero: Box<[u8]>,
    pub(super) scale: f64,
    /// The usual distance, in coordinates, between a row and what its codes stand for, as far as the fit could see.
    pub(super) error: f64,
    pub(super) kernels: CodeKernels,
}

/// What was lost by coding a row, in units of the scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coded {
    /// The squared norm of `code - zero`; exact.
    pub(super) squared_norm: f64,
    /// The norm of the difference between the row and what its codes stand for, not less than the exact one.
    pub(super) error: f64,
}

impl Ranges {
    /// Ranges that suit the sampled rows, of which there is at least one. `unit` if they are normalized.
    pub(super) fn fit(kernels: CodeKernels, rows: &[Vec<f32>], dimension: usize, unit: bool) -> Self {
        let center = center_of(rows, dimension);
        let [plain, rotated] = [None, Some(Rotation::new(dimension))]
            .map(|rotation| Self::with_rotation(kernels, rows, &center, rotation, unit));
        if plain.error <= rotated.error * PLAIN_ERROR_MAX { plain } else { rotated }
    }

    /// Ranges of the best scale, with this rotation or none.
    pub(super) fn with_rotation(
        kernels: CodeKernels,
        rows: &[Vec<f32>],
        center: &[f32],
        rotation: Option<Rotation>,
        unit: bool,
    ) -> Self {
        let dimension = center.len();
        let zero = vec![0; dimension].into();
        let mut ranges = Self { center: center.into(), rotation, zero, scale: 1.0, error: 0.0, kernels };
        let placed = |row: &Vec<f32>| {
            let mut placed = vec![0.0; dimension];
            ranges.place(row, 1.0, &mut placed);
            placed
        };
        let placed: Vec<Vec<f64>> = rows.iter().map(placed).collect();
        let mut middle = Vec::with_capacity(dimension);
        let (mut widest, mut widest_of_all) = (0.0_f64, 0.0_f64);
        for (kept, width) in columns(&placed, dimension) {
            let (low, high) = (kept[0], kept[kept.len() - 1]);
            middle.push((low + high) / 2.0);
            widest = widest.max(high - low);
            widest_of_all = widest_of_all.max(width);
        }
        if widest == 0.0 {
            widest = if widest_of_all > 0.0 { widest_of_all } else { 255.0 };
        }
        let with_step = |step: f64| {
            let scale = (widest / 255.0 * step).max(if unit { UNIT_SCALE_MIN } else { 0.0 });
            let zero = zeros(&middle, scale);
            (ranges.error_of(&zero, scale, &placed), scale, zero)
        };
        let best = STEPS.map(with_step).into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
        (ranges.error, ranges.scale, ranges.zero) = best.expect("there are steps to try");
        ranges
    }

    /// The usual error, in coordinates, of rows that were placed with the scale 1.
    fn error_of(&self, zero: &[u8], scale: f64, placed: &[Vec<f64>]) -> f64 {
        let (mut exact, mut codes) = (Vec::new(), vec![0; zero.len().next_multiple_of(WINDOW)]);
        let error = |placed: &Vec<f64>| {
            exact.clear();
            exact.extend(placed.iter().map(|x| x / scale));
            self.kernels.encode(zero, &exact, &mut codes)[1].sqrt() * scale
        };
        usual(&mut placed.iter().map(error).collect::<Vec<_>>())
    }

    /// A vector times `factor` where the codes are: centered, in units of the scale, and rotated.
    pub(super) fn place(&self, vector: &[f32], factor: f64, out: &mut [f64]) {
        let inverse = 1.0 / self.scale;
        for ((out, &x), &center) in out.iter_mut().zip(vector).zip(&self.center) {
            *out = (f64::from(x) * factor - f64::from(center)) * inverse;
        }
        self.rotate(out);
    }

    /// Rotates a vector as the codes are.
    pub(super) fn rotate(&self, vector: &mut [f64]) {
        if let Some(rotation) = &self.rotation {
            self.kernels.rotate(rotation, vector);
        }
    }

    /// Codes a row times `factor`; `exact` is room for the row.
    ///
    /// In f64, where everything that f32 coordinates can lead to is finite. The result's `error` is too large by more
    /// than what rounding can make it too small, the rounding of `factor` aside; see docs/exact-search.md.
    pub(super) fn code(&self, row: &[f32], factor: f64, exact: &mut [f64], codes: &mut [u8]) -> Coded {
        self.place(row, factor, exact);
        let [squares, losses] = self.kernels.encode(&self.zero, exact, codes);
        Coded { squared_norm: squares, error: losses.sqrt() * (1.0 + 1e-9) + 1e-9 * self.zero.len() as f64 }
    }
}

/// The mean of each dimension.
pub(super) fn center_of(rows: &[Vec<f32>], dimension: usize) -> Box<[f32]> {
    let mean = |kept: Vec<f64>| (kept.iter().sum::<f64>() / kept.len() as f64) as f32;
    columns(rows, dimension).map(|(kept, _)| mean(kept)).collect()
}

/// For each dimension the sorted values of rows without the outermost ones, and how far apart these are.
fn columns<T: Copy + Into<f64>>(rows: &[Vec<T>], dimension: usize) -> impl Iterator<Item = (Vec<f64>, f64)> {
    let trim = rows.len() / TRIM;
    (0..dimension).map(move |j| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[j].into()).collect();
        column.sort_unstable_by(f64::total_cmp);
        let width = column[column.len() - 1] - column[0];
        column.truncate(column.len() - trim);
        column.drain(..trim);
        (column, width)
    })
}

/// The codes of 0 that put the middle of each dimension into the middle of the codes.
fn zeros(middle: &[f64], scale: f64) -> Box<[u8]> {
    middle.iter().map(|middle| (127.5 - middle / scale).round().clamp(0.0, 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::InstructionSet;
    use proptest::prelude::*;

    fn fit(rows: &[Vec<f32>], dimension: usize) -> Ranges {
        let kernels = CodeKernels::new(InstructionSet::detect().expect("an instruction set"));
        Ranges::fit(kernels, rows, dimension, false)
    }

    proptest! {
        /// What the codes stand for is as far from the row as is said.
        #[test]
        fn errors_are_what_was_lost(
            rows in proptest::collection::vec(proptest::collection::vec(-10.0_f32..10.0, 11), 1..40),
            outlier in prop_oneof![Just(1.0_f32), Just(1e30), Just(1e-30)],
        ) {
            let mut rows = rows;
            rows[0][3] *= outlier;
            let ranges = fit(&rows, 11);
            for row in &rows {
                let mut codes = [0; 16];
                let mut exact = [0.0; 11];
                let coded = ranges.code(row, 1.0, &mut exact, &mut codes);
                let (mut lost, mut squares) = (0.0, 0.0);
                for j in 0..11 {
                    let code = f64::from(codes[j]) - f64::from(ranges.zero[j]);
                    lost += (exact[j] - code).powi(2);
                    squares += code * code;
                }
                prop_assert_eq!(coded.squared_norm, squares);
                prop_assert!(coded.error >= lost.sqrt() && coded.error <= lost.sqrt() * 1.0001 + 1e-6);
            }
        }

        #[test]
        fn an_outlier_does_not_coarsen_the_others(scale in prop_oneof![Just(1e-30_f32), Just(1.0), Just(1e30)]) {
            let value = |i: usize| (i * 7919 % 1000) as f32 / 1000.0;
            let mut rows: Vec<Vec<f32>> =
                (0..SAMPLE).map(|row| (0..8).map(|j| value(row * 8 + j)).collect()).collect();
            let fine = fit(&rows, 8).error;
            rows[5][2] = scale * 1e6;
            prop_assert!(fit(&rows, 8).error < fine * 1.5);
        }
    }

    #[test]
    fn equal_rows_are_coded_without_loss() {
        for value in [0.0, 1e38, 1e-45, -3.0] {
            let rows = vec![vec![value; 5]; 10];
            let ranges = fit(&rows, 5);
            assert!(ranges.code(&rows[0], 1.0, &mut [0.0; 5], &mut [0; 8]).error < 1e-6, "{value}");
        }
    }
}
