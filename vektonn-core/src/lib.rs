//! What things are in Vektonn: attributes, vectors, data points, data sources, indices, and how they are
//! sharded, validated and written to the log.
//!
//! No I/O, no async, no unsafe code. Everything here is a value or a pure function of values, so that the
//! library, the server and the log agree on one meaning.
//!
//! A data point is a vector plus named attributes. It lives in a data source, a durable log keyed by the
//! point's permanent attributes. Indices follow a data source, each with its own algorithm, shards and
//! splits.
#![forbid(unsafe_code)]

mod algorithm;
mod attribute;
pub mod codec;
mod collation;
mod data_point;
mod data_source_meta;
mod date_time;
mod index_kind;
mod index_meta;
mod merge;
mod position;
mod query;
pub mod sharding;
mod topology;
pub mod validation;
mod vector;
mod yaml;

pub use algorithm::{Algorithm, AlgorithmError};
pub use attribute::{Attribute, AttributeType, AttributeValue, UnknownAttributeType};
pub use collation::compare_keys;
pub use data_point::{Change, DataPoint, Tombstone};
pub use data_source_meta::{DataSourceId, DataSourceMeta};
pub use date_time::{DateTime, DateTimeError};
pub use index_kind::{HnswParams, HnswParamsError, IndexKind, MemoryMode, Metric, VectorKind};
pub use index_meta::{IndexId, IndexMeta, IndexShardMeta, Subscription};
pub use merge::merge_sorted;
pub use position::{Position, PositionError, TopicPosition};
pub use query::{FoundDataPoint, SearchQuery};
pub use topology::Topology;
pub use vector::{DenseVector, SparseVector, StoredVector, Vector, VectorError};
pub use yaml::MetaError;
