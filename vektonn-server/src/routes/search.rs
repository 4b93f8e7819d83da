//! Searching an index.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use vektonn_core::validation::validate_search;
use vektonn_core::{SearchQuery, VectorKind};

use crate::app::App;
use crate::dto::{self, ErrorBody, SearchResult};
use crate::error::ApiError;
use crate::limits::Limits;
use crate::request::Terms;
use crate::scatter;
use crate::served::ServedIndex;

/// The names in a route's path.
pub(crate) type PathOf<T> = Result<Path<T>, PathRejection>;

/// Searches an index for the nearest data points of each query vector
#[utoipa::path(
    post, path = "/api/v1/search/{indexName}/{indexVersion}", tag = "Search",
    params(("indexName" = String, Path), ("indexVersion" = String, Path),
        ("Request-Timeout" = Option<f64>, Header, description = "Time budget in seconds; 60 by default"),
        ("X-Vektonn-Min-Position" = Option<String>, Header,
            description = "The X-Vektonn-Position of an upload that the answer must include"),
        ("partial" = Option<String>, Query,
            description = "`allow` leaves out shards that do not serve; X-Vektonn-Coverage says how many there are")),
    request_body = dto::SearchQuery,
    responses(
        (status = 200, description = "One result for each query vector, in their order", body = [SearchResult],
            headers(("X-Vektonn-Coverage" = String, description = "How many of the shards gave it, with `partial`"))),
        (status = 400, description = "The query is not valid", body = ErrorBody),
        (status = 404, description = "There is no such index", body = ErrorBody),
        (status = 408, description = "The body paused for too long", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON, or is encoded", body = ErrorBody),
        (status = 429, description = "Too much is running already", body = ErrorBody),
        (status = 503, description = "A shard does not serve", body = ErrorBody),
        (status = 504, description = "The time budget was too small", body = ErrorBody)),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    path: PathOf<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path((name, version)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let index = Arc::clone(app.served.load().index(name, version)?);
    let terms = Terms::of(&headers, &uri)?;
    let query = read_query(&app, &index, &headers, body, &terms).await?;
    scatter::search(&app, &index, query, &terms).await
}

/// Reads, checks and bounds a search.
pub(crate) async fn read_query(
    app: &App,
    index: &ServedIndex,
    headers: &HeaderMap,
    body: Body,
    terms: &Terms,
) -> Result<SearchQuery, ApiError> {
    app.bodies.check_answers()?;
    let body = app.bodies.receive(headers, body, terms.deadline).await?;
    let meta = Arc::clone(&index.meta);
    let parse = move |body: &[u8]| {
        let input = dto::parse_search(body).map_err(|error| ApiError::json(&error))?;
        validate_search(&meta, input).map_err(ApiError::invalid)
    };
    let query = body.parse(parse).await?;
    check_size(app, index, &query)?;
    Ok(query)
}

/// The published server has no such limits; these keep one search from taking all of the memory.
pub(crate) fn check_size(app: &App, index: &ServedIndex, query: &SearchQuery) -> Result<(), ApiError> {
    let Limits { query_vectors_max, results_max, retrieved_coordinates_max, .. } = app.limits;
    let (k, vectors) = (query.k, query.query_vectors.len());
    if vectors > query_vectors_max {
        let message = format!("At most {query_vectors_max} query vectors are allowed, got {vectors}");
        return Err(ApiError::bad_request(message));
    }
    // Shards of other processes check for themselves.
    let points: usize = index.followers().map(|follower| follower.shard().len()).sum();
    let results = k.min(points).saturating_mul(vectors);
    if results > results_max {
        let message = format!(
            "K times the number of query vectors must not be larger than {results_max}, got {k} times {vectors}"
        );
        return Err(ApiError::bad_request(message));
    }
    let source = index.meta.data_source();
    let coordinates = results.saturating_mul(source.dimension());
    if query.retrieve_vectors
        && source.vector_kind() == VectorKind::Dense
        && coordinates > retrieved_coordinates_max
    {
        let message = format!(
            "At most {retrieved_coordinates_max} coordinates can be retrieved, got {coordinates}: {results} vectors of {}; \
             set retrieveVectors to false, or ask for less",
            source.dimension()
        );
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}
