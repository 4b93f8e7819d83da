//! What a query does on a window, in whole numbers, and which sums exclude a point. docs/sparse-search.md derives it.

use vektonn_core::Metric;

use super::lists::List;
use super::query::SparseQuery;
use super::window::Window;
use crate::distance::sparse::{DenseList, DenseLists};

/// Queries with more terms compare every row: sums of so many shares say little.
pub(super) const TERMS_MAX: usize = 1 << 14;

/// The largest sum.
const SUM_MAX: f64 = u16::MAX as f64;
/// Norms and their product are rounded; this is far more, for vectors of up to 2^32 coordinates.
const NORMS_SLACK: f64 = 1.0 + 1e-6;
/// Half a unit in the last place of a final distance of up to 2, and f64's rounding errors, together are less.
const COSINE_SLACK: f64 = f32::EPSILON as f64;

/// The coordinates of a query that are not zero, as a window's magnitudes need them.
pub(super) struct Weights {
    metric: Metric,
    terms: Vec<(u32, f64)>,
    /// Their norm, or a little more.
    norm: f64,
}

/// The lists of a window that a query needs, with weights that make of impacts parts of 16-bit sums.
pub(super) struct Plan<'w> {
    weights: &'w Weights,
    window: &'w Window,
    /// Points, impacts and weight.
    pub(super) short_plus: Vec<(&'w [u16], &'w [u8], u16)>,
    pub(super) short_minus: Vec<(&'w [u16], &'w [u8], u16)>,
    pub(super) long: DenseLists<'w>,
    /// What every sum starts with, so that none is negative.
    pub(super) bias: u16,
    /// How much of a sum a score of 1 is.
    unit: f64,
    /// How much a sum may fall short by rounding down.
    rounding: f64,
}

impl Weights {
    pub(super) fn new(query: &SparseQuery<'_>) -> Self {
        let metric = query.metric();
        let weight = |value: f32| match metric {
            Metric::JaccardBinary => 1.0,
            Metric::Cosine => f64::from(value) / query.norm(),
            _ => f64::from(value),
        };
        let norm = if metric == Metric::Cosine { 1.0 } else { query.norm() };
        let terms = query.non_zeros().map(|(term, value)| (term, weight(value))).collect();
        Self { metric, terms, norm: norm * NORMS_SLACK }
    }
}

impl<'w> Plan<'w> {
    pub(super) fn new(weights: &'w Weights, window: &'w Window) -> Self {
        let mut plan = Self {
            weights,
            window,
            short_plus: Vec::with_capacity(weights.terms.len()),
            short_minus: Vec::new(),
            long: DenseLists::default(),
            bias: 0,
            unit: 1.0,
            rounding: 0.0,
        };
        if weights.metric == Metric::JaccardBinary {
            for &(term, _) in &weights.terms {
                if let Some((list, _)) = window.positive.find(term) {
                    plan.plus(list, 256);
                }
            }
            return plan;
        }
        let (mut plus, mut minus) = (Vec::with_capacity(weights.terms.len()), Vec::new());
        for &(term, weight) in &weights.terms {
            let (same, other) = match weight > 0.0 {
                true => (&window.positive, &window.negative),
                false => (&window.negative, &window.positive),
            };
            let per_impact = |(list, scale): (List<'w>, f32)| (list, weight.abs() * f64::from(scale));
            plus.extend(same.find(term).map(per_impact));
            minus.extend(other.find(term).map(per_impact));
        }
        let (plus_max, minus_max) = (plan.score_max(&plus), plan.score_max(&minus));
        if plus_max + minus_max == 0.0 {
            return plan;
        }
        plan.rounding = plus.len() as f64;
        // 255 / 256: an impact is at most 255, but shares are weights times impacts by 256.
        plan.unit = (SUM_MAX - 2.0 - plan.rounding) / (plus_max + minus_max) * (255.0 / 256.0);
        plan.bias = (minus_max * plan.unit).ceil() as u16;
        for (list, per_impact) in plus {
            plan.plus(list, (per_impact * plan.unit * 256.0).ceil() as u16);
        }
        for (list, per_impact) in minus {
            plan.minus(list, (per_impact * plan.unit * 256.0).floor() as u16);
        }
        plan
    }

    /// The most that lists can add to the score of a point, with impacts rounded up.
    fn score_max(&self, lists: &[(List<'w>, f64)]) -> f64 {
        let per_impact: f64 = lists.iter().map(|&(_, per_impact)| per_impact).sum();
        let largest = lists.iter().map(|&(_, per_impact)| per_impact).fold(0.0, f64::max);
        // By Cauchy and Schwarz; rounding up adds less than one impact each.
        let by_norms = self.weights.norm * self.window.norm_max * NORMS_SLACK + per_impact;
        // But no weight may be too large for 16 bits, either.
        by_norms.min(per_impact * 255.0).max(largest * 255.0)
    }

    fn plus(&mut self, list: List<'w>, weight: u16) {
        match list {
            List::Short { points, impacts } => self.short_plus.push((points, impacts, weight)),
            List::Long(codes) => self.long.plus.push(DenseList { codes, weight }),
        }
    }

    fn minus(&mut self, list: List<'w>, weight: u16) {
        match list {
            List::Short { points, impacts } => self.short_minus.push((points, impacts, weight)),
            List::Long(codes) => self.long.minus.push(DenseList { codes, weight }),
        }
    }

    /// The sum that a point of the block has at least, if its final distance is at most `bound`; more than any sum has,
    /// if there is no such point.
    pub(super) fn at_least(&self, bound: f32, block: usize) -> u32 {
        if bound == f32::INFINITY {
            return 0;
        }
        let bound = f64::from(bound);
        let terms = self.weights.terms.len() as f64;
        let sum = match self.weights.metric {
            Metric::JaccardBinary => {
                // common / (query + size - common) >= similarity
                let similarity = 1.0 - bound - COSINE_SLACK;
                let sizes = terms + f64::from(self.window.size_min(block));
                similarity * sizes / (1.0 + similarity) - 1e-9 * sizes
            }
            Metric::Cosine => {
                let score = 1.0 - bound - COSINE_SLACK - terms * f64::EPSILON;
                self.sum_of(score)
            }
            _ => {
                let norms = self.weights.norm * self.window.norm_max * NORMS_SLACK;
                let rounding = bound.abs() * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
                self.sum_of(-bound - rounding - terms * f64::EPSILON * norms)
            }
        };
        sum.ceil().clamp(0.0, SUM_MAX + 1.0) as u32
    }

    /// No point with such a score or a larger one has a smaller sum.
    fn sum_of(&self, score: f64) -> f64 {
        score * self.unit + f64::from(self.bias) - self.rounding - 0.01
    }

    /// A number that orders blocks by how near their nearest point may be, if `largest` is the largest sum.
    pub(super) fn promise(&self, largest: u16, block: usize) -> u32 {
        if self.weights.metric != Metric::JaccardBinary {
            return largest.into();
        }
        let (common, query) = (f64::from(largest), self.weights.terms.len() as f64);
        let union = (query + f64::from(self.window.size_min(block)) - common).max(query);
        // Floats from 0 up are ordered as their bits.
        ((common / union) as f32).to_bits()
    }
}
