//! From coordinates to 8-bit codes: where a code is zero, how far a step goes, and how much is lost.

use super::codes::usual;
use crate::distance::int8::{CodeKernels, Coding, WINDOW};

/// Rows that a fit looks at, at most.
pub(super) const SAMPLE: usize = 128;
/// Of them, those that step sizes are tried on.
const TRIED: usize = 48;
/// One in so many sampled values is left out at each end of a dimension: outliers shall not decide about all others.
const TRIM: usize = 32;
/// Step sizes that are tried, relative to the one that just holds all values that were not left out.
const STEPS: [f64; 8] = [0.3, 0.45, 0.6, 0.75, 0.9, 1.1, 1.5, 2.5];
/// No finer steps for rows that were normalized: it keeps their rounding errors well below a step.
const UNIT_SCALE_MIN: f64 = 1.0 / (1_u64 << 30) as f64;

/// How rows are coded: coordinate `x` of dimension `j` as `round((x - center[j]) / scale) + zero[j]`, kept in 0..=255.
///
/// There is one scale for all dimensions, so that dot products of codes are dot products of coordinates. What is lost
/// by keeping a code in 0..=255 is part of the row's error, so a few outliers may have large errors and all other rows
/// small ones.
pub(super) struct Ranges {
    pub(super) center: Box<[f32]>,
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
        let trim = rows.len() / TRIM;
        let mut center = Vec::with_capacity(dimension);
        let mut middle = Vec::with_capacity(dimension);
        let (mut widest, mut widest_of_all) = (0.0_f64, 0.0_f64);
        let mut column = Vec::with_capacity(rows.len());
        for dimension in 0..dimension {
            column.clear();
            column.extend(rows.iter().map(|row| f64::from(row[dimension])));
            column.sort_unstable_by(f64::total_cmp);
            let kept = &column[trim..column.len() - trim];
            let (low, high) = (kept[0], kept[kept.len() - 1]);
            center.push((kept.iter().sum::<f64>() / kept.len() as f64) as f32);
            middle.push((low + high) / 2.0);
            widest = widest.max(high - low);
            widest_of_all = widest_of_all.max(column[column.len() - 1] - column[0]);
        }
        if widest == 0.0 {
            widest = if widest_of_all > 0.0 { widest_of_all } else { 255.0 };
        }
        let tried: Vec<&[f32]> = rows.iter().step_by(rows.len().div_ceil(TRIED)).map(Vec::as_slice).collect();
        let with_step = |step: f64| {
            let scale = (widest / 255.0 * step).max(if unit { UNIT_SCALE_MIN } else { 0.0 });
            Self::with_scale(kernels, &center, &middle, scale, &tried)
        };
        STEPS
            .map(with_step)
            .into_iter()
            .min_by(|a, b| a.error.total_cmp(&b.error))
            .expect("there are steps to try")
    }

    fn with_scale(kernels: CodeKernels, center: &[f32], middle: &[f64], scale: f64, rows: &[&[f32]]) -> Self {
        let zero_of = |(&center, &middle): (&f32, &f64)| {
            ((f64::from(center) - middle) / scale + 127.5).round().clamp(0.0, 255.0) as u8
        };
        let zero = center.iter().zip(middle).map(zero_of).collect();
        let mut ranges = Self { center: center.into(), zero, scale, error: 0.0, kernels };
        let mut codes = vec![0; center.len().next_multiple_of(WINDOW)];
        let errors = rows.iter().map(|row| ranges.code(row, 1.0, &mut codes).error * scale).collect();
        ranges.error = usual(errors);
        ranges
    }

    /// Codes a row times `factor`.
    ///
    /// In f64, where everything that f32 coordinates can lead to is finite. The result's `error` is too large by more
    /// than what rounding can make it too small, the rounding of `factor` aside; see docs/exact-search.md.
    pub(super) fn code(&self, row: &[f32], factor: f64, codes: &mut [u8]) -> Coded {
        let coding = Coding { center: &self.center, zero: &self.zero, inverse_scale: 1.0 / self.scale };
        let [squares, losses] = self.kernels.encode(coding, row, factor, codes);
        Coded { squared_norm: squares, error: losses.sqrt() * (1.0 + 1e-9) + 1e-9 * self.zero.len() as f64 }
    }
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
                let coded = ranges.code(row, 1.0, &mut codes);
                let (mut lost, mut squares) = (0.0, 0.0);
                for j in 0..11 {
                    let code = f64::from(codes[j]) - f64::from(ranges.zero[j]);
                    let exact = (f64::from(row[j]) - f64::from(ranges.center[j])) / ranges.scale;
                    lost += (exact - code).powi(2);
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
            assert!(ranges.code(&rows[0], 1.0, &mut [0; 8]).error < 1e-6, "{value}");
        }
    }
}
