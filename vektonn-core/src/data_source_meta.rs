//! What a data source holds: its vectors' dimension, its attributes and how its log is sharded.

use std::fmt;
use std::num::NonZeroU16;

use indexmap::IndexMap;

use crate::{AttributeType, VectorKind};

/// The name and version of a data source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataSourceId {
    /// The name, such as `Samples.DenseVectors`.
    pub name: String,
    /// The version, as text: `1.0` is not `1`.
    pub version: String,
}

impl fmt::Display for DataSourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataSourceId {{ Name = {}, Version = {} }}", self.name, self.version)
    }
}

/// A data source as its configuration file describes it, checked for consistency.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSourceMeta {
    pub(crate) id: DataSourceId,
    pub(crate) vector_kind: VectorKind,
    pub(crate) dimension: usize,
    /// In the order of the file.
    pub(crate) attribute_types: IndexMap<String, AttributeType>,
    /// Ordered by key, as the log's keys are.
    pub(crate) permanent_keys: Vec<String>,
    /// Ordered by key, as the log's topics are.
    pub(crate) sharders: Vec<(String, NonZeroU16)>,
}
