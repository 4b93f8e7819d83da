//! Is the server alive, and does it serve?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState};

use crate::app::App;
use crate::error::{ApiError, json_response};

/// The commit that the program was built from, if its build knew it.
const COMMIT: &str = match option_env!("VEKTONN_COMMIT_HASH") {
    Some(commit) => commit,
    None => "unknown",
};

/// A shard that lags by no more than this is ready.
const READY_LAG_RECORDS_MAX: u64 = 10_000;

/// The published status: `Warn` when a shard cannot follow or does not answer, or uploads are refused; `Init` while
/// shards catch up; else `Ok`.
pub(crate) async fn ping(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Ping {
        status: &'static str,
    }

    let served = app.served.load();
    let cannot_follow = served.followers().any(|shard| matches!(shard.state(), ShardState::Failed(_)));
    let does_not_answer = served.remote_shards().any(|shard| !shard.is_healthy());
    let status = if cannot_follow || does_not_answer || app.source.write_failure().is_some() {
        "Warn"
    } else if !app.is_log_reached() || served.followers().any(|shard| !shard.is_serving()) {
        "Init"
    } else {
        "Ok"
    };
    json_response(&Ping { status })
}

/// The published version.
pub(crate) async fn version() -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        commit_hash: &'static str,
    }

    json_response(&Version { commit_hash: COMMIT })
}

/// The process answers.
pub(crate) async fn healthz() -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }

    json_response(&Health { status: "ok" })
}

/// Whether all shards serve and are up to date, and how each of them is.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Readiness {
        /// Why uploads are refused, if they are; searches go on.
        #[serde(skip_serializing_if = "Option::is_none")]
        uploads_refused: Option<String>,
        /// What is wrong with the configuration files as they are now; what they said before still counts.
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        configuration_problems: Vec<String>,
        shards: Vec<ShardReadiness>,
    }

    let served = app.served.load();
    let (mut shards, mut waiting) = (Vec::new(), Vec::new());
    for index in served.indices.values() {
        let of_index = index.followers().map(|follower| ShardReadiness::of(follower));
        let of_index: Vec<_> = of_index.collect();
        if index.counts_for_readiness() {
            waiting.extend(of_index.iter().filter(|shard| !shard.ready).map(ShardReadiness::message));
        }
        shards.extend(of_index);
    }
    if !app.is_log_reached() {
        waiting.push("The log has not been reached yet".to_owned());
    }
    if waiting.is_empty() {
        let uploads_refused = app.source.write_failure().map(|failure| failure.to_string());
        let configuration_problems = served.problems.clone();
        return json_response(&Readiness { uploads_refused, configuration_problems, shards });
    }
    ApiError::with_messages(StatusCode::SERVICE_UNAVAILABLE, waiting).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardReadiness {
    index_name: String,
    index_version: String,
    shard_id: String,
    ready: bool,
    state: String,
    /// By topic: records that are not applied yet, at most, and for how long there have been any.
    lag_records: BTreeMap<String, u64>,
    lag_seconds: BTreeMap<String, f64>,
    /// Skipped records by reason, and the last few of them.
    bad_records: BTreeMap<&'static str, u64>,
    recent_bad_records: Vec<String>,
}

impl ShardReadiness {
    fn of(follower: &ShardFollower) -> Self {
        let lag = follower.lag();
        let bad = follower.bad_records();
        let keeps_up = lag.values().map(|lag| lag.records).sum::<u64>() <= READY_LAG_RECORDS_MAX;
        Self {
            index_name: follower.index_id().name.clone(),
            index_version: follower.index_id().version.clone(),
            shard_id: follower.shard_id().to_owned(),
            ready: follower.state() == ShardState::Ready && keeps_up,
            state: follower.state().to_string(),
            lag_records: lag.iter().map(|(topic, lag)| (topic.clone(), lag.records)).collect(),
            lag_seconds: lag.iter().map(|(topic, lag)| (topic.clone(), lag.time().as_secs_f64())).collect(),
            bad_records: bad.counts,
            recent_bad_records: bad
                .recent
                .iter()
                .map(|bad| format!("{} @ {}: {}", bad.topic, bad.offset, bad.message))
                .collect(),
        }
    }

    fn message(&self) -> String {
        let lag: u64 = self.lag_records.values().sum();
        format!(
            "Shard '{}' of index {} {} is not ready: it is {}, {lag} records behind",
            self.shard_id, self.index_name, self.index_version, self.state
        )
    }
}
