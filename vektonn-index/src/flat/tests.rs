//! The search over codes against a scan of all rows with the scalar kernels: the same ids and the same bits.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vektonn_core::Metric;

use super::bound::CodedQuery;
use super::codes::{ChunkCodes, Room};
use super::ranges::{Ranges, center_of};
use super::*;
use crate::dense_rows::{DenseQuery, factor};
use crate::distance::int8::{GROUP, Rotation, STEP, Scores, low_norm};
use crate::distance::{self, DenseKernels, InstructionSet};
use crate::store::timeline::Timeline;
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
    let slots = Slots::new(Arc::new(Timeline::new()), dimension);
    FlatIndex::with_rows_min(DenseRows::new(metric, dimension, DenseKernels::new(set), slots), rows_min)
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
    let queries: Vec<_> = queries.iter().map(|query| DenseQuery::new(index.rows.metric(), query)).collect();
    index.search_into(reader, &queries, &SearchOptions::new(k), Part::WHOLE, &mut collectors).unwrap();
    drop(collectors);
    let bits = |found: crate::Neighbor<u32>| (found.distance.to_bits(), found.id);
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
    // So many, too, that few are left.
    let share = || prop_oneof![Just(0_usize), 0_usize..100, 90_usize..101];
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
        prop_assert_eq!(&found, &expected, "{:?}", index.rows.kernels());
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
            index.finish(&batch);
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

/// Every kind of data in the most dimensions that embeddings have, and rows of more than one tile where it matters.
#[test]
fn many_dimensions() {
    let all = DATA.into_iter().map(|data| (data, 4096, 40));
    for (data, dimension, rows) in all.chain([(Data::Clusters, 1030, 300)]) {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let case = Case {
                metric,
                data,
                later: data,
                seed: 9,
                dimension,
                rows,
                updated: 5,
                deleted: 5,
                batch: 16,
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
            let slots = (0..rows).map(|i| index.insert(&batch, i as u32, &row(i)).unwrap()).collect();
            index.finish(&batch);
            slots
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
            let (query, collectors) = (DenseQuery::new(index.rows.metric(), &query), std::slice::from_mut(&mut collector));
            index.search_into(reader, &[query], &SearchOptions::new(10), Part::WHOLE, collectors).unwrap();
            nearest.into_sorted_vec()
        };
        let before = found();
        for (i, changed) in changed.into_iter().enumerate() {
            let batch = timeline.write();
            index.slots().remove(&batch, slots[changed]);
            slots[changed] = index.insert(&batch, changed as u32, &row(rows + 10 + i)).unwrap();
            index.finish(&batch);
            drop(batch);
            if i % 50 == 0 {
                prop_assert_eq!(&found(), &before);
            }
        }
        prop_assert_eq!(&found(), &before);
    }
}

/// All that a search relies on: with a bound that its own distance does not exceed, a row is marked. Checked where it is
/// tightest, at its own distance, and with the score that was made for the farthest row. Returns how many rows had codes.
fn marked_at_their_own_distances(
    metric: Metric,
    ranges: Ranges,
    rows: &[Vec<f32>],
    queries: &[Vec<f32>],
) -> Result<usize, TestCaseError> {
    let (space, ranges) = (Space::of(metric), Arc::new(ranges));
    let all = index(metric, rows[0].len(), InstructionSet::Scalar, usize::MAX);
    let batch = all.slots().timeline().write();
    for (i, row) in rows.iter().enumerate() {
        prop_assert_eq!(all.insert(&batch, i as u32, row).unwrap(), i as u32);
    }
    drop(batch);
    let coded_rows =
        rows.iter().enumerate().map(|(i, row)| (i, row.as_slice(), factor(all.rows.norm_of(i as u32))));
    let (chunk, _) = ChunkCodes::new(Room::default(), None, &ranges, space, rows.len(), coded_rows);
    let coded: Vec<usize> =
        (0..rows.len()).filter(|i| chunk.coded(i / GROUP) >> (i % GROUP) & 1 == 1).collect();
    for query in queries {
        let query = DenseQuery::new(all.rows.metric(), query);
        if query.norm == 0.0 {
            continue;
        }
        let distances: Vec<f32> =
            (0..).zip(rows).map(|(slot, row)| all.rows.distance(&query, row, slot)).collect();
        let finite = |&i: &usize| distances[i].is_finite();
        let farthest = coded.iter().filter(|i| finite(i)).map(|&i| distances[i]).max_by(f32::total_cmp);
        for set in InstructionSet::ALL {
            // Instruction sets code queries differently.
            let kernels = CodeKernels::new(set);
            let ranges = Ranges { kernels, ..ranges.as_ref().clone() };
            let coded_query = CodedQuery::new(&query, space, &ranges);
            for i in coded.iter().copied().filter(finite) {
                let own = coded_query.limit(distances[i]);
                let limits = [own, coded_query.limit(farthest.unwrap())];
                // With what the lower half of this row alone may add, and with what any in the chunk may.
                let low_norms = [low_norm(&codes_of(&chunk, i, rows[i].len())), chunk.low_norm_max];
                for (limit, low_norm) in limits.iter().flat_map(|limit| low_norms.map(|norm| (limit, norm))) {
                    let mut found = Scores::new();
                    kernels.scan_one(
                        chunk.tile(i / GROUP, 1),
                        &coded_query.probe(limit, low_norm),
                        &mut found,
                    );
                    let score = found.scores[0][i % GROUP];
                    let marked = found.marks[0] >> (i % GROUP) & 1 == 1;
                    // As the search decides when its bound has fallen since the scan.
                    let still_marked = score.is_nan() || own.at_least.is_nan() || score >= own.at_least;
                    prop_assert!(
                        marked && still_marked,
                        "{set}: row {i} at {}: score {score}, {limit:?}, own {own:?}",
                        distances[i]
                    );
                }
            }
        }
    }
    Ok(coded.len())
}

/// The codes of a row.
fn codes_of(chunk: &ChunkCodes, row: usize, dimension: usize) -> Vec<u8> {
    let mut room = vec![];
    let lines = best_kernels().join(chunk.tile(row / GROUP, 1), &mut room);
    let first = row % GROUP * STEP;
    (0..dimension).map(|i| lines[i / STEP].0[first + i % STEP]).collect()
}

fn best_kernels() -> CodeKernels {
    CodeKernels::new(InstructionSet::detect().unwrap())
}

/// Ranges for rows, as the plane fits them; `rotated` or not, for better or worse.
fn fit(metric: Metric, rows: &[Vec<f32>], rotated: bool) -> Ranges {
    let space = Space::of(metric);
    let sample: Vec<Vec<f32>> = rows
        .iter()
        .map(|row| (row, if space.is_unit() { factor(distance::norm(row)) } else { 1.0 }))
        .map(|(row, factor)| row.iter().map(|&x| (f64::from(x) * factor) as f32).collect())
        .collect();
    let dimension = rows[0].len();
    let rotation = rotated.then(|| Rotation::new(dimension));
    let center = center_of(&sample, dimension);
    Ranges::with_rotation(best_kernels(), &sample, &center, rotation, space.is_unit())
}

fn any_metric() -> impl Strategy<Value = Metric> {
    proptest::sample::select(&[Metric::L2, Metric::InnerProduct, Metric::Cosine][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// With any ranges: those of the rows, or of others.
    #[test]
    fn no_row_is_excluded_at_its_own_distance(
        metric in any_metric(),
        data in proptest::sample::select(&DATA[..]),
        others in proptest::sample::select(&DATA[..]),
        seed in any::<u64>(),
        dimension in prop_oneof![1_usize..40, Just(300)],
        rows in 1_usize..50,
        rotated in any::<bool>(),
    ) {
        let of = |data: Data, salt: u64| -> Vec<Vec<f32>> {
            (60..60 + rows).map(|i| data.row(seed ^ salt, i, dimension)).collect()
        };
        let rows = of(data, 0);
        let mut queries = vec![rows[0].clone(), vec![0.0; dimension], rows[0].iter().map(|x| x * 0.999).collect()];
        queries.extend(of(data, 1).into_iter().take(3));
        queries.extend(DATA.iter().flat_map(|&data| of(data, 2).into_iter().next()));
        let ranges = fit(metric, &if seed.is_multiple_of(2) { of(others, 3) } else { rows.clone() }, rotated);
        marked_at_their_own_distances(metric, ranges, &rows, &queries)?;
    }

    /// Rows and queries that lose nothing by coding: there is only the slack for rounding between them and the bound.
    #[test]
    fn no_row_is_excluded_that_is_coded_exactly(
        metric in proptest::sample::select(&[Metric::L2, Metric::InnerProduct][..]),
        seed in any::<u64>(),
        dimension in prop_oneof![1_usize..40, Just(300), Just(4096)],
        power in -20_i32..20,
        center in prop_oneof![Just(0_i8), -64_i8..64],
    ) {
        exactly_coded(metric, seed, dimension, 2_f32.powi(power), center.into(), 32)?;
    }

    /// All cosines are 1 but for rounding, and any of them may be the largest.
    #[test]
    fn no_row_is_excluded_that_has_the_direction_of_the_query(
        seed in any::<u64>(),
        dimension in prop_oneof![1_usize..40, Just(300), Just(2048)],
        nudge in prop_oneof![Just(0.0_f32), Just(1e-7), Just(1e-4)],
        rotated in any::<bool>(),
    ) {
        let direction = Data::Uniform.row(seed, 0, dimension);
        let rows: Vec<Vec<f32>> = (1..30).map(|i| {
            let factor = 10_f32.powf(Data::Uniform.row(seed, i, 1)[0] * 17.0);
            let nudges = Data::Uniform.row(seed, 100 + i, dimension);
            direction.iter().zip(nudges).map(|(x, y)| (x + y * nudge) * factor).collect()
        }).collect();
        let queries = [direction, rows[0].clone()];
        let ranges = fit(Metric::Cosine, &rows, rotated);
        marked_at_their_own_distances(Metric::Cosine, ranges, &rows, &queries)?;
    }
}

/// Rows and queries that are multiples of the steps of their codes, so that coding loses nothing.
fn exactly_coded(
    metric: Metric,
    seed: u64,
    dimension: usize,
    scale: f32,
    center: f32,
    rows: usize,
) -> Result<(), TestCaseError> {
    let number = |i: usize, j: usize| hash(seed ^ hash(i as u64 ^ hash(j as u64)));
    let ranges = Ranges {
        center: vec![center * scale; dimension].into(),
        rotation: None,
        zero: vec![128; dimension].into(),
        scale: f64::from(scale),
        error: 0.0,
        kernels: best_kernels(),
    };
    let row = |i: usize| -> Vec<f32> {
        // The first few are near to each other, so that rounding decides.
        let near = i < rows / 2;
        let code = |j: usize| match near {
            true => {
                (number(0, j) % 248) as i32 - 124 + (number(i, j).is_multiple_of(dimension as u64)) as i32
            }
            false => (number(i, j) % 256) as i32 - 128,
        };
        (0..dimension).map(|j| (code(j) as f32 + center) * scale).collect()
    };
    let query = |i: usize| -> Vec<f32> {
        // The first dimension makes the step of the query's codes 1, or 2.
        let step = (i + 1) as f32;
        let of = |j: usize| match j % 8 {
            0 => {
                if j == 0 {
                    126.0
                } else {
                    (number(i, j) % 120) as f32
                }
            }
            1 | 4 | 5 => 0.0,
            _ => (number(i, j) % 61) as f32 - 30.0,
        };
        let center = if metric == Metric::L2 { center } else { 0.0 };
        (0..dimension).map(|j| (of(j) * step + center) * scale).collect()
    };
    let rows: Vec<Vec<f32>> = (0..rows).map(row).collect();
    let coded = marked_at_their_own_distances(metric, ranges, &rows, &[query(0), query(1)])?;
    prop_assert_eq!(coded, rows.len());
    Ok(())
}

#[test]
fn the_most_dimensions() {
    for metric in [Metric::L2, Metric::InnerProduct] {
        exactly_coded(metric, 5, 1 << 16, 1.0, 3.0, 8).unwrap();
    }
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        let rows: Vec<Vec<f32>> = (0..6).map(|i| Data::Clusters.row(8, i, 1 << 16)).collect();
        let query = Data::Clusters.row(8, 7, 1 << 16);
        let queries = [rows[0].clone(), query];
        for rotated in [false, true] {
            marked_at_their_own_distances(metric, fit(metric, &rows, rotated), &rows, &queries).unwrap();
        }
    }
}
