//! The search over codes against a scan of all rows with the scalar kernels: the same ids and the same bits.
#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::distance::InstructionSet;
use crate::top_k::TopK;

/// Coordinates built to break bounds, as a function of numbers without meaning.
#[derive(Clone, Copy, Debug)]
enum Data {
    Uniform,
    /// Points around a few centers.
    Clusters,
    /// Small integers: equal distances everywhere.
    Grid,
    /// Copies of three points.
    Duplicates,
    /// Norms between 1e-35 and 1e35.
    HugeAndTiny,
    /// One coordinate in all is 1e30.
    OutlierCoordinate,
    /// One coordinate of every row is a million times larger.
    OutlierDimension,
    /// Most dimensions have one value.
    ConstantDimensions,
    Denormals,
    /// The same large offset for all rows.
    FarFromZero,
    /// What comes later is elsewhere, and larger.
    Drift,
    /// Near the largest f32, so that distances overflow.
    Overflow,
    Zeros,
}

const DATA: [Data; 13] = {
    use Data::*;
    [
        Uniform,
        Clusters,
        Grid,
        Duplicates,
        HugeAndTiny,
        OutlierCoordinate,
        OutlierDimension,
        ConstantDimensions,
        Denormals,
        FarFromZero,
        Drift,
        Overflow,
        Zeros,
    ]
};

/// Numbers without meaning (splitmix64).
fn hash(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Data {
    fn row(self, seed: u64, i: usize, dimension: usize) -> Vec<f32> {
        let number = |stream: u64, j: usize| {
            let bits = hash(seed ^ hash(stream ^ hash(i as u64 ^ hash(j as u64))));
            (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let of = |j: usize| {
            let x = number(1, j);
            match self {
                Self::Uniform => x,
                Self::Clusters => {
                    let center = hash(seed ^ hash(j as u64 ^ hash(i as u64 % 7))) >> 60;
                    center as f32 + x * 0.1
                }
                Self::Grid => (x * 2.9).trunc(),
                Self::Duplicates => hash(seed ^ hash(j as u64 ^ hash(i as u64 % 3))) as i64 as f32 * 1e-19,
                Self::HugeAndTiny => x * 10_f32.powf(number(2, 0) * 35.0),
                Self::OutlierCoordinate if i == 77 && j == dimension / 2 => 1e30,
                Self::OutlierCoordinate => x,
                Self::OutlierDimension if j == dimension / 2 => x * 1e6,
                Self::OutlierDimension => x,
                Self::ConstantDimensions if j % 4 != 1 => 7.7,
                Self::ConstantDimensions => x,
                Self::Denormals => x * 1e-41,
                Self::FarFromZero => 1e6 + x,
                Self::Drift => x * (1.0 + i as f32 / 100.0) + i as f32 / 50.0,
                Self::Overflow => x.signum() * 3e38 * x.abs().sqrt(),
                Self::Zeros if !i.is_multiple_of(5) => 0.0,
                Self::Zeros => x,
            }
        };
        (0..dimension).map(of).collect()
    }
}

fn index(metric: Metric, dimension: usize, set: InstructionSet, rows_min: usize) -> FlatIndex<u32> {
    let kernels = DenseKernels::new(set);
    FlatIndex::with_rows_min(metric, dimension, kernels, Arc::new(Timeline::new()), rows_min)
}

/// What a search finds: distance bits and ids.
type Found = Vec<(u32, u32)>;

fn search(index: &FlatIndex<u32>, timeline: &Timeline, queries: &[Vec<f32>], k: usize) -> Vec<Found> {
    let pin = timeline.pin();
    let reader = index.slots().reader(&pin);
    let mut nearest = vec![TopK::new(k); queries.len()];
    let mut collectors: Vec<_> = nearest
        .iter_mut()
        .map(|nearest| {
            Collector::new(nearest.bound(), |distance, slot| {
                nearest.offer(distance, *reader.entry(slot).unwrap());
                nearest.bound()
            })
        })
        .collect();
    let queries: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
    index.search_many_into(reader, &queries, &SearchOptions::new(k), &mut collectors).unwrap();
    drop(collectors);
    let bits = |found: crate::Neighbor<u32>| (found.distance.to_bits(), found.item);
    nearest.into_iter().map(|nearest| nearest.into_sorted_vec().into_iter().map(bits).collect()).collect()
}

#[derive(Clone, Debug)]
struct Case {
    metric: Metric,
    data: Data,
    /// Where rows come from after half of them.
    later: Data,
    seed: u64,
    dimension: usize,
    rows: usize,
    /// After the first rows, so many per cent are updated and deleted.
    updated: usize,
    deleted: usize,
    batch: usize,
    k: usize,
    queries: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let metric = prop_oneof![Just(Metric::L2), Just(Metric::InnerProduct), Just(Metric::Cosine)];
    let dimension = prop_oneof![Just(1_usize), 2_usize..40, Just(64), Just(130)];
    let data = || proptest::sample::select(&DATA[..]);
    let rows = prop_oneof![1_usize..100, 1000_usize..3000];
    let share = || prop_oneof![Just(0_usize), 0_usize..100];
    let k = prop_oneof![1_usize..20, 20_usize..300];
    (metric, data(), data(), any::<u64>(), dimension, rows, share(), share(), 1_usize..500, k, 1_usize..7)
        .prop_map(|(metric, data, later, seed, dimension, rows, updated, deleted, batch, k, queries)| Case {
            metric,
            data,
            later: if seed.is_multiple_of(2) { data } else { later },
            seed,
            dimension,
            rows,
            updated,
            deleted,
            batch,
            k,
            queries,
        })
}

/// The same changes on an index with codes for every instruction set, and on one that compares all rows with the
/// scalar kernels; then the same searches.
fn agree(case: &Case) -> Result<(), TestCaseError> {
    let oracle = index(case.metric, case.dimension, InstructionSet::Scalar, usize::MAX);
    let coded: Vec<_> = InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_supported())
        .map(|set| index(case.metric, case.dimension, set, 1))
        .collect();
    let queries: Vec<Vec<f32>> = (0..case.queries)
        .map(|i| match i {
            // One that is there, one like those that are there, one from elsewhere.
            0 => case.data.row(case.seed, 5, case.dimension),
            1..4 => case.data.row(case.seed ^ 1, i, case.dimension),
            _ => DATA[i % DATA.len()].row(case.seed, i, case.dimension),
        })
        .collect();
    let expected = apply_and_search(&oracle, case, &queries);
    for index in &coded {
        let found = apply_and_search(index, case, &queries);
        prop_assert_eq!(&found, &expected, "{:?}", index.kernels);
    }
    Ok(())
}

fn apply_and_search(index: &FlatIndex<u32>, case: &Case, queries: &[Vec<f32>]) -> Vec<Vec<Found>> {
    let timeline = index.slots().timeline();
    let mut slot_of = vec![None; case.rows];
    let source = |i: usize| if i > case.rows / 2 { case.later } else { case.data };
    let mut found = Vec::new();
    // Insertions, then updates, then deletions; a search after each.
    let percent = |i: usize, salt: u64| (hash(case.seed ^ salt ^ i as u64) % 100) as usize;
    let updated: Vec<usize> = (0..case.rows).filter(|&i| percent(i, 1) < case.updated).collect();
    let deleted: Vec<usize> = (0..case.rows).filter(|&i| percent(i, 2) < case.deleted).collect();
    let rounds =
        [((0..case.rows).collect(), true), (updated.clone(), true), (deleted, false), (updated, true)];
    for (round, (ids, insert)) in rounds.into_iter().enumerate() {
        for ids in ids.chunks(case.batch) {
            let batch = timeline.write();
            for &id in ids {
                if let Some(slot) = slot_of[id].take() {
                    index.slots().remove(&batch, slot);
                }
                if insert {
                    let row = source(id).row(case.seed, id + round * case.rows, case.dimension);
                    slot_of[id] = Some(index.insert(&batch, id as u32, &row).unwrap());
                }
            }
        }
        found.push(search(index, timeline, queries, case.k));
        let each = queries
            .iter()
            .map(|query| search(index, timeline, std::slice::from_ref(query), case.k).remove(0));
        assert_eq!(found.last().unwrap(), &each.collect::<Vec<_>>(), "alone as together");
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_those_of_a_full_scan(case in case()) {
        agree(&case)?;
    }
}

/// Every kind of data with every metric, once for sure, with more rows than a chunk has.
#[test]
fn every_kind_of_data() {
    for (data, metric) in DATA
        .into_iter()
        .flat_map(|data| [Metric::L2, Metric::InnerProduct, Metric::Cosine].map(|metric| (data, metric)))
    {
        let case = Case {
            metric,
            data,
            later: data,
            seed: 3,
            dimension: 24,
            rows: 2500,
            updated: 10,
            deleted: 10,
            batch: 100,
            k: 10,
            queries: 6,
        };
        agree(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    }
}

#[test]
fn many_dimensions() {
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        for (data, dimension) in [(Data::Clusters, 4096), (Data::OutlierCoordinate, 1030)] {
            let case = Case {
                metric,
                data,
                later: data,
                seed: 9,
                dimension,
                rows: 300,
                updated: 5,
                deleted: 5,
                batch: 64,
                k: 3,
                queries: 5,
            };
            agree(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        }
    }
}

proptest! {
    /// A search sees its batch, whatever is written meanwhile.
    #[test]
    fn a_pinned_search_sees_its_batch(seed in any::<u64>(), rows in 1000_usize..2200, changed in vec(0_usize..1000, 1..500)) {
        let index = index(Metric::L2, 8, InstructionSet::Avx2, 1);
        let timeline = index.slots().timeline();
        let row = |i: usize| Data::Uniform.row(seed, i, 8);
        let mut slots: Vec<u32> = {
            let batch = timeline.write();
            (0..rows).map(|i| index.insert(&batch, i as u32, &row(i)).unwrap()).collect()
        };
        let pin = timeline.pin();
        let query = row(rows + 1);
        let found = || {
            let reader = index.slots().reader(&pin);
            let mut nearest = TopK::new(10);
            let mut collector = Collector::new(f32::INFINITY, |distance, slot| {
                nearest.offer(distance, *reader.entry(slot).unwrap());
                nearest.bound()
            });
            index.search_into(reader, &query, &SearchOptions::new(10), &mut collector).unwrap();
            nearest.into_sorted_vec()
        };
        let before = found();
        for (i, changed) in changed.into_iter().enumerate() {
            let batch = timeline.write();
            index.slots().remove(&batch, slots[changed]);
            slots[changed] = index.insert(&batch, changed as u32, &row(rows + 10 + i)).unwrap();
            drop(batch);
            if i % 50 == 0 {
                prop_assert_eq!(&found(), &before);
            }
        }
        prop_assert_eq!(&found(), &before);
    }
}
