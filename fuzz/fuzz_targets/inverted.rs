//! Sparse search: whatever is inserted, replaced, deleted and looked back at, a search finds what comparing all points finds,
//! to the bit; an approximate one finds as many, at true distances.
//!
//! The first byte chooses the metric, the others are operations and what they need.
#![no_main]

mod operations;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use vektonn_index::{IndexStore, Metric, SearchOptions, SparseVector, StoreChange, View};

use crate::operations::{Bytes, Random};

const DIMENSION: usize = u32::MAX as usize;
const VIEWS_MAX: usize = 3;
/// Enough for windows of several levels, and for them to be made anew.
const FILLED_MAX: usize = 1 << 12;

type Points = BTreeMap<u16, SparseVector>;

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let metric = [Metric::InnerProduct, Metric::Cosine, Metric::JaccardBinary][usize::from(bytes.next()) % 3];
    let store = IndexStore::sparse(metric, DIMENSION).expect("there is such an index");
    let mut points = Points::new();
    let mut views: Vec<(View<'_, u16, ()>, Points)> = vec![];
    let mut filled = 0;
    while !bytes.0.is_empty() {
        match bytes.next() % 8 {
            0..=2 => {
                let changes = (0..bytes.next() % 40).map(|_| bytes.change()).collect();
                apply(&store, &mut points, changes);
            }
            3 if filled < FILLED_MAX => {
                let count = usize::from(bytes.next()) * 8;
                filled += count;
                let mut random = Random(u64::from_le_bytes([bytes.next(); 8]) | 1);
                apply(&store, &mut points, (0..count).map(|_| random.change()).collect());
            }
            4 => {
                let (first, count) = (u16::from(bytes.next()), u16::from(bytes.next()) * 8);
                apply(&store, &mut points, (first..first + count).map(|id| (id, None)).collect());
            }
            5 => {
                views.truncate(VIEWS_MAX - 1);
                views.insert(0, (store.view(), points.clone()));
            }
            _ => {
                let (query, k) = (bytes.vector(), usize::from(bytes.next() % 12) + 1);
                for (view, points) in &views {
                    check(view, metric, points, &query, k);
                }
                check(&store.view(), metric, &points, &query, k);
            }
        }
    }
    assert_eq!(store.len(), points.len());
});

fn apply(store: &IndexStore<u16>, points: &mut Points, changes: Vec<(u16, Option<SparseVector>)>) {
    let change = |(id, vector)| match vector {
        Some(vector) => {
            points.insert(id, SparseVector::clone(&vector));
            StoreChange::upsert(id, vector.into(), ())
        }
        None => {
            points.remove(&id);
            StoreChange::delete(id)
        }
    };
    store.apply(changes.into_iter().map(change).collect::<Vec<_>>()).expect("all vectors fit");
}

fn check(view: &View<'_, u16, ()>, metric: Metric, points: &Points, query: &SparseVector, k: usize) {
    let found = |options: &SearchOptions| -> Vec<(f32, u16)> {
        let hits = view.search(query, options).expect("the query fits");
        hits.iter().map(|hit| (hit.distance, *hit.id)).collect()
    };
    let distances = points.iter().map(|(&id, point)| (distance(metric, query, point), id));
    let mut expected: Vec<(f32, u16)> = distances.collect();
    expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let true_distances: BTreeMap<u16, f32> = expected.iter().map(|&(distance, id)| (id, distance)).collect();
    expected.truncate(k);
    assert_eq!(found(&SearchOptions::new(k)), expected);
    let approximate = found(&SearchOptions::new(k).approximation(0.6));
    assert_eq!(approximate.len(), expected.len());
    assert!(approximate.iter().all(|(distance, id)| true_distances[id] == *distance));
    assert!(approximate.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
}

/// The plain definition, in f64.
fn distance(metric: Metric, query: &SparseVector, point: &SparseVector) -> f32 {
    let pairs = |vector: &SparseVector| -> BTreeMap<u32, f64> {
        vector.indices().iter().copied().zip(vector.values().iter().map(|&x| f64::from(x))).collect()
    };
    let (query, point) = (pairs(query), pairs(point));
    let dot: f64 = point.iter().map(|(term, x)| query.get(term).unwrap_or(&0.0) * x).sum();
    let norm = |vector: &BTreeMap<u32, f64>| vector.values().map(|x| x * x).sum::<f64>().sqrt();
    let size = |vector: &BTreeMap<u32, f64>| vector.values().filter(|&&x| x != 0.0).count();
    let distance = match metric {
        Metric::InnerProduct | Metric::L2 => -dot,
        Metric::Cosine => {
            let norms = norm(&query) * norm(&point);
            if norms == 0.0 { 1.0 } else { (1.0 - dot / norms).clamp(0.0, 2.0) }
        }
        Metric::JaccardBinary => {
            let is_common = |term: &u32| query.get(term).is_some_and(|&x| x != 0.0) && point[term] != 0.0;
            let common = point.keys().filter(|term| is_common(term)).count();
            let union = size(&query) + size(&point) - common;
            if union == 0 { 1.0 } else { 1.0 - common as f64 / union as f64 }
        }
    };
    // A sum that leaves the range of f32 is farther than everything; there is no -0.0.
    if (distance as f32).is_finite() { distance as f32 + 0.0 } else { f32::INFINITY }
}

impl Bytes<'_> {
    fn change(&mut self) -> (u16, Option<SparseVector>) {
        let id = u16::from(self.next());
        (id, (id % 8 != 7).then(|| self.vector()))
    }

    fn vector(&mut self) -> SparseVector {
        let pairs = (0..self.next() % 16).map(|_| (self.term(), self.value())).collect();
        vector(pairs)
    }

    /// Some are in many points, some are far from all others.
    fn term(&mut self) -> u32 {
        match self.next() {
            byte @ 0..=199 => u32::from(byte % 64),
            byte => u32::from(byte).wrapping_mul(0x1357_9bdf) & !1,
        }
    }

    fn value(&mut self) -> f32 {
        match self.next() {
            0 => 0.0,
            1 => -1e-40,
            2 => 1e30,
            3 => -300.0,
            byte => f32::from(byte as i8) / 16.0,
        }
    }
}

fn vector(pairs: BTreeMap<u32, f32>) -> SparseVector {
    let (indices, values): (Vec<u32>, Vec<f32>) = pairs.into_iter().unzip();
    SparseVector::new(&indices, &values, DIMENSION).expect("indices are unique and values finite")
}

impl Random {
    fn change(&mut self) -> (u16, Option<SparseVector>) {
        let terms = self.next() % 12;
        // The product of two numbers is small more often.
        let term = |random: &mut Self| ((random.next() % 32) * (random.next() % 32)) as u32;
        let pairs = (0..terms).map(|_| (term(self), (self.next() % 15) as f32 / 4.0 - 1.0)).collect();
        ((self.next() % 2048) as u16, Some(vector(pairs)))
    }
}
