//! Logs and metrics.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::EnvFilter;
use vektonn_core::IndexId;
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState};

use crate::app::App;
use crate::remote::RemoteShard;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes logs of at least a level to standard error, unless `RUST_LOG` says which.
pub(crate) fn init_logs(format: LogFormat, level: &str) {
    let ours = || EnvFilter::new(format!("{level},fjall=warn,lsm_tree=warn"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| ours());
    let in_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(in_colour).with_writer(io::stderr);
    // A second server in one process (tests) keeps the first one's logs.
    let _ = match format {
        LogFormat::Text => logs.with_target(false).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
}

const HTTP_REQUESTS: &str = "vektonn_http_requests_total";
const HTTP_SECONDS: &str = "vektonn_http_request_seconds";
const SEARCH_SECONDS: &str = "vektonn_search_seconds";
const POINTS: &str = "vektonn_shard_points";
const BYTES: &str = "vektonn_shard_bytes";
const MAPPED_BYTES: &str = "vektonn_shard_mapped_bytes";
const SPLIT_POINTS: &str = "vektonn_split_points";
const SPLIT_BYTES: &str = "vektonn_split_bytes";
const READY: &str = "vektonn_shard_ready";
const FOLLOWS: &str = "vektonn_shard_follows";
const ANSWERS: &str = "vektonn_remote_shard_answers";
const LAG: &str = "vektonn_shard_lag_records";
const LAG_SECONDS: &str = "vektonn_shard_lag_seconds";
const BUILDING_POINTS: &str = "vektonn_shard_building_points";
const BUILDING_BYTES: &str = "vektonn_shard_building_bytes";
const UPLOADS_REFUSED: &str = "vektonn_uploads_refused";

/// A shard with more splits has no metrics of each: they are for people, and a database keeps each one for good.
const SPLITS_MEASURED_MAX: usize = 1_000;

/// Gauges of what is not there any more are left out after this time. Others are set each time somebody asks.
const GONE_AFTER: Duration = Duration::from_secs(10);

const SECONDS_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The recorder of this process's metrics.
pub(crate) fn metrics_handle() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .context("cannot set up metrics")?
        .idle_timeout(MetricKindMask::GAUGE, Some(GONE_AFTER));
    let handle = HANDLE.get_or_init(|| match builder.install_recorder() {
        Ok(handle) => handle,
        // Another thread was faster; its recorder serves the process.
        Err(_) => PrometheusBuilder::new().build_recorder().handle(),
    });
    describe_counter!(HTTP_REQUESTS, "HTTP requests answered");
    describe_histogram!(HTTP_SECONDS, "Time to answer an HTTP request");
    describe_histogram!(
        SEARCH_SECONDS,
        "Time of an answered search over all its shards in this process, or of its one shard"
    );
    describe_histogram!(
        vektonn_kafka::lifecycle::APPLY_SECONDS,
        "Time to apply one batch of records to a shard"
    );
    describe_gauge!(POINTS, "Live points of a shard");
    describe_gauge!(BYTES, "Bytes of memory a shard uses");
    describe_gauge!(MAPPED_BYTES, "Bytes of a shard in files that are mapped into memory");
    describe_gauge!(SPLIT_POINTS, "Live points of a split");
    describe_gauge!(SPLIT_BYTES, "Bytes of memory a split uses");
    describe_gauge!(BUILDING_POINTS, "Live points of a shard that is built to replace the one that serves");
    describe_gauge!(BUILDING_BYTES, "Bytes of memory it uses");
    describe_gauge!(READY, "Whether a shard serves");
    describe_gauge!(FOLLOWS, "Whether a shard follows its topics");
    describe_gauge!(ANSWERS, "Whether some process that holds a shard answers");
    describe_gauge!(LAG, "Records of a topic that are not applied yet, at most");
    describe_gauge!(LAG_SECONDS, "For how long there have been records of a topic that are not applied yet");
    describe_counter!(
        vektonn_kafka::lifecycle::BAD_RECORDS,
        "Records skipped because they cannot be applied, once more each time they are read"
    );
    describe_gauge!(UPLOADS_REFUSED, "Whether the log takes no uploads at present");
    Ok(handle.clone())
}

/// Counts and measures, in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "Health",
    responses((status = 200, description = "All metrics", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    // Walks over all points of all shards.
    let text = tokio::task::spawn_blocking(move || {
        let served = app.served.load();
        served.followers().for_each(|shard| measure(shard));
        let changed = served.warming.values().flat_map(|index| index.followers());
        changed.for_each(|shard| measure_building(shard, &shard.shard()));
        gauge!(UPLOADS_REFUSED).set(number(app.source.write_failure().is_some()));
        served.remote_shards().for_each(|shard| measure_remote(shard));
        app.metrics.run_upkeep();
        app.metrics.render()
    });
    let text = text.await.unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn measure(follower: &ShardFollower) {
    let labels = labels_of(follower);
    let stats = follower.shard().stats();
    gauge!(POINTS, &labels).set(stats.points as f64);
    gauge!(BYTES, &labels).set(stats.bytes as f64);
    gauge!(MAPPED_BYTES, &labels).set(stats.mapped_bytes as f64);
    gauge!(READY, &labels).set(number(follower.is_serving()));
    gauge!(FOLLOWS, &labels)
        .set(number(matches!(follower.state(), ShardState::CatchingUp | ShardState::Ready)));
    let [index, version, shard] = labels.clone();
    if let Some(building) = follower.building() {
        measure_building(follower, &building);
    }
    for split in stats.splits.iter().filter(|_| stats.splits.len() <= SPLITS_MEASURED_MAX) {
        let name: Vec<_> = split.attributes.iter().map(|it| format!("{}={}", it.key, it.value)).collect();
        let labels = [index.clone(), version.clone(), shard.clone(), ("split", name.join(","))];
        gauge!(SPLIT_POINTS, &labels).set(split.points as f64);
        gauge!(SPLIT_BYTES, &labels).set(split.bytes as f64);
    }
    for (topic, lag) in follower.lag() {
        let labels = [index.clone(), version.clone(), shard.clone(), ("topic", topic)];
        gauge!(LAG, &labels).set(lag.records as f64);
        gauge!(LAG_SECONDS, &labels).set(lag.time().as_secs_f64());
    }
}

fn measure_building(follower: &ShardFollower, building: &Shard) {
    let (labels, stats) = (labels_of(follower), building.stats());
    gauge!(BUILDING_POINTS, &labels).set(stats.points as f64);
    gauge!(BUILDING_BYTES, &labels).set(stats.bytes as f64);
}

fn labels_of(follower: &ShardFollower) -> [(&'static str, String); 3] {
    [
        ("index", follower.index_id().name.clone()),
        ("version", follower.index_id().version.clone()),
        ("shard", follower.shard_id().to_owned()),
    ]
}

fn measure_remote(shard: &RemoteShard) {
    let (index, shard_id) = shard.id();
    let labels =
        [("index", index.name.clone()), ("version", index.version.clone()), ("shard", shard_id.to_owned())];
    gauge!(ANSWERS, &labels).set(number(shard.is_healthy()));
}

fn number(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Counts and times the requests of each route.
pub(crate) async fn count_request(path: MatchedPath, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let labels = [("method", name_of(request.method()).to_owned()), ("path", path.as_str().to_owned())];
    let response = next.run(request).await;
    histogram!(HTTP_SECONDS, &labels).record(started.elapsed());
    let [method, path] = labels;
    let labels = [method, path, ("status", response.status().as_u16().to_string())];
    counter!(HTTP_REQUESTS, &labels).increment(1);
    response
}

/// A client may make up methods, and each label is kept for good.
fn name_of(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

/// Notes how long an answered search has taken.
pub(crate) fn note_search(index: &IndexId, started: Instant) {
    let labels = [("index", index.name.clone()), ("version", index.version.clone())];
    histogram!(SEARCH_SECONDS, &labels).record(started.elapsed());
}
