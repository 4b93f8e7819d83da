//! All shards that this process follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use vektonn_core::IndexId;
use vektonn_index::shard::Shard;

use super::ShardFollower;
use crate::DataSource;

/// The followers of this process, by index and shard.
#[derive(Default)]
pub struct ShardManager {
    followers: RwLock<BTreeMap<IndexId, BTreeMap<String, Arc<ShardFollower>>>>,
}

/// The shard is followed already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard '{shard_id}' of index {index_id} is followed already")]
pub struct AlreadyFollowed {
    /// The index.
    pub index_id: IndexId,
    /// The shard.
    pub shard_id: String,
}

impl ShardManager {
    /// A manager that follows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to follow the topics of an empty shard.
    ///
    /// # Errors
    /// When a shard of that index and id is followed already.
    pub fn start(
        &self,
        shard: Arc<Shard>,
        source: Arc<dyn DataSource>,
    ) -> Result<Arc<ShardFollower>, AlreadyFollowed> {
        let (index_id, shard_id) = (shard.meta().id().clone(), shard.shard_id().to_owned());
        let mut followers = self.followers.write();
        let of_index = followers.entry(index_id.clone()).or_default();
        if of_index.contains_key(&shard_id) {
            return Err(AlreadyFollowed { index_id, shard_id });
        }
        let follower = Arc::new(ShardFollower::start(shard, source));
        of_index.insert(shard_id, Arc::clone(&follower));
        Ok(follower)
    }

    /// The follower of a shard, if there is one.
    pub fn get(&self, index_id: &IndexId, shard_id: &str) -> Option<Arc<ShardFollower>> {
        self.followers.read().get(index_id)?.get(shard_id).cloned()
    }

    /// All followers, ordered by index and shard.
    pub fn all(&self) -> Vec<Arc<ShardFollower>> {
        self.followers.read().values().flat_map(|of_index| of_index.values().cloned()).collect()
    }

    /// Stops following a shard and forgets it; false if it was not followed.
    pub fn stop(&self, index_id: &IndexId, shard_id: &str) -> bool {
        let follower = {
            let mut followers = self.followers.write();
            let Some(of_index) = followers.get_mut(index_id) else { return false };
            let follower = of_index.remove(shard_id);
            if of_index.is_empty() {
                followers.remove(index_id);
            }
            follower
        };
        // Without the lock: waiting for a thread must not keep searches waiting.
        follower.inspect(|follower| follower.stop()).is_some()
    }

    /// Stops following all shards and forgets them.
    pub fn stop_all(&self) {
        let followers = std::mem::take(&mut *self.followers.write());
        let followers: Vec<_> = followers.into_values().flat_map(BTreeMap::into_values).collect();
        // All are told before the first is waited for.
        for follower in &followers {
            follower.begin_stop();
        }
        for follower in &followers {
            follower.stop();
        }
    }
}
