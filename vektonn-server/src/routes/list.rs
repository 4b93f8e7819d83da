//! What there is on this server.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use vektonn_core::{DataSourceMeta, IndexMeta};
use vektonn_kafka::lifecycle::ShardFollower;

use crate::app::App;
use crate::dto::{DataSourceItem, IndexItem, ShardItem};
use crate::error::{ApiError, json_response};

/// Lists the indices and the state of their shards
#[utoipa::path(get, path = "/api/v1/indices", tag = "Lists",
    responses((status = 200, description = "All indices", body = [IndexItem])))]
pub(crate) async fn indices(State(app): State<Arc<App>>) -> Response {
    // Adds up the sizes of all points of all shards.
    let items = tokio::task::spawn_blocking(move || {
        app.catalog.indices.values().map(|meta| index_item(&app, meta)).collect::<Vec<_>>()
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
    let items: Vec<_> = app.catalog.data_sources.values().map(|meta| data_source_item(meta)).collect();
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

fn index_item(app: &App, meta: &IndexMeta) -> IndexItem {
    let followers = meta.shards().keys().filter_map(|shard_id| app.shards.get(meta.id(), shard_id));
    IndexItem {
        name: meta.id().name.clone(),
        version: meta.id().version.clone(),
        data_source_name: meta.data_source().id().name.clone(),
        data_source_version: meta.data_source().id().version.clone(),
        index_algorithm: meta.algorithm().to_string(),
        searches_exactly: true,
        id_attributes: meta.index_id_keys().to_vec(),
        split_attributes: meta.split_attributes().to_vec(),
        shards: followers.map(|follower| shard_item(&follower)).collect(),
    }
}

fn shard_item(follower: &ShardFollower) -> ShardItem {
    let stats = follower.shard().stats();
    ShardItem {
        id: follower.shard_id().to_owned(),
        state: follower.state().to_string(),
        data_points_count: stats.points as u64,
        splits_count: stats.splits.len() as u64,
        bytes: stats.bytes as u64,
        lag_records: follower.lag().values().sum(),
        bad_records: follower.bad_records().total(),
        instruction_set: stats.instruction_set.to_string(),
    }
}
