//! What the routes share, and the routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta};
use vektonn_kafka::DataSource;
use vektonn_kafka::lifecycle::ShardManager;

use crate::body::Bodies;
use crate::catalog::Catalog;
use crate::error::ApiError;
use crate::limits::Limits;
use crate::routes::{health, list, open_api, search, shards, upload};
use crate::search_pool::SearchPool;
use crate::telemetry;

/// A server's parts.
pub(crate) struct App {
    pub(crate) catalog: Catalog,
    pub(crate) source: Arc<dyn DataSource>,
    pub(crate) shards: ShardManager,
    pub(crate) search_pool: SearchPool,
    pub(crate) bodies: Bodies,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    /// One permit for each request that may run.
    pub(crate) requests: Semaphore,
}

impl App {
    pub(crate) fn index(&self, name: String, version: String) -> Result<&Arc<IndexMeta>, ApiError> {
        let id = IndexId { name, version };
        self.catalog.indices.get(&id).ok_or_else(|| ApiError::unknown_index(&id))
    }

    pub(crate) fn data_source(
        &self,
        name: String,
        version: String,
    ) -> Result<&Arc<DataSourceMeta>, ApiError> {
        let id = DataSourceId { name, version };
        self.catalog.data_sources.get(&id).ok_or_else(|| ApiError::unknown_data_source(&id))
    }
}

/// All routes of a server that holds all shards itself.
pub(crate) fn router(app: Arc<App>) -> Router {
    const SHARD: &str = "/api/v1/indices/{name}/{version}/shards/{shard}";
    let api = Router::new()
        .route("/api/v1/search/{name}/{version}", get(search::search).post(search::search))
        .route("/api/v1/upload/{name}/{version}", post(upload::upload))
        .route("/api/v1/indices", get(list::indices))
        .route("/api/v1/data-sources", get(list::data_sources))
        .route(&format!("{SHARD}/search"), get(shards::search).post(shards::search))
        .route(&format!("{SHARD}/info"), get(shards::info))
        .route(&format!("{SHARD}/probe"), get(shards::probe))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), admit));
    Router::new()
        .merge(api)
        .route("/_status/ping", get(health::ping))
        .route("/_status/version", get(health::version))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(telemetry::metrics))
        .route("/swagger/v1/swagger.json", get(open_api::document))
        .route_layer(middleware::from_fn(telemetry::count_request))
        .fallback(open_api::user_interface)
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not answer {method}"))
        })
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::internal("The request failed unexpectedly; the log says why").into_response()
        }))
        .with_state(app)
}

/// Lets a request in, unless too many are running.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.requests.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            let running = app.limits.requests_max;
            let message = format!("{running} requests are running already, try again later");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).into_response()
        }
    }
}

/// The answer for a path that is none of ours.
pub(crate) fn not_found(uri: &Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("There is nothing at {}", uri.path()))
}
