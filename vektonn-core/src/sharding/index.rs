//! Sharding of an index.

use std::num::NonZeroU16;

use crate::Attribute;
use crate::sharding::shard_of;

/// The values of one attribute that a shard of an index takes, as hash modulo the number of shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardingRule {
    attribute: String,
    number_of_shards: NonZeroU16,
    shard_values: Vec<u16>,
}

impl ShardingRule {
    pub(crate) fn new(attribute: String, number_of_shards: NonZeroU16, mut shard_values: Vec<u16>) -> Self {
        shard_values.sort_unstable();
        shard_values.dedup();
        Self { attribute, number_of_shards, shard_values }
    }

    /// Whether the shard takes the value of the attribute; `None` if the attribute is not there.
    pub(crate) fn verdict(&self, attributes: &[Attribute]) -> Option<bool> {
        let attribute = attributes.iter().find(|attribute| attribute.key == self.attribute)?;
        let shard = shard_of(&attribute.value, self.number_of_shards);
        Some(self.shard_values.binary_search(&shard).is_ok())
    }
}
