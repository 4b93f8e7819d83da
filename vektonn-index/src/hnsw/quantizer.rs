//! From coordinates to codes of 7 bits.

use crate::distance::row_codes::CODE_MAX;

/// Rows that a fit looks at, at most.
pub(super) const SAMPLE: usize = 512;
/// One in so many sampled values is left out at each end of a dimension: outliers shall not decide about all others.
const TRIM: usize = 32;
/// Step sizes that are tried, relative to the one that just holds all values that were not left out.
const STEPS: [f64; 6] = [0.5, 0.65, 0.8, 1.0, 1.3, 2.0];

/// How vectors are coded: coordinate `x` of dimension `j` as `round((x - middle[j]) / step)`, moved and kept in 0..=127.
///
/// There is one step for all dimensions, so that distances of codes are distances of vectors.
pub(super) struct Quantizer {
    middle: Box<[f64]>,
    step: f64,
    /// The mean squared error of coding a vector, as far as the fit could see.
    pub(super) error: f64,
}

const ZERO: f64 = (CODE_MAX / 2) as f64 + 0.5;

impl Quantizer {
    /// The best of several step sizes for the sampled vectors.
    pub(super) fn fit(rows: &[Vec<f32>], dimension: usize) -> Self {
        let trim = rows.len() / TRIM;
        let mut middle = vec![0.0; dimension].into_boxed_slice();
        let mut widest = 0.0_f64;
        let mut column = Vec::with_capacity(rows.len());
        for (j, middle) in middle.iter_mut().enumerate() {
            column.clear();
            column.extend(rows.iter().map(|row| f64::from(row[j])));
            column.sort_unstable_by(f64::total_cmp);
            let kept = &column[trim..column.len() - trim];
            if let (Some(low), Some(high)) = (kept.first(), kept.last()) {
                *middle = (low + high) / 2.0;
                widest = widest.max(high - low);
            }
        }
        let just_holds = if widest > 0.0 { widest / f64::from(CODE_MAX) } else { 1.0 };
        let mut codes = vec![0; dimension];
        let with_step = |step: f64| {
            let mut fitted = Self { middle: middle.clone(), step: step * just_holds, error: 0.0 };
            let sum: f64 = rows.iter().map(|row| fitted.encode(row, 1.0, &mut codes)).sum();
            fitted.error = sum / rows.len().max(1) as f64;
            fitted
        };
        let fitted = STEPS.map(with_step).into_iter().min_by(|a, b| a.error.total_cmp(&b.error));
        fitted.expect("there are steps to try")
    }

    /// Codes a vector times `factor`; returns the squared distance, in coordinates, to what the codes stand for.
    ///
    /// In f64, where everything that f32 coordinates can lead to is finite, and without a choice of order, so that it
    /// is the same everywhere.
    pub(super) fn encode(&self, row: &[f32], factor: f64, codes: &mut [u8]) -> f64 {
        let inverse = 1.0 / self.step;
        let mut error = 0.0;
        for ((&x, &middle), code) in row.iter().zip(&self.middle).zip(codes) {
            let exact = (f64::from(x) * factor - middle) * inverse + ZERO;
            // Cut off: `floor` would be a call for each coordinate.
            *code = (exact + 0.5).clamp(0.0, f64::from(CODE_MAX)) as u8;
            let nearest = f64::from(*code);
            error += (exact - nearest) * (exact - nearest);
        }
        error * self.step * self.step
    }

    /// What a code stands for.
    pub(super) fn decode(&self, code: u8, dimension: usize) -> f32 {
        (self.middle[dimension] + (f64::from(code) - ZERO) * self.step) as f32
    }

    /// What vectors are stretched by.
    pub(super) fn inverse_step(&self) -> f64 {
        1.0 / self.step
    }
}

/// Codes a vector as its multiple that just fits -127..=127: whatever its length, its inner products have the same order.
pub(super) fn encode_direction(query: &[f32], codes: &mut [u8]) {
    let largest = query.iter().fold(0.0_f64, |largest, &x| largest.max(f64::from(x).abs()));
    let inverse = if largest > 0.0 { f64::from(CODE_MAX) / largest } else { 0.0 };
    for (&x, code) in query.iter().zip(codes) {
        *code = (f64::from(x) * inverse).round() as i8 as u8;
    }
}
