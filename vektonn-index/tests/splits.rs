//! The splits of a shard, while they come and go.
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vektonn_core::{
    Attribute, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta, SearchQuery, Tombstone,
    Vector,
};
use vektonn_index::shard::Shard;

/// A shard that holds all points of an index, with one split for each `day`.
fn shard() -> Shard {
    let source = DataSourceMeta::from_yaml(
        DataSourceId { name: "Source".into(), version: "1.0".into() },
        "{vectorDimension: 2, vectorsAreSparse: false, permanentAttributes: [id, day], \
         attributeValueTypes: {id: Int64, day: Int64}}",
    );
    let index = "{dataSourceId: {name: Source, version: 1.0}, indexAlgorithm: {type: FaissIndex.L2}, \
                 idAttributes: [id], splitAttributes: [day], shardsById: {All: {shardsByAttributeKey: {}}}}";
    let id = IndexId { name: "Index".into(), version: "1.0".into() };
    let meta = IndexMeta::from_yaml(id, index, Arc::new(source.unwrap())).unwrap();
    Shard::new(Arc::new(meta), "All").unwrap()
}

fn attributes(day: i64, id: i64) -> Vec<Attribute> {
    vec![Attribute::new("id", id), Attribute::new("day", day)]
}

fn upsert(day: i64, id: i64) -> Change {
    Change::Upsert(DataPoint {
        attributes: attributes(day, id),
        vector: Vector::dense([day as f64, id as f64]),
    })
}

fn delete(day: i64, id: i64) -> Change {
    Change::Delete(Tombstone { permanent_attributes: attributes(day, id) })
}

fn apply(shard: &Shard, changes: impl Iterator<Item = Change>) {
    let changes: Vec<_> = changes.collect();
    let count = changes.len();
    assert_eq!(shard.apply(changes).unwrap().applied, count);
}

fn found(shard: &Shard, k: usize) -> usize {
    let query = SearchQuery {
        split_filter: vec![],
        query_vectors: vec![Vector::dense([0.0, 0.0])],
        k,
        ef_search: None,
        approximation: None,
        retrieve_vectors: false,
    };
    shard.search(&query, None).unwrap()[0].len()
}

const DAYS: Range<i64> = 0..60;

/// The splits of a search are ordered by their sizes, which writers change meanwhile.
#[test]
fn sizes_may_change_while_splits_are_ordered_by_them() {
    let shard = shard();
    apply(&shard, DAYS.map(|day| upsert(day, 0)));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                let day = |day: i64| (day * 7 + round) % DAYS.end;
                apply(&shard, DAYS.flat_map(|i| (1..=i % 5).map(move |id| upsert(day(i), id))));
                apply(&shard, DAYS.flat_map(|i| (1..=i % 5).map(move |id| delete(day(i), id))));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let searches = scope.spawn(|| (0..2000).map(|_| found(&shard, 100)).min());
        let fewest = searches.join();
        is_over.store(true, Ordering::Relaxed);
        assert!(fewest.unwrap().unwrap() >= DAYS.end as usize);
    });
}

/// A split that is empty goes once no search can see a point of it any more.
#[test]
fn splits_whose_points_are_gone_are_forgotten() {
    let shard = shard();
    let come_and_go = |days: Range<i64>| {
        for day in days {
            apply(&shard, (0..100).map(|id| upsert(day, id)));
            apply(&shard, (0..100).map(|id| delete(day - 1, id)));
        }
        shard.stats()
    };
    let early = come_and_go(0..20);
    let late = come_and_go(20..200);
    assert!(early.splits.len() <= 4 && late.splits.len() <= 4, "{} splits", late.splits.len());
    assert!(late.bytes <= early.bytes, "{} bytes, at first {}", late.bytes, early.bytes);
    assert_eq!((late.points, found(&shard, 200)), (100, 100));
    assert_eq!(late.splits[0].attributes, [Attribute::new("day", 199)]);
}

#[test]
fn what_a_snapshot_sees_stays_while_its_splits_are_emptied_filled_and_emptied() {
    let shard = shard();
    apply(&shard, (0..50).flat_map(|id| [upsert(1, id), upsert(2, id)]));
    let snapshot = shard.snapshot();
    let before = snapshot.digest();
    for round in 0..10 {
        apply(&shard, (0..50).flat_map(|id| [delete(1, id), delete(2, id)]));
        apply(&shard, (0..round % 3).map(|_| upsert(3, 0)));
        let between = shard.snapshot();
        assert_eq!(between.digest().points, u64::from(round >= 1));
        drop(between);
        apply(&shard, (0..50).flat_map(|id| [upsert(1, id), upsert(2, id)]));
        assert_eq!(shard.snapshot().digest().points, before.points + u64::from(round >= 1));
    }
    apply(&shard, (0..50).flat_map(|id| [delete(1, id), delete(2, id)]).chain([delete(3, 0)]));
    assert_eq!(snapshot.digest(), before);
    drop(snapshot);
    (0..4).for_each(|_| apply(&shard, std::iter::empty()));
    assert!(shard.stats().splits.is_empty());
}
