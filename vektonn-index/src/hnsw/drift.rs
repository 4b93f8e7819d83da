//! Codes fit the points that there are; when those that come are others, all are coded anew.

use std::sync::Arc;

use rayon::prelude::*;
use vektonn_core::Metric;

use super::codes::Codes;
use super::graph::{Graph, spread};
use super::quantizer::{Quantizer, SAMPLE};
use super::{HnswIndex, Writer};
use crate::distance;
use crate::store::timeline::Batch;

/// Codes are made anew if new points lose this many times more than the first ones (by squared distance), and if that
/// helps by as much.
const DRIFT: f64 = 1.5;
/// How many new points tell that, at least: this number and this part of all, or fewer that lose more.
const POINTS_MIN: usize = 1024;
const PART: usize = 8;
/// A point that loses more than so many first ones counts as so many, so that it is not a few outliers that tell.
const LOST_MAX: usize = 32;

/// What new points lose by being coded.
#[derive(Default)]
pub(super) struct Drift {
    /// What a point is expected to lose.
    expected: f64,
    /// What new ones have lost, in units of that, and how many they are.
    lost: f64,
    coded: usize,
}

impl Drift {
    /// No new points yet; each is expected to lose so much.
    pub(super) fn from(expected: f64) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes notice of new points, in their order, so that the sum is the same for any number of threads.
    pub(super) fn add(&mut self, lost: &[f64]) {
        let relative =
            |&lost: &f64| if lost > 0.0 { (lost / self.expected).min(LOST_MAX as f64) } else { 0.0 };
        self.lost += lost.iter().map(relative).sum::<f64>();
        self.coded += lost.len();
    }

    /// What new points have lost on average, beside `live` others, if that is far too much.
    fn excess(&mut self, live: usize) -> Option<f64> {
        let enough = (live / PART).max(POINTS_MIN);
        let is_obvious = self.coded >= enough / LOST_MAX && self.lost > DRIFT * enough as f64;
        if self.coded < enough && !is_obvious {
            return None;
        }
        let relative = self.lost / self.coded as f64;
        *self = Self::from(self.expected);
        // Codes of points that are all the same are of use for no others.
        let lost = if self.expected > 0.0 { relative * self.expected } else { f64::INFINITY };
        (relative > DRIFT).then_some(lost)
    }
}

impl<T> HnswIndex<T> {
    /// No codes yet, for points like the live ones.
    pub(super) fn new_codes(&self, batch: &Batch<'_>) -> Codes {
        let view = self.rows.slots().writer_view(batch);
        let live: Vec<&[f32]> = (0..view.end()).filter_map(|slot| view.row(slot)).collect();
        let scaled = |row: &[f32]| {
            let factor = factor(self.metric, row);
            row.iter().map(|&x| (f64::from(x) * factor) as f32).collect()
        };
        let sample: Vec<Vec<f32>> =
            spread(live.len() as u32, SAMPLE).map(|i| scaled(live[i as usize])).collect();
        let norm_max = || live.iter().map(|row| distance::norm(row)).fold(0.0, f64::max);
        let norm_max = (self.metric == Metric::InnerProduct).then(norm_max);
        Codes::new(Quantizer::fit(&sample, self.dimension, self.kernels), norm_max)
    }

    /// Codes all points anew if new ones lose too much, and if that makes it much less.
    pub(super) fn watch_drift(&self, graph: &Graph, batch: &Batch<'_>, writer: &mut Writer) {
        let Some(lost) = writer.drift.excess(writer.live) else { return };
        let new = self.new_codes(batch);
        // If it does not help, what was lost is what points lose.
        writer.drift = Drift::from(new.quantizer.error);
        if new.quantizer.error * DRIFT > lost {
            return;
        }
        let view = self.rows.slots().writer_view(batch);
        let old = graph.codes.load_full();
        (0..old.end()).for_each(|slot| new.reserve(slot));
        let (metric, rows) = (self.metric, (0..old.end()).map(|slot| view.row(slot)));
        rows.collect::<Vec<_>>().into_par_iter().zip(0..old.end()).for_each(|(row, slot)| {
            match row {
                Some(row) => new.write(slot, row, factor(metric, row)),
                // The dead may still be a way to others.
                None => new.write(slot, &old.decode(slot), 1.0),
            };
        });
        graph.codes.store(Arc::new(new));
    }
}

/// What a vector is multiplied with before it is coded.
pub(super) fn factor(metric: Metric, row: &[f32]) -> f64 {
    if metric != Metric::Cosine {
        return 1.0;
    }
    let norm = distance::norm(row);
    if norm > 0.0 { 1.0 / norm } else { 1.0 }
}
