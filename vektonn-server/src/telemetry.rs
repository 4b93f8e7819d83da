//! Logs and metrics.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use vektonn_core::IndexId;
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
const ANSWERS: &str = "vektonn_remote_shard_answers";
const LAG: &str = "vektonn_shard_lag_records";
const LAG_SECONDS: &str = "vektonn_shard_lag_seconds";
const BAD: &str = "vektonn_shard_bad_records_total";

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
        .context("cannot set up metrics")?;
    let handle = HANDLE.get_or_init(|| match builder.install_recorder() {
        Ok(handle) => handle,
        // Another thread was faster; its recorder serves the process.
        Err(_) => PrometheusBuilder::new().build_recorder().handle(),
    });
    describe_counter!(HTTP_REQUESTS, "HTTP requests answered");
    describe_histogram!(HTTP_SECONDS, "Time to answer an HTTP request");
    describe_histogram!(SEARCH_SECONDS, "Time of a search over all its shards");
    describe_histogram!(
        vektonn_kafka::lifecycle::APPLY_SECONDS,
        "Time to apply one batch of records to a shard"
    );
    describe_gauge!(POINTS, "Live points of a shard");
    describe_gauge!(BYTES, "Bytes of memory a shard uses");
    describe_gauge!(MAPPED_BYTES, "Bytes of a shard in files that are mapped into memory");
    describe_gauge!(SPLIT_POINTS, "Live points of a split");
    describe_gauge!(SPLIT_BYTES, "Bytes of memory a split uses");
    describe_gauge!(READY, "Whether a shard is ready");
    describe_gauge!(ANSWERS, "Whether some process that holds a shard answers");
    describe_gauge!(LAG, "Records of a topic that are not applied yet, at most");
    describe_gauge!(LAG_SECONDS, "For how long there have been records of a topic that are not applied yet");
    describe_counter!(BAD, "Records skipped because they cannot be applied");
    Ok(handle.clone())
}

/// `GET /metrics`, in Prometheus' text format.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    // Walks over all points of all shards.
    let text = tokio::task::spawn_blocking(move || {
        let served = app.served.load();
        served.followers().for_each(|shard| measure(shard));
        served.remote_shards().for_each(|shard| measure_remote(shard));
        app.metrics.run_upkeep();
        app.metrics.render()
    });
    let text = text.await.unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn measure(follower: &ShardFollower) {
    let labels = [
        ("index", follower.index_id().name.clone()),
        ("version", follower.index_id().version.clone()),
        ("shard", follower.shard_id().to_owned()),
    ];
    let stats = follower.shard().stats();
    gauge!(POINTS, &labels).set(stats.points as f64);
    gauge!(BYTES, &labels).set(stats.bytes as f64);
    gauge!(MAPPED_BYTES, &labels).set(stats.mapped_bytes as f64);
    gauge!(READY, &labels).set(if follower.state() == ShardState::Ready { 1.0 } else { 0.0 });
    let [index, version, shard] = labels.clone();
    for split in stats.splits {
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
    for (reason, count) in follower.bad_records().counts {
        let labels = [index.clone(), version.clone(), shard.clone(), ("reason", reason.to_owned())];
        counter!(BAD, &labels).absolute(count);
    }
}

fn measure_remote(shard: &RemoteShard) {
    let (index, shard_id) = shard.id();
    let labels =
        [("index", index.name.clone()), ("version", index.version.clone()), ("shard", shard_id.to_owned())];
    gauge!(ANSWERS, &labels).set(if shard.is_healthy() { 1.0 } else { 0.0 });
}

/// Counts and times the requests of each route.
pub(crate) async fn count_request(path: MatchedPath, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let labels = [("method", request.method().to_string()), ("path", path.as_str().to_owned())];
    let response = next.run(request).await;
    histogram!(HTTP_SECONDS, &labels).record(started.elapsed());
    let [method, path] = labels;
    let labels = [method, path, ("status", response.status().as_u16().to_string())];
    counter!(HTTP_REQUESTS, &labels).increment(1);
    response
}

/// Times a search until dropped.
pub(crate) fn search_timer(index: &IndexId) -> impl Drop + use<> {
    struct Timer {
        started: Instant,
        labels: [(&'static str, String); 2],
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            histogram!(SEARCH_SECONDS, &self.labels).record(self.started.elapsed());
        }
    }

    Timer {
        started: Instant::now(),
        labels: [("index", index.name.clone()), ("version", index.version.clone())],
    }
}
