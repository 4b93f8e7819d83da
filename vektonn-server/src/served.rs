//! What this process serves at a moment: data sources, indices, and for each shard where it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta};
use vektonn_kafka::lifecycle::ShardFollower;

use crate::error::ApiError;
use crate::remote::RemoteShard;

/// A moment's data sources and indices. It is replaced as a whole when the configuration changes.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) data_sources: BTreeMap<DataSourceId, Arc<DataSourceMeta>>,
    pub(crate) indices: BTreeMap<IndexId, Arc<ServedIndex>>,
    /// Built beside an index of the same id that is served, to take its place.
    pub(crate) warming: BTreeMap<IndexId, Arc<ServedIndex>>,
    /// What is wrong with the configuration files as they are now; what they said before still counts.
    pub(crate) problems: Vec<String>,
}

/// An index and the shards of it that this process can search.
pub(crate) struct ServedIndex {
    pub(crate) meta: Arc<IndexMeta>,
    pub(crate) shards: BTreeMap<String, ServedShard>,
    /// It came while the process was serving others, and has not been ready yet.
    is_new: AtomicBool,
}

/// A shard, here or elsewhere.
pub(crate) enum ServedShard {
    /// In this process.
    Local(Arc<ShardFollower>),
    /// In other processes.
    Remote(Arc<RemoteShard>),
}

impl Served {
    pub(crate) fn index(&self, name: String, version: String) -> Result<&Arc<ServedIndex>, ApiError> {
        let id = IndexId { name, version };
        self.indices.get(&id).ok_or_else(|| ApiError::unknown_index(&id))
    }

    pub(crate) fn data_source(
        &self,
        name: String,
        version: String,
    ) -> Result<&Arc<DataSourceMeta>, ApiError> {
        let id = DataSourceId { name, version };
        self.data_sources.get(&id).ok_or_else(|| ApiError::unknown_data_source(&id))
    }

    /// The shards of this process, of the indices that are served.
    pub(crate) fn followers(&self) -> impl Iterator<Item = &Arc<ShardFollower>> {
        self.indices.values().flat_map(|index| index.followers())
    }

    /// The shards in other processes, of the indices that are served.
    pub(crate) fn remote_shards(&self) -> impl Iterator<Item = &Arc<RemoteShard>> {
        let shards = self.indices.values().flat_map(|index| index.shards.values());
        shards.filter_map(|shard| match shard {
            ServedShard::Local(_) => None,
            ServedShard::Remote(remote) => Some(remote),
        })
    }
}

impl ServedIndex {
    pub(crate) fn new(meta: Arc<IndexMeta>, shards: BTreeMap<String, ServedShard>, is_new: bool) -> Self {
        Self { meta, shards, is_new: AtomicBool::new(is_new) }
    }

    pub(crate) fn followers(&self) -> impl Iterator<Item = &Arc<ShardFollower>> {
        self.shards.values().filter_map(|shard| match shard {
            ServedShard::Local(follower) => Some(follower),
            ServedShard::Remote(_) => None,
        })
    }

    /// Whether all of its shards in this process may answer searches.
    pub(crate) fn is_serving(&self) -> bool {
        self.followers().all(|follower| follower.is_serving())
    }

    /// Whether the process is ready only when this index is. An index that comes later must not take a process out of
    /// service that serves others.
    pub(crate) fn counts_for_readiness(&self) -> bool {
        if self.is_new.load(Ordering::Relaxed) && self.is_serving() {
            self.is_new.store(false, Ordering::Relaxed);
        }
        !self.is_new.load(Ordering::Relaxed)
    }

    /// Stops the shards of this process; searches that have begun on them finish.
    pub(crate) fn stop(&self) {
        // All are told before the first is waited for.
        self.followers().for_each(|follower| follower.begin_stop());
        self.followers().for_each(|follower| follower.stop());
    }
}
