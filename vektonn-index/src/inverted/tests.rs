//! The prepared query against naive distances over dense f64 arrays, and searches in windows against comparing all rows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::window::Window;
use super::*;
use crate::distance::sparse::BLOCK;
use crate::neighbor::Neighbor;
use crate::store::timeline::Pin;
use crate::top_k::TopK;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use sprs::{CsVec, CsVecI};
use vektonn_core::VectorError;

const METRICS: [Metric; 3] = [Metric::InnerProduct, Metric::Cosine, Metric::JaccardBinary];

fn sparse(pairs: &[(u32, f32)]) -> SparseVector {
    let (indices, values): (Vec<u32>, Vec<f32>) = pairs.iter().copied().unzip();
    SparseVector::new(&indices, &values, usize::MAX).unwrap()
}

fn distance(metric: Metric, query: &[(u32, f32)], row: &[(u32, f32)]) -> f32 {
    SparseQuery::new(metric, &sparse(query)).distance(&SparseRow::new(&sparse(row)))
}

#[test]
fn golden_values() {
    let (a, b): (&[_], &[_]) = (&[(0, 1.0), (3, 2.0), (9, -1.0)], &[(3, 0.5), (4, 7.0), (9, 4.0)]);
    assert_eq!(distance(Metric::InnerProduct, a, b), 3.0);
    assert_eq!(distance(Metric::JaccardBinary, a, b), 0.5);
    assert_eq!(distance(Metric::Cosine, &[(0, 3.0), (1, 4.0)], &[(1, 10.0)]), 0.2);
    assert_eq!(distance(Metric::Cosine, &[(7, 0.1)], &[(7, -0.3)]), 2.0);
}

#[test]
fn without_common_terms_a_point_is_still_a_neighbour() {
    let (a, b): (&[_], &[_]) = (&[(1, 2.0)], &[(2, -3.0)]);
    assert_eq!(distance(Metric::InnerProduct, a, b).to_bits(), 0.0_f32.to_bits(), "no -0.0");
    assert_eq!(distance(Metric::Cosine, a, b), 1.0);
    assert_eq!(distance(Metric::JaccardBinary, a, b), 1.0);
}

#[test]
fn explicit_zeros_are_absent() {
    let (a, b): (&[_], &[_]) = (&[(1, 1.0), (2, 0.0), (3, 5.0)], &[(1, 1.0), (2, 4.0), (3, -0.0)]);
    assert_eq!(distance(Metric::JaccardBinary, a, b), (1.0 - 1.0 / 3.0) as f32);
}

#[test]
fn the_zero_vector_has_distance_1() {
    let something: &[_] = &[(5, 2.0)];
    for zero in [[].as_slice(), &[(5, 0.0)]] {
        for metric in [Metric::Cosine, Metric::JaccardBinary] {
            assert_eq!(distance(metric, zero, something), 1.0);
            assert_eq!(distance(metric, something, zero), 1.0);
            assert_eq!(distance(metric, zero, zero), 1.0);
        }
    }
}

#[test]
fn far_out_indices_and_values() {
    let large = i32::MAX as u32 - 1;
    assert_eq!(distance(Metric::InnerProduct, &[(3, 2.0), (large, 5.0)], &[(2, 9.0), (large, 3.0)]), -15.0);
    assert_eq!(distance(Metric::InnerProduct, &[(3, 2.0)], &[(3, 1.0), (large, 3.0)]), -2.0);
    assert_eq!(distance(Metric::InnerProduct, &[(0, f32::MAX)], &[(0, -f32::MAX)]), f32::INFINITY);
    assert_eq!(
        distance(Metric::Cosine, &[(0, f32::MAX)], &[(0, f32::MAX)]),
        0.0,
        "f64 has room for the squares"
    );
    assert_eq!(distance(Metric::Cosine, &[(0, 1e-45)], &[(0, 1e-45)]), 0.0);
}

#[test]
fn from_the_zero_vector_everything_is_as_far() {
    let rows: [&[_]; 4] = [&[], &[(5, 0.0)], &[(5, -2.0), (9, 1.0)], &[(u32::MAX - 1, f32::MAX)]];
    for metric in METRICS {
        for zero in [[].as_slice(), &[(5, 0.0)], &[(5, -0.0), (1 << 30, 0.0)]] {
            let vector = sparse(zero);
            let same = SparseQuery::new(metric, &vector).distance_to_all().unwrap();
            for row in rows {
                assert_eq!(distance(metric, zero, row).to_bits(), same.to_bits(), "{metric:?} {row:?}");
            }
        }
        assert_eq!(SparseQuery::new(metric, &sparse(&[(5, 1.0), (6, 0.0)])).distance_to_all(), None);
    }
}

/// Indices on both sides of the array's limit, many of them met by both vectors.
fn pairs() -> impl Strategy<Value = Vec<(u32, f32)>> {
    let index = prop_oneof![8 => 0_u32..40, 1 => 262_130_u32..262_160, 1 => 2_147_483_600_u32..2_147_483_640];
    let value = prop_oneof![6 => -10.0_f32..10.0, 1 => Just(0.0_f32), 1 => Just(-0.0)];
    btree_map(index, value, 0..30).prop_map(|pairs| pairs.into_iter().collect())
}

/// The definition of each metric over all dimensions that occur, and how large an error of rounding may be.
fn naive(metric: Metric, query: &[(u32, f32)], row: &[(u32, f32)]) -> (f64, f64) {
    let at = |pairs: &[(u32, f32)], index| {
        pairs.iter().find(|pair| pair.0 == index).map_or(0.0, |pair| f64::from(pair.1))
    };
    let mut dimensions: Vec<u32> = query.iter().chain(row).map(|pair| pair.0).collect();
    dimensions.sort_unstable();
    dimensions.dedup();
    let coordinates: Vec<(f64, f64)> = dimensions.iter().map(|&i| (at(query, i), at(row, i))).collect();
    let sum = |term: fn(&(f64, f64)) -> f64| coordinates.iter().map(term).sum::<f64>();
    let count = |test: fn(&&(f64, f64)) -> bool| coordinates.iter().filter(test).count() as f64;
    let (squares_a, squares_b) = (sum(|(a, _)| a * a), sum(|(_, b)| b * b));
    match metric {
        Metric::L2 => unreachable!("METRICS has no L2"),
        Metric::InnerProduct => (-sum(|(a, b)| a * b), sum(|(a, b)| (a * b).abs())),
        Metric::Cosine if squares_a * squares_b == 0.0 => (1.0, 1.0),
        Metric::Cosine => (1.0 - sum(|(a, b)| a * b) / (squares_a.sqrt() * squares_b.sqrt()), 1.0),
        Metric::JaccardBinary => {
            let union = count(|(a, b)| *a != 0.0 || *b != 0.0);
            let common = count(|(a, b)| *a != 0.0 && *b != 0.0);
            (if union == 0.0 { 1.0 } else { 1.0 - common / union }, 1.0)
        }
    }
}

proptest! {
    #[test]
    fn as_the_naive_definition(query in pairs(), row in pairs()) {
        for metric in METRICS {
            let found = f64::from(distance(metric, &query, &row));
            let (expected, scale) = naive(metric, &query, &row);
            // One rounding to f32, and what is left of f64's after cancellation.
            let error = f64::from(f32::EPSILON) / 2.0 * expected.abs() + 1e-13 * scale;
            prop_assert!((found - expected).abs() <= error, "{metric:?}: {found}, expected {expected}");
            prop_assert!(found.to_bits() != (-0.0_f64).to_bits(), "{metric:?} gave -0.0");
        }
    }

    #[test]
    fn the_table_gives_the_bits_of_the_array(query in pairs(), row in pairs()) {
        let near = |pairs: Vec<(u32, f32)>| pairs.into_iter().filter(|pair| pair.0 < 1000).collect::<Vec<_>>();
        let (query, row) = (near(query), near(row));
        // A query coordinate of zero far out changes no sum, but moves the query into a table.
        let mut far_query = query.clone();
        far_query.push((1 << 30, 0.0));
        for metric in METRICS {
            let (array, table) = (distance(metric, &query, &row), distance(metric, &far_query, &row));
            prop_assert_eq!(array.to_bits(), table.to_bits(), "{:?}", metric);
        }
    }

    #[test]
    fn the_distance_to_itself(vector in pairs()) {
        let zero = vector.iter().all(|pair| pair.1 == 0.0);
        prop_assert_eq!(distance(Metric::JaccardBinary, &vector, &vector), if zero { 1.0 } else { 0.0 });
        if !zero {
            prop_assert!((0.0..=1e-15).contains(&distance(Metric::Cosine, &vector, &vector)));
        }
    }
}

#[test]
fn from_sprs() {
    let vector: CsVec<f32> = CsVec::new(10, vec![1, 7], vec![0.5, -2.0]);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Ok(sparse(&[(1, 0.5), (7, -2.0)])));
    assert_eq!(sparse_from_sprs(vector.view(), 11), Err(VectorError::Dimension { dimension: 11 }));
    let vector: CsVecI<f32, i32> = CsVecI::new(10, vec![9], vec![f32::NAN]);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Err(VectorError::NotFinite));
    let vector: CsVecI<f32, u16> = CsVecI::empty(10);
    assert_eq!(sparse_from_sprs(vector.view(), 10), Ok(sparse(&[])));
    let dimension = u32::MAX as usize + 10;
    let vector: CsVec<f32> = CsVec::new(dimension, vec![dimension - 1], vec![1.0]);
    assert_eq!(sparse_from_sprs(vector.view(), dimension), Err(VectorError::Dimension { dimension }));
}

/// An index next to what it should hold.
struct Model {
    index: InvertedIndex<u32>,
    timeline: Arc<Timeline>,
    /// The slot of each id.
    live: BTreeMap<u32, u32>,
}

/// What one batch changes: an id with its new vector, or none to remove it.
type Changes = Vec<(u32, Option<Vec<(u32, f32)>>)>;

impl Model {
    fn new(metric: Metric, instruction_set: InstructionSet) -> Self {
        let timeline = Arc::new(Timeline::new());
        let index = InvertedIndex::new(metric, false, instruction_set, Arc::clone(&timeline));
        Self { index, timeline, live: BTreeMap::new() }
    }

    fn apply(&mut self, changes: &Changes) {
        let batch = self.timeline.write();
        for (id, vector) in changes {
            let new = vector.as_ref().map(|pairs| self.index.insert(&batch, *id, &sparse(pairs)).unwrap());
            let old = match new {
                Some(slot) => self.live.insert(*id, slot),
                None => self.live.remove(id),
            };
            if let Some(old) = old {
                self.index.remove(&batch, old);
            }
        }
    }

    /// The `k` nearest by id, as a search finds them and as comparing all rows finds them.
    fn search(&self, pin: &Pin<'_>, query: &SparseVector, k: usize) -> [Vec<Neighbor<u32>>; 2] {
        let reader = self.index.slots().reader(pin);
        let nearest = |search: &dyn Fn(&mut TopK<u32>)| {
            let mut nearest = TopK::new(k);
            search(&mut nearest);
            nearest.into_sorted_vec()
        };
        let options = SearchOptions::new(k);
        let prepared = SparseQuery::new(self.index.metric, query);
        [
            nearest(&|nearest| {
                let mut collector = collector(reader, nearest);
                self.index.search_windows(reader, &prepared, &options, &mut collector).unwrap();
            }),
            nearest(&|nearest| {
                let mut collector = collector(reader, nearest);
                self.index.search_rows(reader, &prepared, &options, &mut collector).unwrap();
            }),
        ]
    }

    /// Ids and distances as a search finds them that may be approximate.
    fn approximate(&self, query: &SparseVector, k: usize, share: f32) -> Vec<Neighbor<u32>> {
        let pin = self.timeline.pin();
        let reader = self.index.slots().reader(&pin);
        let mut nearest = TopK::new(k);
        let options = SearchOptions::new(k).approximation(share);
        self.index.search_into(reader, query, &options, &mut collector(reader, &mut nearest)).unwrap();
        nearest.into_sorted_vec()
    }

    fn window_sizes(&self) -> Vec<usize> {
        self.index.windows.layout().windows.iter().map(|window| window.slots().len()).collect()
    }
}

fn collector<'c>(
    reader: Reader<'c, u32, SparseRow>,
    nearest: &'c mut TopK<u32>,
) -> Collector<impl FnMut(f32, u32) -> f32> {
    Collector::new(nearest.bound(), move |distance, slot| {
        nearest.offer(distance, *reader.entry(slot).unwrap());
        nearest.bound()
    })
}

/// Vectors with some frequent terms, so that there are short and long lists, and few values, so that there are ties.
fn term_vector(signed: bool) -> impl Strategy<Value = Vec<(u32, f32)>> {
    let term =
        prop_oneof![4 => 0_u32..6, 4 => 6_u32..200, 1 => 1_000_000_u32..1_000_010, 1 => Just(u32::MAX - 1)];
    let magnitude = prop_oneof![4 => (1_i8..4).prop_map(f32::from), 4 => 0.01_f32..2.0, 1 => Just(1e-30_f32), 1 => Just(300.0)];
    let sign = if signed { prop_oneof![Just(1.0_f32), Just(-1.0)].boxed() } else { Just(1.0_f32).boxed() };
    let value = prop_oneof![20 => (magnitude, sign).prop_map(|(m, s)| m * s), 1 => Just(0.0)];
    btree_map(term, value, 0..20).prop_map(|pairs| pairs.into_iter().collect())
}

fn batches(signed: bool) -> impl Strategy<Value = Vec<Changes>> {
    let changes =
        move |size: usize| vec((0_u32..400, proptest::option::weighted(0.8, term_vector(signed))), size);
    let sizes = prop_oneof![3 => 0_usize..40, 1 => 100_usize..300];
    vec(sizes.prop_flat_map(changes), 1..12)
}

/// Windows are sealed, merged and made anew on the way, and readers of earlier batches go on.
fn searches_agree(
    metric: Metric,
    last_number: u32,
    batches: Vec<Changes>,
    queries: Vec<Vec<(u32, f32)>>,
    k: usize,
) -> Result<(), TestCaseError> {
    let mut model = Model::new(metric, InstructionSet::detect().unwrap());
    model.index.windows = Windows::new(metric).with_numbers_given(last_number);
    let timeline = Arc::clone(&model.timeline);
    let mut pins = vec![timeline.pin()];
    let queries: Vec<SparseVector> = queries.iter().map(|pairs| sparse(pairs)).collect();
    for (i, changes) in batches.iter().enumerate() {
        model.apply(changes);
        if i % 3 == 0 {
            pins.push(timeline.pin());
        } else if i % 3 == 2 {
            pins.remove(0);
        }
        let now = timeline.pin();
        for pin in pins.iter().chain([&now]) {
            for query in &queries {
                let [found, expected] = model.search(pin, query, k);
                prop_assert_eq!(&found, &expected, "{:?}, windows {:?}", metric, model.window_sizes());
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn searches_agree_with_comparing_all_rows(
        batches in any::<bool>().prop_flat_map(batches),
        queries in vec(any::<bool>().prop_flat_map(term_vector), 1..4),
        k in prop_oneof![4 => 1_usize..12, 1 => 12_usize..500],
        // Windows run out of numbers on the way, or do not.
        last_number in prop_oneof![Just(1), u32::MAX - 20..=u32::MAX],
    ) {
        for metric in METRICS {
            searches_agree(metric, last_number, batches.clone(), queries.clone(), k)?;
        }
    }
}

proptest! {
    /// The claim of docs/sparse-search.md, at its tightest.
    #[test]
    fn no_point_is_excluded_at_its_own_distance(
        rows in any::<bool>().prop_flat_map(|signed| vec(term_vector(signed), 1..200)),
        query in any::<bool>().prop_flat_map(term_vector),
        scale in prop_oneof![3 => Just(1.0_f32), 1 => Just(1e-40), 1 => Just(1e18), 1 => Just(1e36)],
    ) {
        let query: Vec<_> = query.into_iter().map(|(term, value)| (term, value * scale)).collect();
        let query = sparse(&query);
        let rows: Vec<SparseRow> = rows.iter().map(|pairs| SparseRow::new(&sparse(pairs))).collect();
        for metric in METRICS {
            let query = SparseQuery::new(metric, &query);
            if query.len() == 0 {
                continue;
            }
            let window = Window::new(metric, 0, (0..).zip(&rows).collect());
            let weights = plan::Weights::new(&query);
            let plan = plan::Plan::new(&weights, &window);
            let mut scratch = search::Scratch::new();
            let kernels = SparseKernels::new(InstructionSet::detect().unwrap());
            search::add_short(&plan, &mut scratch);
            search::add_long(kernels, &window, &plan, &mut scratch);
            for (point, &slot) in window.slots().iter().enumerate() {
                let distance = query.distance(&rows[slot as usize]);
                let (sum, at_least) = (scratch.sums[point], plan.at_least(distance, point / BLOCK));
                prop_assert!(u32::from(sum) >= at_least, "{metric:?}: {sum} < {at_least} at {distance}");
                let tighter = plan.at_least(distance.next_down(), point / BLOCK);
                prop_assert!(tighter >= at_least);
            }
        }
    }
}

/// Deterministic vectors with a skewed choice of terms.
struct Vectors(u64);

impl Vectors {
    /// A number below 1, smaller ones more often.
    fn number(&mut self) -> f64 {
        // The constants of Knuth's MMIX generator.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self, terms: f64) -> Vec<(u32, f32)> {
        let len = 1 + (self.number() * 20.0) as usize;
        let pairs: BTreeMap<u32, f32> = (0..len)
            .map(|_| {
                let value = (self.number() * 2.0 - 0.5) as f32;
                ((self.number().powi(4) * terms) as u32, value)
            })
            .collect();
        pairs.into_iter().collect()
    }
}

/// Enough points for every level and a closed window, then most of them replaced and many removed.
#[test]
fn windows_of_every_level() {
    for metric in METRICS {
        for set in InstructionSet::ALL {
            let mut vectors = Vectors(1);
            let mut model = Model::new(metric, set);
            let many = metric == Metric::Cosine && set == InstructionSet::ALL[0];
            let ids = if many { 70_000 } else { 5_000 };
            let points: Changes = (0..ids).map(|id| (id, Some(vectors.next(5000.0)))).collect();
            points.chunks(5000).for_each(|points| model.apply(&points.to_vec()));
            let check = |model: &Model, vectors: &mut Vectors| {
                for _ in 0..5 {
                    let query = sparse(&vectors.next(5000.0));
                    let [found, expected] = model.search(&model.timeline.pin(), &query, 10);
                    assert_eq!(found, expected, "{metric:?}, {set}, windows {:?}", model.window_sizes());
                }
            };
            check(&model, &mut vectors);
            let fresh = (model.index.bytes(), model.window_sizes().len());
            for round in 0..3 {
                let changes: Changes = (0..ids)
                    .filter(|id| id % 3 != round)
                    .map(|id| (id, Some(vectors.next(5000.0))))
                    .collect();
                changes.chunks(1000).for_each(|changes| model.apply(&changes.to_vec()));
                check(&model, &mut vectors);
            }
            assert!(model.index.bytes() < fresh.0 * 6 / 5, "{} bytes, once {}", model.index.bytes(), fresh.0);
            assert!(model.window_sizes().len() <= fresh.1 + 2, "{:?}", model.window_sizes());
            let removed: Changes = (0..ids - 100).map(|id| (id, None)).collect();
            removed.chunks(1000).for_each(|changes| model.apply(&changes.to_vec()));
            check(&model, &mut vectors);
            // The last deaths are waited for.
            model.apply(&vec![(0, Some(vec![(1, 1.0)]))]);
            model.apply(&vec![(0, None)]);
            model.apply(&vec![(0, Some(vec![(1, 1.0)]))]);
            let points: usize = model.window_sizes().iter().sum();
            assert!(points < 1000, "{:?}", model.window_sizes());
        }
    }
}

#[test]
fn an_approximate_index_is_searched_with_its_share_unless_asked_otherwise() {
    let mut vectors = Vectors(3);
    let mut model = Model::new(Metric::Cosine, InstructionSet::detect().unwrap());
    let points: Changes = (0..10_000).map(|id| (id, Some(vectors.next(5000.0)))).collect();
    points.chunks(1000).for_each(|points| model.apply(&points.to_vec()));
    let mut differ = 0;
    for _ in 0..20 {
        let query = sparse(&vectors.next(5000.0));
        let at_its_share = model.approximate(&query, 10, APPROXIMATION);
        model.index.approximation = Some(APPROXIMATION);
        let [by_default, exact] = model.search(&model.timeline.pin(), &query, 10);
        assert_eq!(by_default, at_its_share);
        assert_eq!(model.approximate(&query, 10, 1.0), exact);
        model.index.approximation = None;
        differ += usize::from(by_default != exact);
    }
    assert!(differ > 0, "the share of the index counts");
}

#[test]
fn an_approximate_search_finds_most_neighbours_and_true_distances() {
    let mut vectors = Vectors(7);
    for metric in METRICS {
        let mut model = Model::new(metric, InstructionSet::detect().unwrap());
        let points: Changes = (0..10_000).map(|id| (id, Some(vectors.next(5000.0)))).collect();
        points.chunks(1000).for_each(|points| model.apply(&points.to_vec()));
        // Some are dead, and others in their slots.
        let changes: Changes =
            (0..2000).map(|i| (i * 5, (i % 2 == 0).then(|| vectors.next(5000.0)))).collect();
        changes.chunks(100).for_each(|changes| model.apply(&changes.to_vec()));
        let mut found_of = BTreeMap::new();
        for _ in 0..50 {
            let query = sparse(&vectors.next(5000.0));
            let [exact, _] = model.search(&model.timeline.pin(), &query, 10);
            let all: BTreeMap<u32, f32> =
                model.approximate(&query, 10_000, 1.0).into_iter().map(|it| (it.id, it.distance)).collect();
            for share in [1.0, 0.9999, 0.8, 0.3, 0.0, -1.0, f32::NAN] {
                let found = model.approximate(&query, 10, share);
                assert_eq!(found.len(), 10, "{metric:?}, {share}");
                assert!(found.is_sorted());
                assert!(found.iter().all(|it| all[&it.id] == it.distance), "{metric:?}, {share}: {found:?}");
                let hits = found.iter().filter(|it| it.distance <= exact[9].distance).count();
                *found_of.entry(share.to_string()).or_insert(0) += hits;
            }
        }
        let hits = |share: &str| found_of[share];
        if metric == Metric::JaccardBinary {
            assert!(found_of.values().all(|&hits| hits == 500), "it is exact: {found_of:?}");
            continue;
        }
        assert_eq!((hits("1"), hits("NaN")), (500, 500), "{metric:?}");
        // Of what all lists add up to, the best are the nearest.
        assert!(hits("0.9999") > 495, "{metric:?}: {found_of:?}");
        // Random vectors are the hardest: their neighbours are hardly nearer than the others.
        assert!(hits("0.8") > 250 && hits("0.8") > hits("0.3"), "{metric:?}: {found_of:?}");
    }
}
