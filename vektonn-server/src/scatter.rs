//! One search over all shards of an index that may hold something: plan, fan out, merge.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use vektonn_core::{
    Attribute, FoundDataPoint, IndexMeta, Metric, Position, SearchQuery, codec, merge_sorted,
};
use vektonn_index::SearchError;
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::{ShardFollower, WaitError};

use crate::app::App;
use crate::error::ApiError;

/// The shards that a search has to ask, each as it serves now.
///
/// Waits until each of them has applied the log up to `min_position`.
///
/// # Errors
/// 503 naming a shard that does not serve yet, 504 naming one that did not reach the position in time.
pub(crate) async fn plan(
    app: &App,
    meta: &IndexMeta,
    split_filter: &[Attribute],
    min_position: &Position,
    deadline: Instant,
) -> Result<Vec<Arc<Shard>>, ApiError> {
    let mut shards = Vec::new();
    for (shard_id, _) in meta.shards().iter().filter(|(_, shard)| shard.may_hold(split_filter)) {
        let unavailable = |why: String| {
            ApiError::unavailable(format!("Shard '{shard_id}' of index {} does not serve: {why}", meta.id()))
        };
        let follower =
            app.shards.get(meta.id(), shard_id).ok_or_else(|| unavailable("it was stopped".into()))?;
        shards.push(serving(&follower, min_position, deadline).await?);
    }
    Ok(shards)
}

/// A follower's shard, if it serves and has applied the log up to a position.
pub(crate) async fn serving(
    follower: &ShardFollower,
    min_position: &Position,
    deadline: Instant,
) -> Result<Arc<Shard>, ApiError> {
    let (shard_id, index_id) = (follower.shard_id(), follower.index_id());
    if !follower.is_serving() {
        let state = follower.state();
        return Err(ApiError::unavailable(format!(
            "Shard '{shard_id}' of index {index_id} does not serve: it is {state}"
        )));
    }
    if !min_position.is_empty() {
        follower.wait_for(min_position, deadline).await.map_err(|error| {
            let message = format!("Shard '{shard_id}' of index {index_id}: {error}");
            match error {
                WaitError::Deadline { .. } => ApiError::timeout(message),
                WaitError::Stopping => ApiError::unavailable(message),
            }
        })?;
    }
    Ok(follower.shard())
}

/// Searches shards and merges what they find: one list for each query vector. CPU work.
pub(crate) fn search(
    meta: &IndexMeta,
    shards: &[Arc<Shard>],
    query: &SearchQuery,
    deadline: Instant,
) -> Result<Vec<Vec<FoundDataPoint>>, SearchError> {
    match shards {
        [] => Ok(query.query_vectors.iter().map(|_| Vec::new()).collect()),
        [shard] => shard.search(query, Some(deadline)),
        shards => {
            let by_shard: Result<Vec<_>, _> =
                shards.par_iter().map(|shard| shard.search(query, Some(deadline))).collect();
            Ok(merge(meta, by_shard?, query.k))
        }
    }
}

/// Merges the lists of several shards for each query vector.
fn merge(meta: &IndexMeta, by_shard: Vec<Vec<Vec<FoundDataPoint>>>, k: usize) -> Vec<Vec<FoundDataPoint>> {
    let mut by_query: Vec<Vec<Vec<_>>> = Vec::new();
    for of_shard in by_shard {
        by_query.resize_with(of_shard.len(), Vec::new);
        for (lists, list) in by_query.iter_mut().zip(of_shard) {
            lists.push(list.into_iter().map(|found| (order_key(meta, &found), found)).collect());
        }
    }
    let merge_one = |lists| {
        let merged = merge_sorted(lists, k, |(a, _): &(OrderKey, FoundDataPoint), (b, _)| a.cmp(b));
        merged.into_iter().map(|(_, found)| found).collect()
    };
    by_query.into_iter().map(merge_one).collect()
}

/// The total order of an index's points: nearest first, then by index id, then by split.
struct OrderKey {
    distance: f32,
    id: Vec<u8>,
    split: Vec<u8>,
}

impl OrderKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then_with(|| (&self.id, &self.split).cmp(&(&other.id, &other.split)))
    }
}

fn order_key(meta: &IndexMeta, found: &FoundDataPoint) -> OrderKey {
    // Index id attributes come first, then split attributes.
    let (id, rest) = found.attributes.split_at(meta.index_id_keys().len());
    let encode =
        |attributes: &[Attribute]| codec::encode_key(attributes.iter().map(|attribute| &attribute.value));
    let descending = meta.algorithm().metric() == Metric::InnerProduct;
    OrderKey {
        distance: if descending { -found.distance } else { found.distance },
        id: encode(id),
        split: encode(&rest[..meta.split_keys().len()]),
    }
}
