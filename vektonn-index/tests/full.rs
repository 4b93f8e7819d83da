//! Where there is no room for a batch, nothing of it happens.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use vektonn_core::{
    Attribute, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta, Tombstone, Vector,
};
use vektonn_index::shard::Shard;
use vektonn_index::{
    ApplyError, HnswParams, IndexFull, IndexSpec, IndexStore, MemoryMode, Metric, SearchOptions, StoreChange,
};

/// So many coordinates that the first rows are in a file.
const DIMENSION: usize = 1024;
/// Points that it has room for.
const FIRST_FILE: u32 = 64;

fn vector(first: f32) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSION];
    vector[0] = first;
    vector
}

fn full(directory: &Path) -> IndexFull {
    IndexFull::Files { directory: directory.to_owned(), kind: ErrorKind::NotFound }
}

#[test]
fn a_batch_that_does_not_fit_changes_nothing_in_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let params = HnswParams { memory: MemoryMode::Compact, ..HnswParams::default() };
    let store = IndexStore::new_in(IndexSpec::hnsw(Metric::L2, DIMENSION, params), directory.path()).unwrap();
    let point = |id: u32, payload| StoreChange::upsert(id, vector(id as f32).try_into().unwrap(), payload);
    store.apply((0..40).map(|id| point(id, "old"))).unwrap();
    std::fs::remove_dir(directory.path()).unwrap();

    // A deletion, replaced points and new ones: the first file has room for some of them.
    let batch = || (0..FIRST_FILE).map(|id| point(id, "new")).chain([StoreChange::delete(0)]);
    let refused = store.apply([StoreChange::delete(1)].into_iter().chain(batch())).unwrap_err();
    let place = directory.path().display().to_string();
    assert_eq!(
        refused.to_string(),
        format!("cannot make room for vectors in a file of {place}: entity not found")
    );
    assert_eq!(refused, ApplyError::Full(full(directory.path())));
    assert_eq!((store.len(), store.view().iter().count()), (40, 40));
    assert!(store.view().iter().all(|point| *point.payload == "old"));
    let nearest = store.search(&vector(1.0), &SearchOptions::new(1)).unwrap();
    assert_eq!((nearest[0].id, nearest[0].distance), (1, 0.0));

    // What fits is still taken, and everything when there is room again.
    store.apply([point(1, "other"), StoreChange::delete(2)]).unwrap();
    assert_eq!((store.get(&1, |point| *point.payload), store.len()), (Some("other"), 39));
    std::fs::create_dir(directory.path()).unwrap();
    store.apply(batch()).unwrap();
    assert_eq!((store.len(), store.contains(&0)), (FIRST_FILE as usize - 1, false));
    assert!(store.view().iter().all(|point| *point.payload == "new"));
}

fn meta() -> Arc<IndexMeta> {
    let source = DataSourceMeta::from_yaml(
        DataSourceId { name: "Source".into(), version: "1.0".into() },
        "{vectorDimension: 1024, vectorsAreSparse: false, permanentAttributes: [id, red], \
         attributeValueTypes: {id: Int64, red: Bool}}",
    );
    let index = "{dataSourceId: {name: Source, version: 1.0}, \
                 indexAlgorithm: {type: Dense.L2, params: {Hnsw: true, Memory: compact}}, idAttributes: [id], \
                 splitAttributes: [red], shardsById: {Mine: {shardsByAttributeKey: {}}}}";
    let id = IndexId { name: "Index".into(), version: "1.0".into() };
    Arc::new(IndexMeta::from_yaml(id, index, Arc::new(source.unwrap())).unwrap())
}

fn attributes(id: i64, red: bool) -> Vec<Attribute> {
    vec![Attribute::new("id", id), Attribute::new("red", red)]
}

fn upsert(id: i64, red: bool) -> Change {
    Change::Upsert(DataPoint {
        attributes: attributes(id, red),
        vector: Vector::dense(vector(id as f32).into_iter().map(f64::from).collect::<Vec<_>>()),
    })
}

/// One split has room for its part of the batch, another one has not.
#[test]
fn a_batch_that_does_not_fit_changes_nothing_in_a_shard() {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::new_in(meta(), "Mine", directory.path()).unwrap();
    shard.apply((0..10).map(|id| upsert(id, id % 2 == 0)).collect()).unwrap();
    let before = shard.snapshot().digest();
    std::fs::remove_dir(directory.path()).unwrap();

    for crowded in [false, true] {
        let many = (100..100 + i64::from(FIRST_FILE)).map(|id| upsert(id, crowded));
        let deleted = Change::Delete(Tombstone { permanent_attributes: attributes(0, true) });
        let batch = [deleted, upsert(7, !crowded), upsert(8, !crowded)].into_iter().chain(many);
        assert_eq!(shard.apply(batch.collect()), Err(full(directory.path())));
        assert_eq!((shard.snapshot().digest(), shard.len()), (before, 10));
    }
    shard.apply(vec![upsert(7, true), upsert(8, false)]).unwrap();
    assert_eq!(shard.len(), 12);
}
