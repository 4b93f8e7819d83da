//! Is the server alive, and does it serve?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState};

use crate::app::App;
use crate::error::json_response;
use crate::remote::RemoteShard;
use crate::served::ServedShard;

/// The commit that the program was built from, if its build knew it.
const COMMIT: &str = match option_env!("VEKTONN_COMMIT_HASH") {
    Some(commit) => commit,
    None => "unknown",
};

/// The published status: `Warn` when a shard cannot follow or does not answer, or uploads are refused; `Init` while
/// shards catch up; else `Ok`.
#[utoipa::path(get, path = "/_status/ping", tag = "Health",
    responses((status = 200, description = "`Ok`, `Init` or `Warn`", body = Ping)))]
pub(crate) async fn ping(State(app): State<Arc<App>>) -> Response {
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

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ping {
    status: &'static str,
}

/// The published version.
#[utoipa::path(get, path = "/_status/version", tag = "Health",
    responses((status = 200, description = "The commit that the program was built from", body = Version)))]
pub(crate) async fn version() -> Response {
    json_response(&Version { commit_hash: COMMIT })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    commit_hash: &'static str,
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "Health",
    responses((status = 200, description = "It does", body = Health)))]
pub(crate) async fn healthz() -> Response {
    json_response(&Health { status: "ok" })
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
}

/// Whether all shards of this process serve, and how each shard is.
#[utoipa::path(get, path = "/readyz", tag = "Health", responses(
    (status = 200, description = "All shards of this process serve", body = Readiness),
    (status = 503, description = "Some do not, or the log has not been reached yet", body = Readiness)))]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let served = app.served.load();
    let lag_max = app.limits.ready_lag_records_max.unwrap_or(u64::MAX);
    let (mut shards, mut waiting) = (Vec::new(), Vec::new());
    for index in served.indices.values() {
        let of_index: Vec<_> =
            index.shards.values().map(|shard| ShardReadiness::of(shard, lag_max)).collect();
        if index.counts_for_readiness() {
            // Other processes are not waited for.
            let here = of_index.iter().filter(|shard| shard.progress.is_some());
            waiting.extend(here.filter(|shard| !shard.ready).map(ShardReadiness::message));
        }
        shards.extend(of_index);
    }
    let building = served.warming.values().flat_map(|index| index.shards.values());
    if !app.is_log_reached() {
        waiting.push("The log has not been reached yet".to_owned());
    }
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = json_response(&Readiness {
        error_messages: waiting,
        uploads_refused: app.source.write_failure().map(|failure| failure.to_string()),
        configuration_problems: served.problems.clone(),
        shards,
        building: building.map(|shard| ShardReadiness::of(shard, lag_max)).collect(),
    });
    *response.status_mut() = status;
    response
}

/// Whether a process is ready to answer, and what it has to tell.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Readiness {
    /// Why it is not ready.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    error_messages: Vec<String>,
    /// Why uploads are refused, if they are; searches go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploads_refused: Option<String>,
    /// What is wrong with the configuration files as they are now; what they said before still counts.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    configuration_problems: Vec<String>,
    shards: Vec<ShardReadiness>,
    /// Shards of changed indices, which take the place of those that serve when they are ready.
    #[serde(skip_serializing_if = "<[ShardReadiness]>::is_empty")]
    building: Vec<ShardReadiness>,
}

/// How a shard is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardReadiness {
    index_name: String,
    index_version: String,
    shard_id: String,
    ready: bool,
    /// `starting`, `catching up`, `ready`, `stopping`, `failed: ...`; of a shard in other processes `answers` or `does not answer`.
    state: String,
    /// What is known of a shard in this process.
    #[serde(flatten)]
    progress: Option<Progress>,
}

/// How far a shard is.
#[derive(Default, Serialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Progress {
    /// By topic: records that are not applied yet, at most.
    lag_records: BTreeMap<String, u64>,
    /// By topic: for how long there have been any.
    lag_seconds: BTreeMap<String, f64>,
    /// Skipped records by reason.
    bad_records: BTreeMap<&'static str, u64>,
    /// The last few of them.
    recent_bad_records: Vec<String>,
}

impl ShardReadiness {
    fn of(shard: &ServedShard, lag_max: u64) -> Self {
        match shard {
            ServedShard::Local(follower) => Self::of_local(follower, lag_max),
            ServedShard::Remote(remote) => Self::of_remote(remote),
        }
    }

    fn of_local(follower: &ShardFollower, lag_max: u64) -> Self {
        let progress = Progress::of(follower);
        let lag = progress.lag_records.values().sum::<u64>();
        Self {
            index_name: follower.index_id().name.clone(),
            index_version: follower.index_id().version.clone(),
            shard_id: follower.shard_id().to_owned(),
            ready: follower.is_serving() && lag <= lag_max,
            state: follower.state().to_string(),
            progress: Some(progress),
        }
    }

    fn of_remote(shard: &RemoteShard) -> Self {
        let ((index, shard_id), ready) = (shard.id(), shard.is_healthy());
        Self {
            index_name: index.name.clone(),
            index_version: index.version.clone(),
            shard_id: shard_id.to_owned(),
            ready,
            state: if ready { "answers" } else { "does not answer" }.to_owned(),
            progress: None,
        }
    }

    fn message(&self) -> String {
        let lag: u64 = self.progress.iter().flat_map(|progress| progress.lag_records.values()).sum();
        format!(
            "Shard '{}' of index {} {} is not ready to serve: {}, {lag} records behind",
            self.shard_id, self.index_name, self.index_version, self.state
        )
    }
}

impl Progress {
    fn of(follower: &ShardFollower) -> Self {
        let (lag, bad) = (follower.lag(), follower.bad_records());
        let recent = bad.recent.iter().map(|bad| format!("{} @ {}: {}", bad.topic, bad.offset, bad.message));
        Self {
            lag_records: lag.iter().map(|(topic, lag)| (topic.clone(), lag.records)).collect(),
            lag_seconds: lag.iter().map(|(topic, lag)| (topic.clone(), lag.time().as_secs_f64())).collect(),
            recent_bad_records: recent.collect(),
            bad_records: bad.counts,
        }
    }
}
