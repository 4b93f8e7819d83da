//! Codes fit the points that there are; when those that come are others, all are coded anew.

use std::sync::Arc;

use rayon::prelude::*;
use vektonn_core::Metric;

use super::codes::Codes;
use super::graph::{Graph, spread};
use super::quantizer::{Quantizer, SAMPLE};
use super::{HnswIndex, Writer};
use crate::store::timeline::Batch;
use crate::{distance, workers};

/// Codes are made anew if new points lose this many times more than the first ones (by squared distance), and if that
/// helps by as much.
const DRIFT: f64 = 1.5;
/// How many new points tell that, at least: this number and this part of all, or fewer that lose more.
const POINTS_MIN: usize = 1024;
const PART: usize = 8;
/// A point that loses more than so many first ones counts as so many, so that it is not a few outliers that tell.
const LOST_MAX: usize = 32;

/// Points that are remembered to see whether other codes would be better for them.
const REMEMBERED_MAX: usize = 256;
/// Numbers of a sample that codes are fitted to, at most.
const SAMPLE_NUMBERS_MAX: usize = 1 << 24;

/// What new points lose by being coded.
#[derive(Default)]
pub(super) struct Drift {
    /// What a point is expected to lose.
    expected: f64,
    /// What new ones have lost, in units of that, and how many they are.
    lost: f64,
    coded: usize,
    /// The first ones that have lost too much.
    remembered: Vec<u32>,
}

impl Drift {
    /// No new points yet; each is expected to lose so much.
    pub(super) fn from(expected: f64) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes notice of new points, in their order, so that the sum is the same for any number of threads.
    pub(super) fn add(&mut self, slots: &[u32], lost: &[f64]) {
        for (&slot, &lost) in slots.iter().zip(lost) {
            let relative = if lost > 0.0 { (lost / self.expected).min(LOST_MAX as f64) } else { 0.0 };
            self.lost += relative;
            if relative > DRIFT && self.remembered.len() < REMEMBERED_MAX {
                self.remembered.push(slot);
            }
        }
        self.coded += lost.len();
    }

    /// The points that have lost too much, if new ones beside `live` others do on average.
    fn strangers(&mut self, live: usize) -> Option<Vec<u32>> {
        let enough = (live / PART).max(POINTS_MIN);
        if self.coded < enough && self.lost <= DRIFT * enough as f64 {
            return None;
        }
        let old = std::mem::replace(self, Self::from(self.expected));
        (old.lost > DRIFT * old.coded as f64).then_some(old.remembered)
    }
}

/// Rows times their factors, spread over all of them: `count`, at most.
fn sample<'p, R: Iterator<Item = (&'p [f32], f64)>>(rows: impl Fn() -> R, count: usize) -> Vec<Vec<f32>> {
    let mut places = spread(rows().count() as u32, count).peekable();
    let rows = (0..).zip(rows()).filter(|(i, _)| places.next_if_eq(i).is_some());
    let scaled = |(row, factor): (&[f32], f64)| row.iter().map(|&x| (f64::from(x) * factor) as f32).collect();
    rows.map(|(_, row)| scaled(row)).collect()
}

impl<T> HnswIndex<T> {
    /// No codes yet, for points like the live ones.
    pub(super) fn new_codes(&self, batch: &Batch<'_>) -> Codes {
        let view = self.slots().writer_view(batch);
        let (dimension, kernels) = (self.rows.dimension(), self.rows.kernels());
        let count = SAMPLE.min(SAMPLE_NUMBERS_MAX / dimension);
        let mut sampled = sample(|| (0..view.end()).filter_map(|slot| self.row_to_code(view, slot)), count);
        if sampled.is_empty() {
            // What comes will be unlike them, and then there will be others.
            sampled = sample(|| (0..view.end()).filter_map(|slot| self.rows.row_to_code(view, slot)), count);
        }
        let is_product = self.rows.metric() == Metric::InnerProduct;
        let all: Vec<&[f32]> = match is_product {
            true => (0..view.end()).filter_map(|slot| view.row(slot)).collect(),
            false => Vec::new(),
        };
        workers::run(|| {
            let quantizer = Quantizer::fit(&sampled, dimension, !is_product, kernels);
            let norms =
                workers::in_parts(all.par_iter(), workers::ROWS_TOGETHER).map(|row| distance::norm(row));
            Codes::new(quantizer, is_product.then(|| norms.reduce(|| 0.0, f64::max)))
        })
    }

    /// Codes all points anew if new ones lose too much, and if other codes make that much less.
    pub(super) fn watch_drift(&self, graph: &Graph, batch: &Batch<'_>, writer: &mut Writer) {
        let Some(strangers) = writer.drift.strangers(self.linked(writer)) else { return };
        let (new, old) = (self.new_codes(batch), graph.codes.load_full());
        let view = self.slots().writer_view(batch);
        let row = |slot| self.row_to_code(view, slot);
        let rows: Vec<(&[f32], f64)> = strangers.into_iter().filter_map(row).collect();
        let lost_by = |codes: &Codes| rows.iter().map(|&(row, factor)| codes.lost(row, factor)).sum::<f64>();
        let (before, after) = (lost_by(&old), lost_by(&new));
        if rows.is_empty() || after * DRIFT > before {
            // Then that is what points of this kind lose.
            let lost = before / rows.len().max(1) as f64;
            writer.drift = Drift::from(lost.max(new.quantizer.error));
            return;
        }
        writer.drift = Drift::from(new.quantizer.error);
        (0..old.end()).for_each(|slot| new.reserve(slot));
        let live: Vec<(u32, (&[f32], f64))> =
            (0..old.end()).filter_map(|slot| Some((slot, row(slot)?))).collect();
        let code = |(slot, (row, factor))| _ = new.write(slot, row, factor);
        workers::run(|| workers::in_parts(live.into_par_iter(), workers::ROWS_TOGETHER).for_each(code));
        // These dead are still a way to others; nobody comes across the rest.
        writer.upkeep.linked_dead().for_each(|slot| _ = new.write(slot, &old.decode(slot), 1.0));
        graph.codes.store(Arc::new(new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds points that lose so much, until there is something to say: after how many, and of how many.
    fn strangers_of(mut drift: Drift, lost: f64) -> Option<(u32, usize)> {
        (0..10_000).find_map(|slot| {
            drift.add(&[slot], &[lost]);
            drift.strangers(10_000).map(|strangers| (slot + 1, strangers.len()))
        })
    }

    #[test]
    fn the_more_points_lose_the_sooner_it_is_noticed() {
        assert_eq!(strangers_of(Drift::from(2.0), 2.0), None);
        assert_eq!(strangers_of(Drift::from(2.0), 3.2), Some((1172, 256)));
        assert_eq!(strangers_of(Drift::from(2.0), 20.0), Some((188, 188)));
        assert_eq!(strangers_of(Drift::from(2.0), 1e9), Some((59, 59)));
        assert_eq!(strangers_of(Drift::from(0.0), 1e-9), Some((59, 59)));
    }

    #[test]
    fn a_few_outliers_tell_nothing() {
        let mut drift = Drift::from(2.0);
        for slot in 0..10_000 {
            drift.add(&[slot], &[if slot % 100 == 0 { 1e9 } else { 2.0 }]);
            assert!(drift.strangers(10_000).is_none());
        }
    }
}
