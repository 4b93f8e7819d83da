//! The indices that both JSON targets use: every metric, split by `s`, on data sources with attributes of all types.
// Each target uses a part of it.
#![allow(dead_code)]

use std::sync::{Arc, LazyLock};

use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta};
use vektonn_index::shard::Shard;

// The server is a program with a large tree of dependencies; the reading and writing of JSON needs few of them.
#[allow(unused_imports)]
#[path = "../../../vektonn-server/src/dto/mod.rs"]
pub mod dto;

const ALGORITHMS: [&str; 6] =
    ["Dense.L2", "Dense.IP", "Dense.Cosine", "Sparse.IP", "Sparse.Cosine", "Sparse.JaccardBinary"];

pub static INDICES: LazyLock<Vec<IndexMeta>> = LazyLock::new(|| ALGORITHMS.map(index).into());

fn index(algorithm: &str) -> IndexMeta {
    let data_source = format!(
        "{{vectorDimension: 3, vectorsAreSparse: {}, permanentAttributes: [i, s], attributeValueTypes: \
         {{s: String, g: Guid, b: Bool, i: Int64, f: Float64, d: DateTime}}}}",
        algorithm.starts_with("Sparse")
    );
    let text = format!(
        "{{dataSourceId: {{name: Fuzz, version: 1.0}}, indexAlgorithm: {{type: {algorithm}}}, idAttributes: [i], \
         splitAttributes: [s], shardsById: {{All: {{}}}}}}"
    );
    let data_source = DataSourceMeta::from_yaml(DataSourceId::new("Fuzz", "1.0"), &data_source);
    let data_source = Arc::new(data_source.expect("the data source is valid"));
    IndexMeta::from_yaml(IndexId::new("Fuzz", "1.0"), &text, data_source).expect("the index is valid")
}

/// An empty shard of the index.
pub fn shard(meta: &IndexMeta) -> Shard {
    Shard::new(Arc::new(meta.clone()), "All").expect("the index has this shard")
}
