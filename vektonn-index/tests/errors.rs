//! What errors say, and that tests can ask for them.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Arc;

use vektonn_core::{Attribute, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta, Vector};
use vektonn_index::shard::{Shard, ShardError};
use vektonn_index::{
    ApplyError, DenseVector, IndexStore, Metric, SearchError, SearchOptions, SpecError, StoreChange,
    VectorError,
};

fn meta() -> Arc<IndexMeta> {
    let source = DataSourceMeta::from_yaml(
        DataSourceId { name: "Source".into(), version: "1.0".into() },
        "{vectorDimension: 2, vectorsAreSparse: false, permanentAttributes: [id], \
         attributeValueTypes: {id: Int64}}",
    );
    let index = "{dataSourceId: {name: Source, version: 1.0}, indexAlgorithm: {type: FaissIndex.L2}, \
                 idAttributes: [id], shardsById: {All: {shardsByAttributeKey: {}}}}";
    let id = IndexId { name: "Index".into(), version: "1.0".into() };
    Arc::new(IndexMeta::from_yaml(id, index, Arc::new(source.unwrap())).unwrap())
}

/// The messages of an error and of what caused it.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source()).map(|error| error.to_string()).collect()
}

#[test]
fn what_can_fail_can_be_asked_for_its_error() {
    assert_eq!(IndexStore::<u32>::dense(Metric::L2, 0).unwrap_err(), SpecError::ZeroDimension);
    let store = IndexStore::dense(Metric::L2, 2).unwrap();
    store.apply([StoreChange::upsert(7, [1.0, 2.0].try_into().unwrap(), "seven")]).unwrap();
    let view = store.view();
    let long = DenseVector::new(vec![0.0; 3]).unwrap();
    let refused = view.search(&long, &SearchOptions::new(1)).unwrap_err();
    assert!(matches!(refused, SearchError::Vector(VectorError::Dimension { .. })));
    let hit = view.search(&[1.0, 2.0], &SearchOptions::new(1)).unwrap()[0];
    assert_eq!(format!("{hit:?}"), r#"Hit { distance: 0.0, id: 7, payload: "seven", .. }"#);
    assert_eq!(format!("{:?}", view.get(&7).unwrap()), r#"Point { id: 7, payload: "seven", .. }"#);
    assert!(format!("{view:?}").starts_with("View { store: IndexStore { spec: IndexSpec { metric: L2"));

    let unknown = Shard::new(meta(), "None").unwrap_err();
    assert!(matches!(unknown, ShardError::Unknown { .. }));
    let shard = Shard::new(meta(), "All").unwrap();
    assert!(format!("{shard:?} {:?}", shard.snapshot()).contains("splits: 0"));
}

#[test]
fn no_error_says_a_thing_twice() {
    let point = |coordinates: &[f64]| {
        let attributes = vec![Attribute::new("id", 1_i64)];
        Change::Upsert(DataPoint { attributes, vector: Vector::dense(coordinates) })
    };
    let shard = Shard::new(meta(), "All").unwrap();
    assert!(shard.prepare(point(&[1.0, 2.0])).unwrap().is_some());
    let bad = shard.prepare(point(&[1.0])).unwrap_err();
    let error = VectorError::NotFinite;
    let errors: [(&dyn Error, &str); 3] = [
        (&bad, "Vector coordinates must have dimension: 2"),
        (&SearchError::Vector(error), "Vector coordinates must be finite 32-bit floating-point numbers"),
        (
            &ApplyError::Vector { position: 3, error },
            "change 3: Vector coordinates must be finite 32-bit floating-point numbers",
        ),
    ];
    for (error, message) in errors {
        assert_eq!(chain(error), [message]);
    }
}
