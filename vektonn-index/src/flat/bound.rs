//! Which scores of codes mean that a row cannot be among the nearest. The derivation is in docs/exact-search.md.

use vektonn_core::Metric;

use super::ranges::{Coded, Ranges};
use crate::dense_rows::{DenseQuery, factor};
use crate::distance;
use crate::distance::int8::{Probe, QueryCode, WINDOW, low_max};

/// The finest step of a query's codes, relative to the scale of the rows.
const STEP_MIN: f64 = 1.0 / (1 << 20) as f64;
/// More than the rounding errors, relative to the largest terms, of a score in f32, and of what it is compared with.
const SCORE_SLACK: f64 = 8.0 / (1 << 24) as f64;
/// More than the relative rounding errors of what is computed in f64 here.
const F64_SLACK: f64 = 1.0 / (1_u64 << 40) as f64;
/// The smallest positive f32: more than what underflow takes from one product.
const UNDERFLOW: f64 = 1.401_298_464_324_817e-45;

/// Which of the two bounds a metric needs, and what its rows are coded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// The distance between points. Rows of the cosine are coded as points of the unit sphere.
    Euclidean { unit: bool },
    /// The inner product.
    InnerProduct,
}

impl Space {
    pub(super) fn of(metric: Metric) -> Self {
        match metric {
            Metric::InnerProduct => Self::InnerProduct,
            Metric::Cosine => Self::Euclidean { unit: true },
            _ => Self::Euclidean { unit: false },
        }
    }

    pub(super) fn is_unit(self) -> bool {
        matches!(self, Self::Euclidean { unit: true })
    }

    /// The two terms of a row's score, or nothing if it is too far from its codes for them to be of use.
    pub(super) fn terms(self, coded: Coded, ranges: &Ranges) -> Option<[f32; 2]> {
        let dimension = ranges.zero.len();
        let unit_error = if self.is_unit() { unit_error(dimension) / ranges.scale } else { 0.0 };
        let error = up(coded.error + unit_error);
        if f64::from(error) > error_max(dimension) {
            return None;
        }
        let first = match self {
            Self::Euclidean { .. } => down(coded.squared_norm - f64::from(error) * f64::from(error)),
            Self::InnerProduct => up(coded.squared_norm.sqrt()),
        };
        Some([first, error])
    }
}

/// The largest error of a row that is coded, and the largest norm of its codes, in units of the scale.
fn error_max(dimension: usize) -> f64 {
    255.0 * (dimension as f64).sqrt()
}

/// More than the relative error of a norm made in f64, and of what was divided by it.
fn unit_error(dimension: usize) -> f64 {
    (dimension as f64 + 8.0) * f64::EPSILON
}

/// Twice the relative error of a canonical sum of so many terms, the subtractions before it included.
fn sum_error(dimension: usize) -> f64 {
    (dimension as f64 / 16.0 + 16.0) * f64::from(f32::EPSILON)
}

/// A query, coded for rows that are coded with certain ranges.
pub(super) struct CodedQuery {
    /// Its `step` stands for multiples of the scale, or for coordinates for the inner product.
    coded: QueryCode,
    space: Space,
    dimension: usize,
    /// The scale of the rows.
    scale: f64,
    /// The norm of what coding lost, in the units of `step`.
    error: f64,
    /// Of the query; its inner product with the center, and the center's norm. Only for the inner product.
    norm: f64,
    of_center: f64,
    center_norm: f64,
}

/// What the scores of rows are made with and compared with, for a certain distance that they must not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) weights: [f32; 2],
    pub(super) at_least: f32,
}

impl CodedQuery {
    pub(super) fn new(query: &DenseQuery<'_>, space: Space, ranges: &Ranges) -> Self {
        let (query, factor) = (query.coordinates, factor(query.norm));
        let dimension = query.len();
        let mut exact = vec![0.0; dimension.next_multiple_of(WINDOW)];
        match space {
            Space::Euclidean { .. } => ranges.place(query, factor, &mut exact[..dimension]),
            Space::InnerProduct => {
                exact.iter_mut().zip(query).for_each(|(exact, &x)| *exact = f64::from(x));
                ranges.rotate(&mut exact[..dimension]);
            }
        }
        let step_min = if space == Space::InnerProduct { f64::MIN_POSITIVE } else { STEP_MIN };
        let coded = ranges.kernels.encode_query(&exact, &ranges.zero, step_min);
        let unit_error = if space.is_unit() { unit_error(dimension) / ranges.scale } else { 0.0 };
        let error = coded.lost.sqrt() * (1.0 + 1e-9) + 1e-9 * coded.step * dimension as f64 + unit_error;
        let (mut norm, mut of_center, mut center_norm) = (0.0, 0.0, 0.0);
        if space == Space::InnerProduct {
            norm = distance::norm(query);
            of_center = distance::dot(query, &ranges.center);
            center_norm = distance::norm(&ranges.center);
        }
        Self { coded, space, dimension, scale: ranges.scale, error, norm, of_center, center_norm }
    }

    /// What rows are compared with that have a [`low_norm`](crate::distance::int8::low_norm) of at most `low_norm_max`.
    pub(super) fn probe(&self, limit: &Limit, low_norm_max: f64) -> Probe<'_> {
        let QueryCode { sum, squared_norm, .. } = self.coded;
        let [of_mean, of_rest] = low_max(sum, squared_norm.sqrt(), low_norm_max);
        let at_least = f64::from(limit.at_least);
        let rounding = (at_least.abs() + of_mean.abs() + of_rest) * F64_SLACK;
        Probe {
            code: &self.coded.code,
            weights: limit.weights,
            at_least: limit.at_least,
            high_at_least: down(at_least - of_mean - of_rest - rounding),
        }
    }

    /// The scores to expect of rows whose final distance does not exceed `distance`.
    pub(super) fn limit(&self, distance: f32) -> Limit {
        debug_assert!(!distance.is_nan(), "final distances are never NaN");
        if distance == f32::INFINITY {
            return Limit { weights: self.weights_of_estimate(), at_least: f32::NEG_INFINITY };
        }
        match self.space {
            Space::Euclidean { unit } => self.euclidean_limit(f64::from(distance), unit),
            Space::InnerProduct => self.inner_product_limit(f64::from(distance)),
        }
    }

    /// Makes a score greater for rows that are probably nearer.
    fn weights_of_estimate(&self) -> [f32; 2] {
        match self.space {
            Space::Euclidean { .. } => [(-0.5 / self.coded.step) as f32, 0.0],
            Space::InnerProduct => [0.0, 0.0],
        }
    }

    fn euclidean_limit(&self, distance: f64, unit: bool) -> Limit {
        let sum_error = sum_error(self.dimension);
        let squared = if unit {
            2.0 * (distance + sum_error + f64::from(f32::EPSILON) * 2.0)
        } else {
            (distance + self.dimension as f64 * UNDERFLOW) / (1.0 - sum_error)
        };
        let reach = squared.max(0.0).sqrt() * (1.0 + F64_SLACK) / self.scale + self.error;
        let weights = [-0.5 / self.coded.step, reach / self.coded.step];
        let of_query = self.coded.squared_norm * self.coded.step / 2.0;
        let of_reach = reach * reach / (2.0 * self.coded.step);
        let score = self.coded.of_zeros + of_query - of_reach;
        self.with_slack(weights, score, self.coded.of_zeros.abs() + of_query + of_reach)
    }

    fn inner_product_limit(&self, distance: f64) -> Limit {
        let sum_error = sum_error(self.dimension) * self.norm;
        let weights = [(self.error + sum_error) / self.coded.step, (self.norm + sum_error) / self.coded.step];
        let unit = 1.0 / (self.scale * self.coded.step);
        let slack = sum_error * self.center_norm + self.dimension as f64 * UNDERFLOW;
        let score = self.coded.of_zeros + (-distance - self.of_center - slack) * unit;
        let terms = (distance.abs() + self.of_center.abs() + slack) * unit;
        self.with_slack(weights, score, self.coded.of_zeros.abs() + terms)
    }

    /// Takes off what rounding may have cost the score of a row, and `score` itself, whose terms are at most `terms`.
    fn with_slack(&self, weights: [f64; 2], score: f64, terms: f64) -> Limit {
        let largest = error_max(self.dimension);
        let first_max = match self.space {
            Space::Euclidean { .. } => largest * largest,
            Space::InnerProduct => largest,
        };
        let scores = 255.0 * self.coded.magnitude + weights[0].abs() * first_max + weights[1].abs() * largest;
        let at_least = score - terms * F64_SLACK - scores * SCORE_SLACK;
        Limit { weights: weights.map(|weight| weight as f32), at_least: down(at_least) }
    }
}

/// The nearest f32 that is not less.
fn up(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) < x { nearest.next_up() } else { nearest }
}

/// The nearest f32 that is not greater.
fn down(x: f64) -> f32 {
    -up(-x)
}
