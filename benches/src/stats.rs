//! Medians, quantiles and spread.

use std::fmt;
use std::time::Duration;

/// The middle of several rounds' results, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one round.
    pub(crate) fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        Self { median: quantile(&rounds, 0.5), min: quantile(&rounds, 0.0), max: quantile(&rounds, 1.0) }
    }
}

/// The median, then the range; the precision of the formatter is taken for all three.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let Self { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// The larger one; NaN if one of them is.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller one; NaN if one of them is.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

/// The smallest value that is at least as large as the fraction `q` of all; NaN of no values.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// p50, p95 and p99 of seconds, in milliseconds.
pub(crate) fn percentiles_ms(mut seconds: Vec<f64>) -> [f64; 3] {
    seconds.sort_unstable_by(f64::total_cmp);
    [0.5, 0.95, 0.99].map(|q| quantile(&seconds, q) * 1e3)
}

/// Durations in milliseconds, sorted.
pub(crate) fn sorted_ms(durations: &[Duration]) -> Vec<f64> {
    let mut ms: Vec<f64> = durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
    ms.sort_unstable_by(f64::total_cmp);
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| quantile(&sorted, q)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(quantile(&sorted[..1], 0.99), 1.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn what_was_not_measured_is_the_worst() {
        assert_eq!((larger(1.0, 2.0), larger(2.0, 1.0)), (2.0, 2.0));
        assert_eq!((smaller(1.0, 2.0), smaller(2.0, 1.0)), (1.0, 1.0));
        for (a, b) in [(1.0, f64::NAN), (f64::NAN, 1.0), (1.0, -f64::NAN), (-f64::NAN, 1.0)] {
            assert!(larger(a, b).is_nan() && smaller(a, b).is_nan(), "{a}, {b}");
        }
    }

    #[test]
    fn spread_prints_median_and_range() {
        assert_eq!(format!("{:.1}", Spread::of(vec![3.0, 1.0, 2.0])), "2.0 (1.0 to 3.0)");
    }
}
