//! Configuration files: any text is a consistent data source and index, or is refused with a message.
//!
//! The input is a data source's file, a NUL byte, and an index's file; without a NUL byte it is tried as both.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vektonn_core::sharding::{TopicSelector, topic_name};
use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta, MetaError};

fuzz_target!(|text: &str| {
    let (data_source, index) = text.split_once('\0').unwrap_or((text, text));
    let id = checked(IndexMeta::data_source_id_from_yaml(index));
    let id = id.unwrap_or_else(|| DataSourceId::new("Fuzz", "1.0"));
    let Some(meta) = checked(DataSourceMeta::from_yaml(id, data_source)) else { return };
    check_data_source(&meta);
    if let Some(meta) = checked(IndexMeta::from_yaml(IndexId::new("Fuzz", "1.0"), index, Arc::new(meta))) {
        check_index(&meta);
    }
});

fn checked<T>(result: Result<T, MetaError>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fn check_data_source(meta: &DataSourceMeta) {
    assert!(meta.dimension() > 0);
    assert!(!meta.permanent_keys().is_empty());
    for key in meta.permanent_keys() {
        assert!(meta.attribute_types().contains_key(key));
    }
    let first: Vec<u16> = vec![0; meta.sharders().len()];
    assert!(topic_name(meta, &first).starts_with("Vektonn."));
}

fn check_index(meta: &IndexMeta) {
    assert_eq!(meta.algorithm().vector_kind(), meta.data_source().vector_kind());
    assert!(!meta.index_id_keys().is_empty() && !meta.shards().is_empty());
    let keys = meta.index_id_keys().iter().chain(meta.split_keys()).chain(meta.payload_keys());
    assert_eq!(keys.count(), meta.data_source().attribute_types().len());
    assert!(meta.warnings().iter().all(|warning| !warning.is_empty()));
    for shard in meta.shards().values() {
        assert!(shard.may_hold(&[]), "an empty filter leaves no shard out");
        assert!(!shard.subscriptions().is_empty());
        for subscription in shard.subscriptions() {
            let selector = TopicSelector::new(meta.data_source(), subscription);
            assert!(selector.exact().is_none_or(|topic| selector.matches(&topic)));
        }
    }
}
