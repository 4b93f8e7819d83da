//! What there is on this server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use vektonn_core::DataSourceMeta;
use vektonn_kafka::lifecycle::ShardFollower;

use crate::app::App;
use crate::dto::{DataSourceItem, IndexItem, ShardDetails, ShardInfo, ShardItem};
use crate::error::{ApiError, json_response};
use crate::remote::RemoteShard;
use crate::served::{ServedIndex, ServedShard};

/// Shards of other processes get this long to tell what they hold.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(2);

/// Lists the indices and the state of their shards
#[utoipa::path(get, path = "/api/v1/indices", tag = "Lists",
    responses((status = 200, description = "All indices", body = [IndexItem])))]
pub(crate) async fn indices(State(app): State<Arc<App>>) -> Response {
    let served = app.served.load_full();
    let remote = join_all(served.indices.values().map(|index| remote_shards(index))).await;
    // Adds up the sizes of all points of the shards that are here.
    let items = tokio::task::spawn_blocking(move || {
        let items = served.indices.values().zip(remote).map(|(index, remote)| index_item(index, remote));
        items.collect::<Vec<_>>()
    });
    match items.await {
        Ok(items) => json_response(&items),
        Err(_) => {
            ApiError::internal("Listing the indices failed unexpectedly; the log says why").into_response()
        }
    }
}

/// Lists the data sources
#[utoipa::path(get, path = "/api/v1/data-sources", tag = "Lists",
    responses((status = 200, description = "All data sources", body = [DataSourceItem])))]
pub(crate) async fn data_sources(State(app): State<Arc<App>>) -> Response {
    let items: Vec<_> = app.served.load().data_sources.values().map(|meta| data_source_item(meta)).collect();
    json_response(&items)
}

fn data_source_item(meta: &DataSourceMeta) -> DataSourceItem {
    DataSourceItem {
        name: meta.id().name.clone(),
        version: meta.id().version.clone(),
        vectors_are_sparse: meta.vector_kind() == vektonn_core::VectorKind::Sparse,
        vector_dimension: meta.dimension(),
        attribute_value_types: meta
            .attribute_types()
            .iter()
            .map(|(key, ty)| (key.clone(), ty.to_string()))
            .collect(),
        permanent_attributes: meta.permanent_keys().to_vec(),
    }
}

/// Asks the shards that are in other processes.
async fn remote_shards(index: &ServedIndex) -> Vec<ShardItem> {
    let deadline = Instant::now() + REMOTE_TIMEOUT;
    let items = index.shards.iter().map(async |(id, shard)| match shard {
        ServedShard::Local(_) => None,
        ServedShard::Remote(remote) => Some(remote_item(id, remote, deadline).await),
    });
    join_all(items).await.into_iter().flatten().collect()
}

async fn remote_item(id: &str, shard: &RemoteShard, deadline: Instant) -> ShardItem {
    let mut item = ShardItem {
        id: id.to_owned(),
        endpoints: shard.endpoints().cloned().collect(),
        ..ShardItem::default()
    };
    let info = shard.info(deadline).await;
    match info.map(|body| serde_json::from_slice::<ShardInfo>(&body)) {
        Ok(Ok(info)) => {
            item.state = "answers".to_owned();
            item.data_points_count = Some(info.data_points_count as u64);
        }
        Ok(Err(_)) => item.state = "failed: its answer cannot be read".to_owned(),
        Err(error) => item.state = format!("failed: {error}"),
    }
    item
}

fn index_item(index: &ServedIndex, remote: Vec<ShardItem>) -> IndexItem {
    let meta = &index.meta;
    IndexItem {
        name: meta.id().name.clone(),
        version: meta.id().version.clone(),
        data_source_name: meta.data_source().id().name.clone(),
        data_source_version: meta.data_source().id().version.clone(),
        index_algorithm: meta.algorithm().to_string(),
        searches_exactly: !meta.algorithm().is_approximate(),
        id_attributes: meta.index_id_keys().to_vec(),
        split_attributes: meta.split_attributes().to_vec(),
        shards: index.followers().map(|follower| shard_item(follower)).chain(remote).collect(),
    }
}

fn shard_item(follower: &ShardFollower) -> ShardItem {
    let (stats, lag) = (follower.shard().stats(), follower.lag());
    ShardItem {
        id: follower.shard_id().to_owned(),
        state: follower.state().to_string(),
        data_points_count: Some(stats.points as u64),
        details: Some(ShardDetails {
            splits_count: stats.splits.len() as u64,
            bytes: stats.bytes as u64,
            lag_records: lag.values().map(|lag| lag.records).sum(),
            lag_seconds: lag.values().map(|lag| lag.time().as_secs_f64()).fold(0.0, f64::max),
            bad_records: follower.bad_records().total(),
            instruction_set: stats.instruction_set.to_string(),
        }),
        endpoints: Vec::new(),
    }
}
