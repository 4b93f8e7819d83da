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
    let query = read_query(&app, &meta, &headers, body).await?;
    let shards = scatter::plan(&app, &meta, &query.split_filter, &min_position, deadline).await?;
    run(&app, meta, shards, query, deadline).await
}

/// Reads, checks and bounds a search.
pub(crate) async fn read_query(
    app: &App,
    meta: &IndexMeta,
    headers: &HeaderMap,
    body: Body,
) -> Result<SearchQuery, ApiError> {
    let body = request::body(headers, body, &app.limits).await?;
    let input = dto::parse_search(&body).map_err(|error| ApiError::json(&error))?;
    let query = validate_search(meta, input).map_err(ApiError::invalid)?;
    let (k_max, vectors_max) = (app.limits.k_max, app.limits.query_vectors_max);
    if query.k > k_max {
        return Err(ApiError::bad_request(format!("K must not be larger than {k_max}, got {}", query.k)));
    }
    if query.query_vectors.len() > vectors_max {
        let message =
            format!("At most {vectors_max} query vectors are allowed, got {}", query.query_vectors.len());
        return Err(ApiError::bad_request(message));
    }
    Ok(query)
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
    let found = app.search_pool.run(work).await?;
    drop(timer);
    answer(found)
}

/// The answer to a search, or why there is none.
pub(crate) fn answer(
    found: Result<Result<Vec<u8>, serde_json::Error>, SearchError>,
) -> Result<Response, ApiError> {
    match found {
        Ok(Ok(body)) => Ok(json_bytes(body)),
        Ok(Err(error)) => Err(ApiError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            format!("Cannot write the answer: {error}"),
        )),
        Err(SearchError::DeadlineExceeded) => {
            Err(ApiError::timeout("The search did not finish within Request-Timeout"))
        }
        Err(SearchError::Vector(error)) => Err(ApiError::bad_request(error.to_string())),
    }
}
