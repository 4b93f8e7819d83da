//! One shard of an index, as the published shard process answers.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use vektonn_core::{IndexMeta, Position, SearchQuery, Vector, VectorKind};
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::ShardFollower;

use super::search::{PathOf, answer, read_query, run};
use crate::app::App;
use crate::dto::{self, ErrorBody, SearchResult, ShardInfo};
use crate::error::{ApiError, json_response};
use crate::{request, scatter};

fn follower(
    app: &App,
    path: PathOf<(String, String, String)>,
) -> Result<(Arc<IndexMeta>, Arc<ShardFollower>), ApiError> {
    let Path((name, version, shard)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let meta = Arc::clone(app.index(name, version)?);
    let unknown = || {
        ApiError::new(StatusCode::NOT_FOUND, format!("Shard '{shard}' of index {} does not exist", meta.id()))
    };
    let follower = app.shards.get(meta.id(), &shard).ok_or_else(unknown)?;
    Ok((meta, follower))
}

/// Searches one shard
#[utoipa::path(
    post, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/search", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path)),
    request_body = dto::SearchQuery,
    responses((status = 200, description = "One result for each query vector", body = [SearchResult]),
        (status = 400, description = "The query is not valid", body = ErrorBody),
        (status = 404, description = "There is no such shard", body = ErrorBody)),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (meta, follower) = follower(&app, path)?;
    let deadline = request::deadline(&headers)?;
    let min_position = request::min_position(&headers)?;
    let query = read_query(&app, &meta, &headers, body, deadline).await?;
    let shard = scatter::serving(&follower, &min_position, deadline).await?;
    run(&app, meta, vec![shard], query, deadline).await
}

/// Tells what a shard holds
#[utoipa::path(
    get, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/info", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path)),
    responses((status = 200, description = "What the shard holds", body = ShardInfo),
        (status = 404, description = "There is no such shard", body = ErrorBody)),
)]
pub(crate) async fn info(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (meta, follower) = follower(&app, path)?;
    Ok(json_response(&ShardInfo {
        index_algorithm: meta.algorithm().to_string(),
        vector_type: match meta.data_source().vector_kind() {
            VectorKind::Dense => "DenseVectorDto",
            VectorKind::Sparse => "SparseVectorDto",
        },
        vector_dimension: meta.data_source().dimension(),
        data_points_count: follower.shard().len(),
    }))
}

/// Searches a shard for the data points nearest to the zero vector
#[utoipa::path(
    get, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/probe", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path),
        ("k" = Option<i32>, Query, description = "How many; 1 by default")),
    responses((status = 200, description = "One result", body = SearchResult),
        (status = 400, description = "k is not positive", body = ErrorBody),
        (status = 404, description = "There is no such shard", body = ErrorBody)),
)]
pub(crate) async fn probe(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String, String)>,
    params: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (meta, follower) = follower(&app, path)?;
    let Query(params) = params.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let k = match params.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("k")) {
        None => 1,
        Some((_, text)) => text
            .parse::<i64>()
            .map_err(|_| ApiError::bad_request(format!("k must be an integer, got '{text}'")))?,
    };
    let k = usize::try_from(k).ok().filter(|&k| k > 0);
    let k = k.ok_or_else(|| ApiError::bad_request("searchQuery.K must be greater than 0"))?;
    let k_max = app.limits.k_max;
    if k > k_max {
        return Err(ApiError::bad_request(format!("k must not be larger than {k_max}, got {k}")));
    }
    let deadline = request::deadline(&headers)?;
    let shard = scatter::serving(&follower, &Position::new(), deadline).await?;
    answer(app.search_pool.run(deadline, move || search_zero(&meta, &shard, k, deadline)).await?)
}

fn search_zero(
    meta: &IndexMeta,
    shard: &Shard,
    k: usize,
    deadline: Instant,
) -> Result<Result<Vec<u8>, serde_json::Error>, vektonn_index::SearchError> {
    let zero = match meta.data_source().vector_kind() {
        VectorKind::Dense => Vector::dense(vec![0.0; meta.data_source().dimension()]),
        VectorKind::Sparse => Vector::sparse([], []),
    };
    let query =
        SearchQuery { split_filter: Vec::new(), query_vectors: vec![zero], k, retrieve_vectors: true };
    let found = shard.search(&query, Some(deadline))?;
    let result = dto::search_results(query.query_vectors, found);
    Ok(serde_json::to_vec(&result.first()))
}
