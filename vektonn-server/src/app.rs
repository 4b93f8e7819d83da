//! What the routes share, and the routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use vektonn_core::IndexId;
use vektonn_kafka::DataSource;

use crate::body::Bodies;
use crate::error::{ApiError, json_bytes};
use crate::limits::Limits;
use crate::remote;
use crate::routes::{health, list, open_api, search, shards, upload};
use crate::search_pool::SearchPool;
use crate::served::Served;
use crate::telemetry;

/// Between two attempts to reach the data source.
const REACH_INTERVAL: Duration = Duration::from_secs(1);

/// A server's parts.
pub(crate) struct App {
    pub(crate) served: Arc<ArcSwap<Served>>,
    pub(crate) source: Arc<dyn DataSource>,
    pub(crate) search_pool: SearchPool,
    pub(crate) bodies: Bodies,
    pub(crate) limits: Limits,
    pub(crate) metrics: PrometheusHandle,
    /// One permit for each request that may run.
    pub(crate) requests: Semaphore,
    log_is_reached: AtomicBool,
}

impl App {
    pub(crate) fn new(
        served: Arc<ArcSwap<Served>>,
        source: Arc<dyn DataSource>,
        limits: Limits,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            served,
            source,
            search_pool: SearchPool::new(limits.searches_max)?,
            bodies: Bodies::new(&limits),
            requests: Semaphore::new(limits.requests_max),
            limits,
            metrics,
            log_is_reached: AtomicBool::new(false),
        })
    }

    /// Whether the data source has answered once.
    pub(crate) fn is_log_reached(&self) -> bool {
        self.log_is_reached.load(Ordering::Relaxed)
    }

    /// Finds out again and again which shards of other processes answer.
    pub(crate) async fn check_remote_shards(&self) {
        loop {
            let served = self.served.load_full();
            join_all(served.remote_shards().map(|shard| shard.check())).await;
            tokio::time::sleep(remote::CHECK_INTERVAL).await;
        }
    }

    /// Asks the data source until it answers for the first time.
    pub(crate) async fn reach_log(&self) {
        let mut last = String::new();
        while let Err(error) = self.source.high_watermarks(&[]).await {
            let error = error.to_string();
            if error != last {
                tracing::warn!("cannot reach the log, trying on: {error}");
                last = error;
            }
            tokio::time::sleep(REACH_INTERVAL).await;
        }
        self.log_is_reached.store(true, Ordering::Relaxed);
    }
}

/// Which part of a system a process is.
pub(crate) enum Role {
    /// All of it.
    Whole,
    /// Uploads, and searches of shards in other processes.
    Api,
    /// One shard.
    IndexShard { index: IndexId, shard_id: String },
}

/// The routes of a role.
pub(crate) fn router(app: Arc<App>, role: &Role) -> anyhow::Result<Router> {
    const SHARD: &str = "/api/v1/indices/{name}/{version}/shards/{shard}";
    let routes = match role {
        Role::Whole => whole_index_routes().merge(shard_routes(SHARD)),
        Role::Api => whole_index_routes(),
        // Bare as in the published process, and as in a process that holds several.
        Role::IndexShard { .. } => shard_routes("/api/v1").merge(shard_routes(SHARD)),
    };
    let routes = routes
        .route("/api/v1/indices", get(list::indices))
        .route("/api/v1/data-sources", get(list::data_sources))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), admit));
    let document = open_api::document(role)?;
    let router = Router::new()
        .merge(routes)
        .route("/_status/ping", get(health::ping))
        .route("/_status/version", get(health::version))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(telemetry::metrics))
        .route(open_api::DOCUMENT, get(async move || json_bytes(document.clone())))
        .fallback(open_api::user_interface)
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not answer {method}"))
        })
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::internal("The request failed unexpectedly; the log says why").into_response()
        }))
        // Around it, so that such a request counts, too.
        .route_layer(middleware::from_fn(telemetry::count_request))
        .with_state(app);
    Ok(router)
}

fn whole_index_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/search/{name}/{version}", get(search::search).post(search::search))
        .route("/api/v1/upload/{name}/{version}", post(upload::upload))
}

fn shard_routes(base: &str) -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{base}/search"), get(shards::search).post(shards::search))
        .route(&format!("{base}/info"), get(shards::info))
        .route(&format!("{base}/probe"), get(shards::probe))
        .route(&format!("{base}/digest"), get(shards::digest))
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
