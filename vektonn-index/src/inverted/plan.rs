//! What a query does on a window, in whole numbers, and which sums exclude a point. docs/sparse-search.md derives it.

use std::sync::Arc;

use vektonn_core::Metric;

use super::lists::{List, Postings};
use super::query::SparseQuery;
use super::window::Window;
use crate::distance::sparse::{DenseList, DenseLists};
use crate::prefetch::prefetch;

/// Queries with more terms compare every row: sums of so many shares say little.
pub(super) const TERMS_MAX: usize = 1 << 14;

/// To read a long list takes time for all points of a window, so to be read it must be able to add so many times as much
/// as a posting of a short one. In favour of a larger number is a faster search, of a smaller one more recall.
const LONG_LEAST: f64 = 1.5;

/// Points of a list that are asked for at once; the processor itself asks for those that follow.
const POINTS_ASKED_FOR: usize = 512;

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
    /// With their weights.
    pub(super) short_plus: Vec<(Postings<'w>, u16)>,
    pub(super) short_minus: Vec<(Postings<'w>, u16)>,
    pub(super) long: DenseLists<'w>,
    /// What every sum starts with, so that none is negative.
    pub(super) bias: u16,
    /// How much of a sum a score of 1 is.
    unit: f64,
    /// How much a sum may fall short by rounding down.
    rounding: f64,
}

/// A list of the window that a term of the query has.
struct Needed<'w> {
    list: List<'w>,
    /// What an impact of 1 adds to a score, or takes away.
    per_impact: f64,
    is_minus: bool,
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

    /// The number of terms.
    pub(super) fn len(&self) -> usize {
        self.terms.len()
    }

    /// Asks for the memory that [`lists_of`](Self::lists_of) reads. Each step asks for what the next one reads, of all
    /// terms and windows at once.
    fn ask_for<'w>(&self, windows: impl Iterator<Item = &'w Window> + Clone) {
        let lists = windows.flat_map(|window| [&window.positive, &window.negative]);
        for lists in lists.clone() {
            self.terms.iter().for_each(|&(term, _)| lists.ask_for_bucket(term));
        }
        for lists in lists {
            self.terms.iter().for_each(|&(term, _)| lists.ask_for_entry(term));
        }
    }

    fn lists_of<'w>(&self, window: &'w Window) -> Vec<Needed<'w>> {
        let mut needed = Vec::with_capacity(self.terms.len());
        for &(term, weight) in &self.terms {
            let (same, other) = match weight > 0.0 {
                true => (&window.positive, &window.negative),
                false => (&window.negative, &window.positive),
            };
            for (lists, is_minus) in [(same, false), (other, true)] {
                if let Some((list, scale)) = lists.find(term) {
                    needed.push(Needed { list, per_impact: weight.abs() * f64::from(scale), is_minus });
                }
            }
        }
        needed
    }
}

/// Keeps of the lists what adds so much to a score, or takes so much away, that all else together is never more than what
/// is beyond `share` of what the lists can add.
fn keep_largest(needed: &mut Vec<Needed<'_>>, share: f64) {
    let most: Vec<_> = needed.iter().map(|needed| needed.per_impact * 255.0).collect();
    let least = water_level(&most, most.iter().sum::<f64>() * (1.0 - share));
    needed.retain_mut(|needed| {
        let least = if matches!(needed.list, List::Short(_)) { least } else { least * LONG_LEAST };
        let impact = (least / needed.per_impact).ceil().max(1.0);
        if impact > 255.0 {
            return false;
        }
        let (List::Short(postings) | List::Long(_, postings)) = needed.list;
        let kept = postings.at_least(impact as u8);
        // With all of its largest ones and more, a long list as a whole is faster, and better.
        if matches!(needed.list, List::Short(_)) || kept.len() < postings.len() {
            needed.list = List::Short(kept);
            prefetch(&kept.points[..kept.len().min(POINTS_ASKED_FOR)]);
            return kept.len() > 0;
        }
        true
    });
}

/// The level to which each of these must be filled, up to its own size, to take in so much together.
fn water_level(sizes: &[f64], volume: f64) -> f64 {
    let (mut level, mut full) = (volume / sizes.len() as f64, 0);
    loop {
        let below = sizes.iter().filter(|&&size| size <= level);
        let (sum, count) = below.fold((0.0, 0), |(sum, count), size| (sum + size, count + 1));
        if count <= full || count == sizes.len() {
            return level;
        }
        full = count;
        level = (volume - sum) / (sizes.len() - count) as f64;
    }
}

impl<'w> Plan<'w> {
    /// The lists of all terms.
    pub(super) fn new(weights: &'w Weights, window: &'w Window) -> Self {
        weights.ask_for(std::iter::once(window));
        Self::of_lists(weights, window, weights.lists_of(window))
    }

    /// For each window, what makes up `share` of all that the lists could add.
    pub(super) fn approximate(weights: &'w Weights, windows: &'w [Arc<Window>], share: f64) -> Vec<Self> {
        weights.ask_for(windows.iter().map(|window| &**window));
        let lists: Vec<_> = windows.iter().map(|window| weights.lists_of(window)).collect();
        let plan = |(window, mut needed): (&'w Arc<Window>, Vec<Needed<'w>>)| {
            keep_largest(&mut needed, share);
            Self::of_lists(weights, window, needed)
        };
        windows.iter().zip(lists).map(plan).collect()
    }

    fn of_lists(weights: &'w Weights, window: &'w Window, needed: Vec<Needed<'w>>) -> Self {
        let mut plan = Self {
            weights,
            window,
            short_plus: Vec::with_capacity(needed.len()),
            short_minus: Vec::new(),
            long: DenseLists::default(),
            bias: 0,
            unit: 1.0,
            rounding: 0.0,
        };
        if weights.metric == Metric::JaccardBinary {
            needed.into_iter().for_each(|needed| plan.add(&needed, 256));
            return plan;
        }
        let (plus_max, minus_max) = (plan.score_max(&needed, false), plan.score_max(&needed, true));
        if plus_max + minus_max == 0.0 {
            return plan;
        }
        plan.rounding = needed.iter().filter(|needed| !needed.is_minus).count() as f64;
        // 255 / 256: an impact is at most 255, but shares are weights times impacts by 256.
        plan.unit = (SUM_MAX - 2.0 - plan.rounding) / (plus_max + minus_max) * (255.0 / 256.0);
        plan.bias = (minus_max * plan.unit).ceil() as u16;
        for needed in needed {
            let weight = needed.per_impact * plan.unit * 256.0;
            let weight = if needed.is_minus { weight.floor() } else { weight.ceil() };
            plan.add(&needed, weight as u16);
        }
        plan
    }

    /// The most that lists can add to the score of a point, with impacts rounded up, or take away.
    fn score_max(&self, needed: &[Needed<'w>], minus: bool) -> f64 {
        let all = needed.iter().filter(|needed| needed.is_minus == minus).map(|needed| needed.per_impact);
        let (per_impact, largest) = (all.clone().sum::<f64>(), all.fold(0.0, f64::max));
        // By Cauchy and Schwarz; rounding up adds less than one impact each.
        let by_norms = self.weights.norm * self.window.norm_max * NORMS_SLACK + per_impact;
        // But no weight may be too large for 16 bits, either.
        by_norms.min(per_impact * 255.0).max(largest * 255.0)
    }

    fn add(&mut self, needed: &Needed<'w>, weight: u16) {
        let (short, long) = match needed.is_minus {
            false => (&mut self.short_plus, &mut self.long.plus),
            true => (&mut self.short_minus, &mut self.long.minus),
        };
        match needed.list {
            List::Short(postings) => short.push((postings, weight)),
            List::Long(codes, _) => long.push(DenseList { codes, weight }),
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
        match self.weights.metric {
            // Floats from 0 up are ordered as their bits.
            Metric::JaccardBinary => self.similarity(largest, block).to_bits(),
            _ => largest.into(),
        }
    }

    /// The distance that a point of the block has if its sum tells all.
    pub(super) fn estimate(&self, sum: u16, block: usize) -> f32 {
        let score = (f64::from(sum) - f64::from(self.bias)) / self.unit;
        match self.weights.metric {
            Metric::JaccardBinary => 1.0 - self.similarity(sum, block),
            Metric::Cosine => (1.0 - score) as f32,
            _ => -score as f32,
        }
    }

    /// The largest Jaccard index of a point in the block with so many common terms.
    fn similarity(&self, common: u16, block: usize) -> f32 {
        let (common, query) = (f64::from(common), self.weights.terms.len() as f64);
        let union = (query + f64::from(self.window.size_min(block)) - common).max(query);
        (common / union) as f32
    }
}
