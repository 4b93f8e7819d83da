//! Searching an index.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use vektonn_core::validation::validate_search;
use vektonn_core::{IndexMeta, SearchQuery};
use vektonn_index::SearchError;
use vektonn_index::shard::Shard;

use crate::app::App;
use crate::dto::{self, ErrorBody, SearchResult};
use crate::error::{ApiError, json_bytes};
use crate::limits::Limits;
use crate::{request, scatter, telemetry};

/// The names in a route's path.
pub(crate) type PathOf<T> = Result<Path<T>, PathRejection>;

/// Searches an index for the nearest data points of each query vector
#[utoipa::path(
    post, path = "/api/v1/search/{indexName}/{indexVersion}", tag = "Search",
    params(("indexName" = String, Path), ("indexVersion" = String, Path),
        ("Request-Timeout" = Option<f64>, Header, description = "Time budget in seconds; 60 by default"),
        ("X-Vektonn-Min-Position" = Option<String>, Header,
            description = "The X-Vektonn-Position of an upload that the answer must include")),
    request_body = dto::SearchQuery,
    responses(
        (status = 200, description = "One result for each query vector, in their order", body = [SearchResult]),
        (status = 400, description = "The query is not valid", body = ErrorBody),
        (status = 404, description = "There is no such index", body = ErrorBody),
        (status = 503, description = "A shard does not serve", body = ErrorBody),
        (status = 504, description = "The time budget was too small", body = ErrorBody)),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path((name, version)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let meta = Arc::clone(app.index(name, version)?);
    let deadline = request::deadline(&headers)?;
    let min_position = request::min_position(&headers)?;
    let query = read_query(&app, &meta, &headers, body, deadline).await?;
    let shards = scatter::plan(&app, &meta, &query.split_filter, &min_position, deadline).await?;
    run(&app, meta, shards, query, deadline).await
}

/// Reads, checks and bounds a search.
pub(crate) async fn read_query(
    app: &App,
    meta: &Arc<IndexMeta>,
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
) -> Result<SearchQuery, ApiError> {
    let body = app.bodies.receive(headers, body, deadline).await?;
    let of_meta = Arc::clone(meta);
    let parse = move |body: &[u8]| {
        let input = dto::parse_search(body).map_err(|error| ApiError::json(&error))?;
        validate_search(&of_meta, input).map_err(ApiError::invalid)
    };
    let query = body.parse(parse).await?;
    check_size(app, meta, &query)?;
    Ok(query)
}

/// The published server has no such limits; these keep one search from taking all of the memory.
fn check_size(app: &App, meta: &IndexMeta, query: &SearchQuery) -> Result<(), ApiError> {
    let Limits { k_max, query_vectors_max, results_max, .. } = app.limits;
    let (k, vectors) = (query.k, query.query_vectors.len());
    if k > k_max {
        return Err(ApiError::bad_request(format!("K must not be larger than {k_max}, got {k}")));
    }
    if vectors > query_vectors_max {
        let message = format!("At most {query_vectors_max} query vectors are allowed, got {vectors}");
        return Err(ApiError::bad_request(message));
    }
    let shards = meta.shards().keys().filter_map(|id| app.shards.get(meta.id(), id));
    let points: usize = shards.map(|follower| follower.shard().len()).sum();
    if k.min(points).saturating_mul(vectors) > results_max {
        let message = format!(
            "K times the number of query vectors must not be larger than {results_max}, got {k} times {vectors}"
        );
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// Searches on the CPU pool, where the answer is written too.
pub(crate) async fn run(
    app: &App,
    meta: Arc<IndexMeta>,
    shards: Vec<Arc<Shard>>,
    query: SearchQuery,
    deadline: Instant,
) -> Result<Response, ApiError> {
    let timer = telemetry::search_timer(meta.id());
    let work = move || {
        let found = scatter::search(&meta, &shards, &query, deadline)?;
        Ok(serde_json::to_vec(&dto::search_results(query.query_vectors, found)))
    };
    let found = app.search_pool.run(deadline, work).await?;
    drop(timer);
    answer(found)
}

/// The answer to a search, or why there is none.
pub(crate) fn answer(
    found: Result<Result<Vec<u8>, serde_json::Error>, SearchError>,
) -> Result<Response, ApiError> {
    match found {
        Ok(Ok(body)) => Ok(json_bytes(body)),
        Ok(Err(error)) => Err(ApiError::internal(format!("Cannot write the answer: {error}"))),
        Err(SearchError::DeadlineExceeded) => {
            Err(ApiError::timeout("The search did not finish within Request-Timeout"))
        }
        Err(SearchError::Vector(error)) => Err(ApiError::bad_request(error.to_string())),
    }
}
