//! What an index is: the data source it follows, its algorithm, its attributes, shards and splits.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::{Algorithm, DataSourceMeta};

/// The name and version of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexId {
    /// The name, such as `Samples.DenseVectors`.
    pub name: String,
    /// The version, as text: `1.0` is not `1`.
    pub version: String,
}

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexId {{ Name = {}, Version = {} }}", self.name, self.version)
    }
}

/// An index as its configuration file describes it, checked against its data source.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexMeta {
    pub(crate) id: IndexId,
    pub(crate) data_source: Arc<DataSourceMeta>,
    pub(crate) algorithm: Algorithm,
    /// Id attributes that are not split attributes, ordered by key.
    pub(crate) index_id_keys: Vec<String>,
    /// Split attributes in the order of the file, as messages print them.
    pub(crate) split_attributes: Vec<String>,
    /// Split attributes ordered by key.
    pub(crate) split_keys: Vec<String>,
    /// All other attributes of the data source, ordered by key.
    pub(crate) payload_keys: Vec<String>,
    /// By shard id, in the order of the file.
    pub(crate) shards: IndexMap<String, IndexShardMeta>,
}

/// One shard of an index: which data points it takes, and which topics it reads them from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexShardMeta {
    /// A data point belongs here if every one of these attributes falls into its shard values.
    /// Empty: everything belongs here.
    pub(crate) rules: Vec<ShardingRule>,
    pub(crate) subscriptions: Vec<Subscription>,
}

/// The values of one attribute that a shard takes, as hash modulo `number_of_shards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardingRule {
    pub(crate) attribute: String,
    pub(crate) number_of_shards: NonZeroU16,
    pub(crate) shard_values: Vec<u16>,
}

/// Topics of a data source that a shard reads: one coordinate, or any, for each sharding attribute named.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Ordered by attribute key; `None` means any coordinate.
    pub coordinates: Vec<(String, Option<u16>)>,
}
