//! Approximate dense search: whatever is inserted, replaced, deleted and looked back at, a search finds `k` live points if
//! there are as many, nearest first, at the distances of exact search; and the graph is whole.
//!
//! The first two bytes choose the metric and the parameters, the others are operations and what they need.
#![no_main]

mod operations;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use vektonn_index::{HnswParams, IndexStore, Metric, SearchOptions, StoreChange, View};

use crate::operations::{Bytes, Random};

/// Numbers that make a point, and how many dimensions it has: few of them are coded as they are, many are rotated or projected.
const NUMBERS: usize = 3;
const DIMENSIONS: [usize; 2] = [NUMBERS, 128];
const VIEWS_MAX: usize = 3;
const FILLED_MAX: usize = 1 << 11;

type Point = [f32; NUMBERS];

/// The same points, approximately and exactly searched.
struct Subject {
    dimension: usize,
    graph: IndexStore<u16>,
    exact: IndexStore<u16>,
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = Bytes(input);
    let byte = usize::from(bytes.next());
    let metric = [Metric::L2, Metric::InnerProduct, Metric::Cosine][byte % 3];
    let dimension = DIMENSIONS[byte / 3 % 2];
    let byte = bytes.next();
    let params = HnswParams {
        m: u32::from(byte % 4) + 2,
        ef_construction: u32::from(byte / 4 % 16) + 1,
        ef_search: u32::from(byte / 64) + 1,
        ..HnswParams::default()
    };
    let subject = Subject {
        dimension,
        graph: IndexStore::hnsw(metric, dimension, params).expect("there is such an index"),
        exact: IndexStore::dense(metric, dimension).expect("there is such an index"),
    };
    let mut views: Vec<[View<'_, u16, ()>; 2]> = vec![];
    let mut filled = 0;
    while !bytes.0.is_empty() {
        match bytes.next() % 8 {
            0..=2 => subject.apply((0..bytes.next() % 40).map(|_| bytes.change())),
            3 if filled < FILLED_MAX => {
                let count = usize::from(bytes.next()) * 2;
                filled += count;
                let mut random = Random(u64::from_le_bytes([bytes.next(); 8]) | 1);
                subject.apply((0..count).map(|_| random.change()));
            }
            4 => {
                let (first, count) = (u16::from(bytes.next()), u16::from(bytes.next()));
                subject.apply((first..first + count).map(|id| (id, None)));
            }
            5 => {
                views.truncate(VIEWS_MAX - 1);
                views.insert(0, subject.views());
            }
            _ => {
                let (query, k) = (vector(bytes.point(), dimension), usize::from(bytes.next() % 12) + 1);
                let options = SearchOptions::new(k).ef_search(usize::from(bytes.next() % 32) + 1);
                views.iter().for_each(|views| check(views, &query, &options));
                check(&subject.views(), &query, &options);
            }
        }
    }
    drop(views);
    subject.graph.check_graph().expect("the graph is whole");
});

impl Subject {
    fn apply(&self, changes: impl Iterator<Item = (u16, Option<Point>)>) {
        let change = |(id, point): (u16, Option<Point>)| match point {
            Some(point) => {
                StoreChange::upsert(id, vector(point, self.dimension).try_into().expect("all are finite"), ())
            }
            None => StoreChange::delete(id),
        };
        let changes: Vec<_> = changes.map(change).collect();
        for store in [&self.exact, &self.graph] {
            store.apply(changes.clone()).expect("all vectors fit");
        }
    }

    fn views(&self) -> [View<'_, u16, ()>; 2] {
        [self.graph.view(), self.exact.view()]
    }
}

/// The numbers, again and again, each time smaller.
fn vector(point: Point, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|j| point[j % NUMBERS] / (1 + j / NUMBERS) as f32).collect()
}

fn check([graph, exact]: &[View<'_, u16, ()>; 2], query: &[f32], options: &SearchOptions) {
    let found = |view: &View<'_, u16, ()>, options: &SearchOptions| -> Vec<(f32, u16)> {
        let hits = view.search(query, options).expect("the query fits");
        hits.iter().map(|hit| (hit.distance, *hit.id)).collect()
    };
    let all: BTreeMap<u16, f32> =
        found(exact, &SearchOptions::new(1 << 16)).into_iter().map(|(distance, id)| (id, distance)).collect();
    let found = found(graph, options);
    assert_eq!(found.len(), options.k.min(all.len()));
    assert!(found.iter().all(|(distance, id)| all.get(id) == Some(distance)), "{found:?}");
    assert!(found.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)), "{found:?}");
}

impl Bytes<'_> {
    fn change(&mut self) -> (u16, Option<Point>) {
        let id = u16::from(self.next());
        (id, (id % 8 != 7).then(|| self.point()))
    }

    fn point(&mut self) -> Point {
        [(); NUMBERS].map(|()| match self.next() {
            1 => -1e-40,
            2 => 1e30,
            3 => -3e38,
            byte => f32::from(byte as i8) / 16.0,
        })
    }
}

impl Random {
    /// Few coordinates, so that many points are equal.
    fn change(&mut self) -> (u16, Option<Point>) {
        let id = (self.next() % 1024) as u16;
        (id, Some([(); NUMBERS].map(|()| (self.next() % 15) as f32 / 4.0 - 1.0)))
    }
}
