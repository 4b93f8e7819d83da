//! The shapes of the JSON, as it is written and as the OpenAPI document describes it.
//!
//! Input shapes are only described here; `read` reads them straight into the types of `vektonn-core`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody {
    /// One or more messages.
    pub(crate) error_messages: Vec<String>,
}

/// A named value of a data point.
#[derive(Serialize, ToSchema)]
pub(crate) struct Attribute {
    /// The name, case-sensitive.
    pub(crate) key: String,
    pub(crate) value: AttributeValue,
}

/// Exactly one of the members.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AttributeValue {
    String(String),
    #[schema(value_type = String, format = Uuid)]
    Guid(String),
    Bool(bool),
    Int64(i64),
    Float64(f64),
    #[schema(value_type = String, format = DateTime)]
    DateTime(String),
}

/// A vector: dense, with one coordinate for every dimension, or sparse, with the indices of its coordinates.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"isSparse": false, "coordinates": [1.5, -2.25]}))]
pub(crate) struct Vector {
    pub(crate) is_sparse: bool,
    #[schema(value_type = Vec<f64>)]
    pub(crate) coordinates: Coordinates,
    /// Zero-based, each at most once; of sparse vectors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<i32>>)]
    pub(crate) coordinate_indices: Option<Indices>,
}

/// Numbers are printed as the shortest decimals that read back to the same float of their width.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Coordinates {
    /// As in an index.
    Stored(Vec<f32>),
    /// As in a query.
    Asked(Vec<f64>),
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Indices {
    Stored(Vec<u32>),
    Asked(Vec<i32>),
}

/// A data point to upload, or with `isDeleted` instead of a vector one to delete.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "attributes": [
        {"key": "id", "value": {"int64": 1}},
        {"key": "payload", "value": {"string": "sample data point"}}
    ],
    "vector": {"isSparse": false, "coordinates": [1.5, -2.25]}
}))]
pub(crate) struct InputDataPoint {
    /// All attributes of the data source, of a deletion too.
    pub(crate) attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<Vector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_deleted: Option<bool>,
}

/// A search for the `k` nearest data points of each query vector.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "queryVectors": [{"isSparse": false, "coordinates": [1.2, 3.4]}], "k": 10, "retrieveVectors": true
}))]
pub(crate) struct SearchQuery {
    /// Exact values of split attributes; none searches all splits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) split_filter: Option<Vec<Attribute>>,
    pub(crate) query_vectors: Vec<Vector>,
    /// How many neighbours to find for each query vector.
    #[schema(value_type = i32, minimum = 1)]
    pub(crate) k: usize,
    /// How many candidates an approximate index keeps, instead of its `Hnsw_EfSearch`: more find more of the nearest, and
    /// take longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i32>, minimum = 1)]
    pub(crate) ef_search: Option<usize>,
    /// Which share of a query's weight a search of a sparse index looks for, above 0 and at most 1: less is faster and finds
    /// fewer of the nearest, 1 is exact. If absent, an index with `Approximate` looks for 0.7, any other one for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approximation: Option<f32>,
    /// Whether found data points carry their vectors; true if absent.
    #[schema(value_type = Option<bool>)]
    pub(crate) retrieve_vectors: bool,
}

/// The neighbours of one query vector, nearest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchResult {
    pub(crate) query_vector: Vector,
    pub(crate) nearest_data_points: Vec<FoundDataPoint>,
}

/// A neighbour.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundDataPoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vector: Option<Vector>,
    /// Index id, split and payload attributes, each group ordered by key.
    pub(crate) attributes: Vec<Attribute>,
    /// Ascending; of an inner product the product itself, descending.
    #[schema(value_type = f64)]
    pub(crate) distance: f32,
}

/// What a shard holds.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardInfo {
    /// The algorithm with its parameters.
    pub(crate) index_algorithm: String,
    /// `DenseVectorDto` or `SparseVectorDto`.
    pub(crate) vector_type: String,
    pub(crate) vector_dimension: usize,
    pub(crate) data_points_count: usize,
}

/// A data source of this server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DataSourceItem {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) vectors_are_sparse: bool,
    pub(crate) vector_dimension: usize,
    /// Types by attribute key, in the order of the configuration.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(crate) attribute_value_types: indexmap::IndexMap<String, String>,
    pub(crate) permanent_attributes: Vec<String>,
}

/// An index of this server.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexItem {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) data_source_name: String,
    pub(crate) data_source_version: String,
    pub(crate) index_algorithm: String,
    /// Whether searches that ask for nothing else find exactly the nearest points.
    pub(crate) searches_exactly: bool,
    pub(crate) id_attributes: Vec<String>,
    pub(crate) split_attributes: Vec<String>,
    pub(crate) shards: Vec<ShardItem>,
}

/// A shard of an index, as it is now.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardItem {
    pub(crate) id: String,
    /// `starting`, `catching up`, `ready`, `stopping`, `failed: ...`; of a shard in another process `answers`.
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_points_count: Option<u64>,
    /// What is known of a shard in this process.
    #[serde(flatten)]
    pub(crate) details: Option<ShardDetails>,
    /// The other processes that hold the shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<String>,
}

/// What a process knows of its shard.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardDetails {
    #[schema(required = false)]
    pub(crate) splits_count: u64,
    #[schema(required = false)]
    pub(crate) bytes: u64,
    /// Records of the log that are not applied yet, at most.
    #[schema(required = false)]
    pub(crate) lag_records: u64,
    /// For how long there have been any.
    #[serde(default)]
    #[schema(required = false)]
    pub(crate) lag_seconds: f64,
    /// Records that were skipped because they cannot be applied.
    #[schema(required = false)]
    pub(crate) bad_records: u64,
    /// What computes the distances.
    #[schema(required = false)]
    pub(crate) instruction_set: String,
}

/// A digest of what a shard holds, and of when.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardDigest {
    /// What the shard had applied of the log, as in `X-Vektonn-Position`.
    pub(crate) position: String,
    pub(crate) data_points_count: u64,
    /// The same for two shards that hold the same points, in hexadecimal.
    pub(crate) digest: String,
}
