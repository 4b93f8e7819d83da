//! The graph against the simplest correct thing, a scan of all points, while points come, change and go.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vektonn_core::MemoryMode;

use super::*;
use crate::distance::{DenseKernels, InstructionSet};
use crate::store::timeline::Timeline;
use crate::top_k::TopK;

mod codes;
mod deletions;
mod directionless;

const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

/// An index of ids, and beside it what it should hold.
struct Subject {
    timeline: Arc<Timeline>,
    index: HnswIndex<u32>,
    slots: BTreeMap<u32, u32>,
    points: BTreeMap<u32, Vec<f32>>,
}

/// What a search finds: distance bits and ids.
type Found = Vec<(u32, u32)>;

impl Subject {
    fn new(metric: Metric, dimension: usize, params: HnswParams, points_min: usize) -> Self {
        Self::with(metric, dimension, params, points_min, InstructionSet::detect().unwrap())
    }

    fn with(
        metric: Metric,
        dimension: usize,
        params: HnswParams,
        points_min: usize,
        set: InstructionSet,
    ) -> Self {
        let timeline = Arc::new(Timeline::new());
        let kernels = DenseKernels::new(set);
        let directory = (params.memory == MemoryMode::Compact).then(|| std::env::temp_dir().into());
        let slots = Slots::with_rows_in(Arc::clone(&timeline), dimension, directory);
        let rows = DenseRows::new(metric, dimension, kernels, slots);
        let index = HnswIndex::with_points_min(rows, params, points_min);
        Self { timeline, index, slots: BTreeMap::new(), points: BTreeMap::new() }
    }

    /// Upserts where there is a point, deletes where there is none.
    fn apply(&mut self, changes: impl IntoIterator<Item = (u32, Option<Vec<f32>>)>) {
        let batch = self.timeline.write();
        for (id, point) in changes {
            let old = match point {
                Some(point) => {
                    let slot = self.index.insert(&batch, id, &point).unwrap();
                    self.points.insert(id, point);
                    self.slots.insert(id, slot)
                }
                None => {
                    self.points.remove(&id);
                    self.slots.remove(&id)
                }
            };
            if let Some(old) = old {
                self.index.remove(&batch, old);
            }
        }
        self.index.finish(&batch);
    }

    fn found(&self, k: usize, search: impl FnOnce(Reader<'_, u32, f32>, &mut dyn FnMut(f32, u32))) -> Found {
        let pin = self.timeline.pin();
        let reader = self.index.slots().reader(&pin);
        let mut nearest = TopK::new(k);
        search(reader, &mut |distance, slot| nearest.offer(distance, *reader.entry(slot).unwrap()));
        nearest.into_sorted_vec().into_iter().map(|found| (found.distance.to_bits(), found.id)).collect()
    }

    fn search(&self, query: &[f32], options: &SearchOptions) -> Found {
        self.found(options.k, |reader, offer| {
            let mut collector = Collector::new(f32::INFINITY, |distance, slot| {
                offer(distance, slot);
                f32::INFINITY
            });
            let query = DenseQuery::new(self.index.rows.metric(), query);
            self.index.search_into(reader, &query, options, &mut collector).unwrap();
        })
    }

    fn exact(&self, query: &[f32], k: usize) -> Found {
        self.found(k, |reader, offer| {
            let mut collector = Collector::new(f32::INFINITY, |distance, slot| {
                offer(distance, slot);
                f32::INFINITY
            });
            let options = SearchOptions::new(k);
            let (rows, collectors) = (&self.index.rows, std::slice::from_mut(&mut collector));
            let query = DenseQuery::new(rows.metric(), query);
            rows.search_rows(reader, &[query], &options, Part::WHOLE, collectors).unwrap();
        })
    }

    fn recall(&self, queries: &[Vec<f32>], options: &SearchOptions) -> f64 {
        let mut hits = 0;
        for query in queries {
            let exact = self.exact(query, options.k);
            let farthest = f32::from_bits(exact.last().unwrap().0);
            let found = self.search(query, options);
            assert_eq!(found.len(), exact.len());
            hits += found.iter().filter(|&&(distance, _)| f32::from_bits(distance) <= farthest).count();
        }
        hits as f64 / (queries.len() * options.k) as f64
    }

    /// Whether the graph is whole: every live point can be reached, and nothing leads to free slots.
    fn check_graph(&self) {
        self.index.check(&self.timeline.write()).unwrap();
    }

    fn slots_used(&self) -> usize {
        self.index.slots().capacity()
    }

    /// Whether what is found is as good as can be said of an approximate search.
    fn check(&self, query: &[f32], options: &SearchOptions) -> Result<(), TestCaseError> {
        let found = self.search(query, options);
        let all: BTreeMap<u32, u32> =
            self.exact(query, usize::MAX).into_iter().map(|(distance, id)| (id, distance)).collect();
        prop_assert_eq!(all.len(), self.points.len());
        prop_assert_eq!(found.len(), options.k.min(self.points.len()));
        let ids: BTreeSet<u32> = found.iter().map(|&(_, id)| id).collect();
        prop_assert_eq!(ids.len(), found.len(), "each point once");
        for (distance, id) in found {
            prop_assert_eq!(
                Some(&distance),
                all.get(&id),
                "the distances of exact search, of live points only"
            );
        }
        Ok(())
    }
}

/// Numbers without meaning (splitmix64), in [-1, 1).
fn number(mut x: u64) -> f32 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// Points around `clusters` centers, of norms that differ.
fn point(i: u64, dimension: usize, clusters: u64) -> Vec<f32> {
    let center = i % clusters;
    let stretch = 1.0 + 0.3 * number(i ^ 0x5555);
    let coordinate = |j: u64| number(center << 20 | j << 8 | 7) + 0.4 * number(i << 20 | j << 8 | 9);
    (0..dimension as u64).map(|j| stretch * coordinate(j)).collect()
}

fn queries(count: u64, dimension: usize, clusters: u64) -> Vec<Vec<f32>> {
    (0..count).map(|i| point(i + (1 << 40), dimension, clusters)).collect()
}

const SMALL: HnswParams =
    HnswParams { m: 4, ef_construction: 20, ef_search: 10, memory: MemoryMode::Balanced };

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(u32, Option<Vec<f32>>)>),
    Search(Vec<f32>, SearchOptions),
}

fn coordinates() -> impl Strategy<Value = Vec<f32>> {
    let coordinate = prop_oneof![4 => (-2..3_i8).prop_map(f32::from), 4 => -1.0_f32..1.0, 1 => -1e30_f32..1e30, 1 => Just(0.0)];
    proptest::collection::vec(coordinate, 3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..1000_u32, proptest::option::weighted(0.6, coordinates()));
    let apply = proptest::collection::vec(change, 0..400).prop_map(Step::Apply);
    let options = (1..15_usize, 1..40_usize).prop_map(|(k, ef)| SearchOptions::new(k).ef_search(ef));
    let search = (coordinates(), options).prop_map(|(query, options)| Step::Search(query, options));
    proptest::collection::vec(prop_oneof![apply, search], 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn finds_live_points_only_as_many_as_there_are(steps in steps(), metric in prop::sample::select(&METRICS)) {
        let mut subject = Subject::new(metric, 3, SMALL, 20);
        for step in steps {
            match step {
                Step::Apply(changes) => subject.apply(changes),
                Step::Search(query, options) => subject.check(&query, &options)?,
            }
            subject.check_graph();
        }
        subject.check(&[1.0, 0.5, -0.5], &SearchOptions::new(10))?;
    }
}

#[test]
fn defaults_find_nearly_all() {
    for metric in METRICS {
        let mut subject = Subject::new(metric, 24, HnswParams::default(), 1000);
        subject.apply((0..6000).map(|i| (i, Some(point(i.into(), 24, 40)))));
        let recall = subject.recall(&queries(100, 24, 40), &SearchOptions::new(10));
        assert!(recall >= 0.98, "{metric:?}: {recall}");
        subject.check_graph();
    }
}

#[test]
fn the_graph_is_the_same_on_every_instruction_set() {
    let rotated = |i| point(i, 70, 10);
    let projected = |i: u64| codes::in_subspace(i as u32, 1);
    for (dimension, point) in [(70, &rotated as &dyn Fn(u64) -> Vec<f32>), (160, &projected)] {
        let all: Vec<Vec<Found>> = InstructionSet::ALL
            .into_iter()
            .filter(|set| set.is_supported())
            .map(|set| {
                let mut subject = Subject::with(Metric::L2, dimension, SMALL, 600, set);
                subject.apply((0..700).map(|i| (i, Some(point(i.into())))));
                subject.apply((0..100).map(|i| (i * 3, None)));
                let options = SearchOptions::new(5).ef_search(6);
                (1000..1050).map(|i| subject.search(&point(i), &options)).collect()
            })
            .collect();
        assert!(all.iter().all(|found| *found == all[0]), "{dimension}");
    }
}

/// Points that come one after another, cluster by cluster, are found as well as those that come at once.
#[test]
fn points_may_come_in_any_order_and_size_of_batches() {
    let (count, clusters) = (4000_u32, 20_u64);
    let queries = queries(100, 16, clusters);
    let options = SearchOptions::new(10).ef_search(20);
    let recall_of = |batch: usize, by_cluster: bool| {
        let mut subject = Subject::new(Metric::L2, 16, HnswParams::default(), 200);
        let mut ids: Vec<u32> = (0..count).collect();
        if by_cluster {
            ids.sort_by_key(|&id| u64::from(id) % clusters);
        }
        for ids in ids.chunks(batch) {
            subject.apply(ids.iter().map(|&id| (id, Some(point(id.into(), 16, clusters)))));
        }
        subject.recall(&queries, &options)
    };
    for (batch, by_cluster) in [(4000, false), (1, false), (100, true), (4000, true)] {
        let recall = recall_of(batch, by_cluster);
        assert!(recall >= 0.93, "batches of {batch}, by cluster {by_cluster}: {recall}");
    }
}

#[test]
fn churn_costs_neither_recall_nor_memory() {
    let (live, dimension, clusters) = (3000_u32, 16, 30);
    let queries = queries(100, dimension, clusters);
    let options = SearchOptions::new(10).ef_search(20);
    for metric in METRICS {
        let mut subject = Subject::new(metric, dimension, HnswParams::default(), 200);
        let add = |id: u32| (id, Some(point(id.into(), dimension, clusters)));
        subject.apply((0..live).map(add));
        let slots = subject.slots_used();
        // A sliding window that moves by five times its length.
        for first in (0..5 * live).step_by(50) {
            subject.apply(
                (first..first + 50).map(|id| (id, None)).chain((first + live..first + live + 50).map(add)),
            );
        }
        let mut fresh = Subject::new(metric, dimension, HnswParams::default(), 200);
        fresh.apply((5 * live..6 * live).map(add));
        let [churned, anew] = [&subject, &fresh].map(|subject| subject.recall(&queries, &options));
        assert!(churned >= anew - 0.01, "{metric:?}: {churned} after churn, {anew} anew");
        assert!(subject.slots_used() <= slots * 11 / 10, "{} slots, at first {slots}", subject.slots_used());
        subject.check_graph();
    }
}

#[test]
fn a_cluster_that_is_deleted_leaves_the_others_reachable() {
    let (count, dimension, clusters) = (4000_u32, 12, 8);
    let mut subject = Subject::new(Metric::L2, dimension, HnswParams::default(), 200);
    subject.apply((0..count).map(|id| (id, Some(point(id.into(), dimension, clusters)))));
    let gone: Vec<u32> = (0..count).filter(|&id| u64::from(id) % clusters == 3).collect();
    for ids in gone.chunks(40) {
        subject.apply(ids.iter().map(|&id| (id, None)));
    }
    let mut fresh = Subject::new(Metric::L2, dimension, HnswParams::default(), 200);
    fresh.apply(subject.points.clone().into_iter().map(|(id, point)| (id, Some(point))));
    // In the middle of what is gone, too.
    let (queries, options) = (queries(200, dimension, clusters), SearchOptions::new(10).ef_search(30));
    let [left, anew] = [&subject, &fresh].map(|subject| subject.recall(&queries, &options));
    assert!(left >= anew - 0.01, "{left} after deletion, {anew} anew");
    (0..20).for_each(|id| subject.apply([(id, Some(point(id.into(), dimension, clusters)))]));
    subject.check_graph();
}

/// Many equal points: no list is long enough for all of them.
#[test]
fn equal_points_are_all_reachable() {
    let mut subject = Subject::new(Metric::L2, 4, SMALL, 100);
    let place = |id: u32| if id.is_multiple_of(3) { point(id.into(), 4, 9) } else { vec![0.5; 4] };
    subject.apply((0..600).map(|id| (id, Some(place(id)))));
    subject.check_graph();
    let found = subject.search(&[0.5; 4], &SearchOptions::new(10));
    assert!(found.iter().all(|&(distance, _)| distance == 0), "{found:?}");
}

/// However many candidates are asked for: only where there are few points for each are all compared.
#[test]
fn a_large_ef_is_no_scan() {
    for (k, ef_search, slots, ef) in [
        (10, 100, 4096, Some(100)),
        (10, 257, 4096, None),
        (257, 10, 4096, None),
        (10, EF_MAX, 1 << 17, Some(EF_MAX)),
        (10, EF_MAX + 1, 1 << 17, Some(EF_MAX)),
        (10, 1_000_000, 1 << 17, Some(EF_MAX)),
        (10, 1_000_000, (1 << 17) - 1, None),
        (EF_MAX, 10, 1 << 17, Some(EF_MAX)),
        (EF_MAX + 1, 10, 1 << 17, None),
        (EF_MAX + 1, 10, 1 << 18, Some(EF_MAX + 1)),
        (16_384, 1_000_000, 1 << 19, Some(16_384)),
        (16_385, 10, 1 << 19, None),
        (1 << 16, 10, 1 << 23, Some(1 << 16)),
        (usize::MAX, 10, usize::MAX, None),
    ] {
        assert_eq!(ef_of(k, ef_search, slots), ef, "{k} of {slots}, ef {ef_search}");
    }
}

#[test]
fn a_graph_is_begun_and_given_up_with_the_number_of_points() {
    let mut subject = Subject::new(Metric::L2, 8, SMALL, 200);
    let options = SearchOptions::new(5).ef_search(8);
    let has_graph = |subject: &Subject| subject.index.built.load().is_some();
    let set = |ids: std::ops::Range<u32>| ids.map(|id| (id, Some(point(id.into(), 8, 5))));
    let gone = |ids: std::ops::Range<u32>| ids.map(|id| (id, None));
    let check = |subject: &Subject| {
        subject.check_graph();
        queries(5, 8, 5).iter().for_each(|query| subject.check(query, &options).unwrap());
    };
    for _ in 0..3 {
        subject.apply(set(0..199));
        assert!(!has_graph(&subject));
        subject.apply(set(199..200));
        // Every batch links a few old points only: searches stay exact until all are linked, while points come and go.
        let mut batches = 0;
        while !has_graph(&subject) && batches < 100 {
            subject.apply(set(batches..batches + 1).chain(gone(199 - batches / 2..200 - batches / 2)));
            check(&subject);
            batches += 1;
        }
        assert!((15..50).contains(&batches), "{batches}");
        subject.apply(gone(110..200));
        check(&subject);
        assert!(has_graph(&subject));
        subject.apply(gone(90..110));
        check(&subject);
        assert!(!has_graph(&subject));
        subject.apply(gone(0..90));
    }
    assert!(subject.slots_used() < 600, "{}", subject.slots_used());
}

/// A search need not ask of each point whether it is alive, only while others are being added.
#[test]
fn what_a_batch_has_linked_is_hidden_from_those_before_it_only() {
    let mut subject = Subject::new(Metric::L2, 8, SMALL, 200);
    subject.apply((0..1000).map(|id| (id, Some(point(id.into(), 8, 5)))));
    let before = subject.timeline.pin().batch();
    subject.apply((1000..1100).map(|id| (id, Some(point(id.into(), 8, 5)))).chain([(0, None)]));
    let graph = &subject.index.built.load_full().unwrap().graph;
    let hidden =
        |batch| (0..1100).filter(|&slot| graph.hidden_from(batch).contains(slot)).collect::<Vec<_>>();
    assert_eq!(hidden(before + 1), [0]);
    assert_eq!(hidden(before), [0].into_iter().chain(1000..1100).collect::<Vec<_>>());
}

#[test]
fn a_walk_ends_at_the_deadline() {
    let mut subject = Subject::new(Metric::L2, 8, SMALL, 200);
    subject.apply((0..4000).map(|id| (id, Some(point(id.into(), 8, 5)))));
    let graph = &subject.index.built.load_full().unwrap().graph;
    let codes = graph.codes.load();
    let (query, mut scratch) = (codes.row(7), Scratch::take());
    let asked = std::cell::Cell::new(0);
    let is_over = || {
        asked.set(asked.get() + 1);
        asked.get() == 2
    };
    let walk = Walk {
        graph,
        codes: &codes,
        ef: 2000,
        ways: 2000,
        hidden: &graph.dead,
        sees_hidden: &|_| true,
        is_over: &is_over,
    };
    graph.kernels.run(Search { walk, scorer: ByDistance(&codes, query), scratch: &mut scratch });
    assert_eq!(asked.get(), 2);
    assert!(scratch.pool.candidates().len() < 2000);
}

#[test]
fn vectors_in_files_are_found_as_those_in_memory() {
    let found = |memory| {
        let params = HnswParams { memory, ..SMALL };
        let mut subject = Subject::new(Metric::Cosine, 16, params, 100);
        subject.apply((0..800).map(|i| (i, Some(point(i.into(), 16, 10)))));
        subject.apply((0..300).map(|i| (i, None)));
        subject.apply((500..900).map(|i| (i, Some(point((i + 1).into(), 16, 10)))));
        let options = SearchOptions::new(5).ef_search(6);
        queries(50, 16, 10).iter().map(|query| subject.search(query, &options)).collect::<Vec<_>>()
    };
    assert_eq!(found(MemoryMode::Compact), found(MemoryMode::Balanced));
}

/// Between any two batches, also while most of the points leave: they are all children of each other.
#[test]
fn equal_points_stay_reachable_while_they_come_and_go() {
    let mut subject = Subject::new(Metric::L2, 2, SMALL, 100);
    let place = |id: u32| if id.is_multiple_of(7) { point(id.into(), 2, 3) } else { vec![0.5; 2] };
    for round in 0..60 {
        let first = round * 40;
        subject.apply((first..first + 60).map(|id| (id, Some(place(id)))));
        subject.apply((first..first + 35).map(|id| (id / 2 * 3 % (first + 1), None)));
        subject.check_graph();
    }
    assert!(subject.points.len() > 500);
}

/// Every id moves all the time; a search must see each id at most once, versions of one batch only, and no batch that is
/// older than one it has seen.
#[test]
fn searches_during_updates_see_whole_batches() {
    const IDS: u32 = 300;
    let timeline = Arc::new(Timeline::new());
    let kernels = DenseKernels::new(InstructionSet::detect().unwrap());
    let slots = Slots::<(u32, u32), f32>::new(Arc::clone(&timeline), 4);
    let index = HnswIndex::with_points_min(DenseRows::new(Metric::L2, 4, kernels, slots), SMALL, 50);
    let mut slots = vec![None; IDS as usize];
    let mut apply = |version: u32| {
        let batch = timeline.write();
        for id in 0..IDS {
            let row = point(u64::from(id) + u64::from(version) * 1000, 4, 10);
            let slot = index.insert(&batch, (id, version), &row).unwrap();
            if let Some(old) = slots[id as usize].replace(slot) {
                index.remove(&batch, old);
            }
        }
        index.finish(&batch);
    };
    apply(0);
    std::thread::scope(|scope| {
        let searchers: Vec<_> = (0..2)
            .map(|seed| {
                let (timeline, index) = (&timeline, &index);
                scope.spawn(move || {
                    let (mut last, mut i) = (0, seed << 30);
                    while last < 60 {
                        i += 1;
                        let pin = timeline.pin();
                        let reader = index.slots().reader(&pin);
                        let mut found = Vec::new();
                        let mut collector = Collector::new(f32::INFINITY, |_, slot| {
                            found.push(*reader.entry(slot).unwrap());
                            f32::INFINITY
                        });
                        let options = SearchOptions::new(10).ef_search(20);
                        let query = point(i, 4, 10);
                        let query = DenseQuery::new(index.rows.metric(), &query);
                        index.search_into(reader, &query, &options, &mut collector).unwrap();
                        assert!(found.len() >= 10);
                        let ids: BTreeSet<u32> = found.iter().map(|&(id, _)| id).collect();
                        assert_eq!(ids.len(), found.len(), "each id once");
                        let version = found[0].1;
                        assert!(found.iter().all(|&(_, other)| other == version), "one batch");
                        assert!(version >= last, "time goes on");
                        last = version;
                    }
                })
            })
            .collect();
        let mut version = 0;
        while searchers.iter().any(|searcher| !searcher.is_finished()) {
            version += 1;
            apply(version);
        }
    });
}

/// Handwritten digits of 8 x 8 pixels: the last 300 are the queries.
fn digits() -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/demo/digits.csv.gz");
    let text =
        std::io::read_to_string(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).unwrap();
    let row = |line: &str| line.split(',').take(64).map(|x| x.parse().unwrap()).collect();
    let mut base: Vec<Vec<f32>> = text.lines().map(row).collect();
    let queries = base.split_off(base.len() - 300);
    (base, queries)
}

type Rows = Vec<Vec<f32>>;

/// SIFT descriptors, which are not bundled; nothing where `VEKTONN_TEST_DATA` does not name their directory.
fn sift() -> Option<(Rows, Rows)> {
    let directory = std::path::PathBuf::from(std::env::var_os("VEKTONN_TEST_DATA")?);
    let rows = |name: &str| -> Vec<Vec<f32>> {
        let bytes = std::fs::read(directory.join(name)).unwrap();
        let dimension = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        bytes[8..].chunks(dimension).map(|row| row.iter().map(|&x| f32::from(x)).collect()).collect()
    };
    let mut base = rows("sift-base.u8bin");
    base.truncate(20_000);
    let mut queries = rows("sift-query.u8bin");
    queries.truncate(200);
    Some((base, queries))
}

#[test]
fn defaults_find_nearly_all_of_real_data() {
    for (base, queries) in [Some(digits()), sift()].into_iter().flatten() {
        for metric in METRICS {
            let mut subject = Subject::new(metric, base[0].len(), HnswParams::default(), 1000);
            subject.apply((0..).zip(base.iter().cloned().map(Some)));
            // Digits are too few for more candidates: all would be compared.
            let ef = if base.len() < 2000 { 80 } else { 100 };
            let recall = subject.recall(&queries, &SearchOptions::new(10).ef_search(ef));
            assert!(recall >= 0.98, "{metric:?}, {} points: {recall}", base.len());
            subject.check_graph();
        }
    }
}
