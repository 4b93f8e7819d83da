//! Which topic of a data source's log, and which shards of an index, a data point belongs to.
//!
//! Both are decided by the hash of attribute values: in the log modulo the data source's number of shards, in an
//! index modulo the numbers in its shards' rules, which may be others.

mod data_source;
mod hash;
mod index;

pub use data_source::{TopicSelector, coordinates, topic_name};
pub use hash::{hash_attribute, hash64, shard_of};
pub(crate) use index::ShardingRule;
