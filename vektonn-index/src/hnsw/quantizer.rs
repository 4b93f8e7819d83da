//! From coordinates to codes.

use super::basis::Basis;
use crate::distance::DenseKernels;
use crate::distance::row_codes::{COARSE, CODE_MAX, LINE, Width};

/// Rows that a fit of the basis looks at, at most.
pub(super) const SAMPLE: usize = 2048;
/// And one of the steps.
const STEPS_SAMPLE: usize = 512;
/// One in so many sampled values is left out at each end of a dimension: outliers shall not decide about all others.
const TRIM: usize = 32;
/// Step sizes that are tried, relative to the one that just holds all values that were not left out.
const STEPS: [f64; 6] = [0.5, 0.65, 0.8, 1.0, 1.3, 2.0];

/// How vectors are coded: coordinate `x` of dimension `j` of the basis as `round((x - middle[j]) / step)`, moved and kept
/// in 0..=127. Of more than a line of such codes only the upper four bits are kept.
///
/// There is one step for all dimensions, so that distances of codes are distances of vectors.
pub(super) struct Quantizer {
    basis: Basis,
    pub(super) width: Width,
    middle: Box<[f64]>,
    step: f64,
    /// The mean squared error of coding a vector, as far as the fit could see.
    pub(super) error: f64,
}

/// What stands for `middle`.
const ZERO: f64 = CODE_MAX as f64 / 2.0;
/// The middle of the codes whose upper bits are the same, from the first of them on.
const COARSE_MIDDLE: f64 = (COARSE - 1) as f64 / 2.0;

impl Quantizer {
    /// The best of several step sizes for the sampled vectors.
    pub(super) fn fit(rows: &[Vec<f32>], dimension: usize, may_project: bool, kernels: DenseKernels) -> Self {
        debug_assert!(!rows.is_empty(), "there are points to be like");
        let basis = Basis::fit(rows, dimension, may_project, kernels);
        let sample: Vec<_> = rows.iter().step_by(rows.len().div_ceil(STEPS_SAMPLE).max(1)).collect();
        let mut columns = Vec::new();
        let mut coordinates = Vec::new();
        for row in &sample {
            basis.turn(row, 1.0, &mut coordinates);
            columns.resize_with(coordinates.len(), || Vec::with_capacity(sample.len()));
            columns.iter_mut().zip(&coordinates).for_each(|(column, &x)| column.push(x));
        }
        let (middle, widest) = middles(&mut columns);
        let just_holds = if widest > 0.0 { widest / f64::from(CODE_MAX) } else { 1.0 };
        let width = if middle.len() <= LINE { Width::Byte } else { Width::Nibble };
        let mut fitted = Self { basis, width, middle, step: just_holds, error: f64::INFINITY };
        let mut codes = Vec::new();
        let mut best = (f64::INFINITY, just_holds);
        // Beyond the last one, as long as that helps: where most are alike, the others are far away.
        let steps = STEPS.into_iter().chain(std::iter::successors(Some(4.0), |step| Some(step * 2.0)));
        for (i, step) in steps.enumerate() {
            fitted.step = step * just_holds;
            let sum: f64 =
                sample.iter().map(|row| fitted.encode(row, 1.0, &mut coordinates, &mut codes)).sum();
            let error = sum / sample.len().max(1) as f64;
            if error < best.0 {
                best = (error, fitted.step);
            } else if i >= STEPS.len() {
                break;
            }
        }
        (fitted.error, fitted.step) = best;
        fitted
    }

    /// How many codes there are of a vector.
    pub(super) fn dimension(&self) -> usize {
        self.middle.len()
    }

    /// Codes a vector times `factor`; returns the squared distance to what the codes stand for.
    ///
    /// In f64, where everything that f32 coordinates can lead to is finite, and without a choice of order, so that it
    /// is the same everywhere.
    pub(super) fn encode(
        &self,
        row: &[f32],
        factor: f64,
        coordinates: &mut Vec<f64>,
        codes: &mut Vec<u8>,
    ) -> f64 {
        self.basis.turn(row, factor, coordinates);
        self.encode_turned(coordinates, ZERO, codes);
        let mut error = 0.0;
        let inverse = 1.0 / self.step;
        for ((&x, &middle), &code) in coordinates.iter().zip(&self.middle).zip(&*codes) {
            let exact = (x - middle) * inverse + ZERO;
            error += (exact - self.stands_for(code)).powi(2);
        }
        error * self.step * self.step + self.basis.lost(row, factor, coordinates)
    }

    /// Codes a query for distances to coded vectors.
    pub(super) fn encode_query(
        &self,
        query: &[f32],
        factor: f64,
        coordinates: &mut Vec<f64>,
        codes: &mut Vec<u8>,
    ) {
        self.basis.turn(query, factor, coordinates);
        // Kernels take the first of the codes that share their upper bits for all of them.
        let zero = ZERO - self.stands_for(0);
        self.encode_turned(coordinates, zero, codes);
    }

    /// Codes a query for inner products, as its multiple that just fits -127..=127: whatever its length, they have the same order.
    pub(super) fn encode_direction(&self, query: &[f32], coordinates: &mut Vec<f64>, codes: &mut Vec<u8>) {
        self.basis.turn(query, 1.0, coordinates);
        let largest = coordinates.iter().fold(0.0_f64, |largest, &x| largest.max(x.abs()));
        let inverse = if largest > 0.0 { f64::from(CODE_MAX) / largest } else { 0.0 };
        codes.clear();
        codes.extend(coordinates.iter().map(|x| (x * inverse).round() as i8 as u8));
    }

    fn encode_turned(&self, coordinates: &[f64], zero: f64, codes: &mut Vec<u8>) {
        let inverse = 1.0 / self.step;
        codes.clear();
        // Cut off: `floor` would be a call for each coordinate.
        codes.extend(coordinates.iter().zip(&self.middle).map(|(&x, &middle)| {
            ((x - middle) * inverse + (zero + 0.5)).clamp(0.0, f64::from(CODE_MAX)) as u8
        }));
    }

    /// The middle of what a code is made of.
    fn stands_for(&self, code: u8) -> f64 {
        match self.width {
            Width::Byte => f64::from(code),
            Width::Nibble => f64::from(code / COARSE * COARSE) + COARSE_MIDDLE,
        }
    }

    /// What codes stand for.
    pub(super) fn decode(&self, codes: impl Iterator<Item = u8>) -> Vec<f32> {
        let coordinate = |(code, &middle): (u8, &f64)| middle + (self.stands_for(code) - ZERO) * self.step;
        self.basis.turn_back(codes.zip(&self.middle).map(coordinate).collect())
    }

    /// What vectors are stretched by.
    pub(super) fn inverse_step(&self) -> f64 {
        1.0 / self.step
    }
}

/// The middle of each column, and the width of the widest, without what is left out; or with it, if nothing remains.
fn middles(columns: &mut [Vec<f64>]) -> (Box<[f64]>, f64) {
    let (mut widest, mut widest_of_all) = (0.0_f64, 0.0_f64);
    let middle = columns.iter_mut().map(|column| {
        column.sort_unstable_by(f64::total_cmp);
        let (trim, last) = (column.len() / TRIM, column.len() - 1);
        let (low, high) = (column[trim], column[last - trim]);
        widest = widest.max(high - low);
        widest_of_all = widest_of_all.max(column[last] - column[0]);
        (low + high) / 2.0
    });
    let middle = middle.collect();
    (middle, if widest > 0.0 { widest } else { widest_of_all })
}
