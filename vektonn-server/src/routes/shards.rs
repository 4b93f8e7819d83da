//! One shard of an index, as the published shard process answers.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use vektonn_core::{SearchQuery, Vector, VectorKind};
use vektonn_kafka::lifecycle::ShardFollower;

use super::search::{check_size, read_query};
use crate::app::App;
use crate::dto::{self, ErrorBody, SearchResult, ShardDigest, ShardInfo};
use crate::error::{ApiError, json_response};
use crate::request::{self, Terms};
use crate::scatter;
use crate::served::ServedIndex;
use crate::telemetry;

/// The shard that a request is for: the one in its path, or the only one of this process.
pub(crate) struct TheShard {
    index: Arc<ServedIndex>,
    follower: Arc<ShardFollower>,
}

impl FromRequestParts<Arc<App>> for TheShard {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|error| ApiError::bad_request(error.body_text()))?;
        let param = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        let served = app.served.load();
        let index = match (param("name"), param("version")) {
            (Some(name), Some(version)) => served.index(name, version)?,
            _ => served.indices.values().next().ok_or_else(|| not_found("This process holds no shard"))?,
        };
        let follower = match param("shard") {
            None => index.followers().next(),
            Some(shard_id) => index.followers().find(|follower| follower.shard_id() == shard_id),
        };
        let unknown = || {
            let shard = param("shard").unwrap_or_default();
            not_found(format!("Shard '{shard}' of index {} does not exist", index.meta.id()))
        };
        Ok(Self { follower: Arc::clone(follower.ok_or_else(unknown)?), index: Arc::clone(index) })
    }
}

fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, message)
}

/// Searches one shard
#[utoipa::path(
    post, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/search", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path),
        ("Request-Timeout" = Option<f64>, Header, description = "Time budget in seconds; 60 by default"),
        ("X-Vektonn-Min-Position" = Option<String>, Header,
            description = "The X-Vektonn-Position of an upload that the answer must include")),
    request_body = dto::SearchQuery,
    responses((status = 200, description = "One result for each query vector", body = [SearchResult]),
        (status = 400, description = "The query is not valid", body = ErrorBody),
        (status = 404, description = "There is no such shard", body = ErrorBody),
        (status = 408, description = "The body paused for too long", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON, or is encoded", body = ErrorBody),
        (status = 429, description = "Too much is running already", body = ErrorBody),
        (status = 503, description = "The shard does not serve", body = ErrorBody),
        (status = 504, description = "The time budget was too small", body = ErrorBody)),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    TheShard { index, follower }: TheShard,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let terms = Terms::of(&headers, &uri)?;
    let query = read_query(&app, &index, &headers, body, &terms).await?;
    let started = Instant::now();
    let response = scatter::search_one(&app, &follower, query, &terms, scatter::write_all).await?;
    telemetry::note_search(follower.index_id(), started);
    Ok(response)
}

/// Tells what a shard holds
#[utoipa::path(
    get, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/info", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path)),
    responses((status = 200, description = "What the shard holds", body = ShardInfo),
        (status = 404, description = "There is no such shard", body = ErrorBody)),
)]
pub(crate) async fn info(TheShard { index, follower }: TheShard) -> Result<Response, ApiError> {
    let meta = &index.meta;
    Ok(json_response(&ShardInfo {
        index_algorithm: meta.algorithm().to_string(),
        vector_type: match meta.data_source().vector_kind() {
            VectorKind::Dense => "DenseVectorDto".to_owned(),
            VectorKind::Sparse => "SparseVectorDto".to_owned(),
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
    TheShard { index, follower }: TheShard,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let k = match request::parameter(&uri, "k")? {
        None => 1,
        Some(text) => text
            .parse::<i64>()
            .map_err(|_| ApiError::bad_request(format!("k must be an integer, got '{text}'")))?,
    };
    let k = usize::try_from(k).ok().filter(|&k| k > 0);
    let k = k.ok_or_else(|| ApiError::bad_request("searchQuery.K must be greater than 0"))?;
    let source = index.meta.data_source();
    let zero = match source.vector_kind() {
        VectorKind::Dense => Vector::dense(vec![0.0; source.dimension()]),
        VectorKind::Sparse => Vector::sparse([], []),
    };
    let query = SearchQuery {
        split_filter: Vec::new(),
        query_vectors: vec![zero],
        k,
        ef_search: None,
        approximation: None,
        retrieve_vectors: true,
    };
    check_size(&app, &index, &query)?;
    let first = |results: &[SearchResult]| serde_json::to_vec(&results.first());
    scatter::search_one(&app, &follower, query, &Terms::of(&headers, &uri)?, first).await
}

/// Tells a digest of what a shard holds, to compare it with another one
#[utoipa::path(
    get, path = "/api/v1/indices/{indexName}/{indexVersion}/shards/{shardId}/digest", tag = "Shards",
    params(("indexName" = String, Path), ("indexVersion" = String, Path), ("shardId" = String, Path),
        ("X-Vektonn-Min-Position" = Option<String>, Header, description = "What the shard must have applied at least")),
    responses((status = 200, description = "The digest, and of which position it is", body = ShardDigest),
        (status = 404, description = "There is no such shard", body = ErrorBody),
        (status = 504, description = "The shard changes without a pause", body = ErrorBody)),
)]
pub(crate) async fn digest(
    TheShard { follower, .. }: TheShard,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let terms = Terms::of(&headers, &uri)?;
    scatter::serving(&follower, &terms).await?;
    let digest = tokio::task::spawn_blocking(move || follower.digest(terms.deadline));
    let digest = digest.await.map_err(|_| ApiError::internal("The digest failed; the log says why"))?;
    let (position, digest) = digest.ok_or_else(|| ApiError::timeout("The shard changes without a pause"))?;
    Ok(json_response(&ShardDigest {
        position: position.to_string(),
        data_points_count: digest.points,
        digest: digest.to_string(),
    }))
}
