//! A shard in other processes, each of which holds all of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use vektonn_core::{IndexId, Position};

use crate::dto::ErrorBody;
use crate::error::ApiError;
use crate::request;

/// An endpoint that failed is asked again after this time, or when no other is left.
const REST: Duration = Duration::from_secs(5);
/// Whether endpoints answer is found out this often, for there may be no searches that would tell.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// An endpoint gets this long for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The routes of a shard.
const SEARCH: &str = "search";
const INFO: &str = "info";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shards close connections that are idle for 130 s; one that is about to be closed must not be used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// A shard must answer in so much less time than is waited for it, so that its own "too little time" arrives.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);
/// Who does not answer in less time than this may be well.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// How many endpoints of a shard are asked for one search.
const TRIES: usize = 2;

/// Connections to other processes.
#[derive(Clone)]
pub(crate) struct RemoteClient {
    http: reqwest::Client,
}

/// A shard that other processes hold.
pub(crate) struct RemoteShard {
    client: RemoteClient,
    index: IndexId,
    shard_id: String,
    endpoints: Vec<Endpoint>,
    /// Where the next search begins, so that all endpoints get their part.
    turn: AtomicUsize,
}

struct Endpoint {
    /// `host:port`
    address: String,
    health: Mutex<Health>,
}

/// How an endpoint was when it was last asked for a search.
#[derive(Clone, Copy)]
enum Health {
    Unknown,
    AnsweredAt(Instant),
    FailedAt(Instant),
}

/// Why an endpoint did not answer with 200.
enum Failure {
    /// It does not work as it should.
    Sick(String),
    /// It had too little time.
    Slow(String),
    /// It has too much to do.
    Busy(String),
    /// It refuses the request, as any other would.
    Refused(Vec<String>),
}

impl RemoteClient {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self { http })
    }
}

impl RemoteShard {
    pub(crate) fn new(client: RemoteClient, index: IndexId, shard_id: &str, endpoints: &[String]) -> Self {
        let endpoint =
            |address: &String| Endpoint { address: address.clone(), health: Mutex::new(Health::Unknown) };
        Self {
            client,
            index,
            shard_id: shard_id.to_owned(),
            endpoints: endpoints.iter().map(endpoint).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The index, and the shard's id in it.
    pub(crate) fn id(&self) -> (&IndexId, &str) {
        (&self.index, &self.shard_id)
    }

    /// Each as `host:port`.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &String> {
        self.endpoints.iter().map(|endpoint| &endpoint.address)
    }

    /// Whether some endpoint answered when it was last asked for a search, or has not been asked yet.
    pub(crate) fn is_healthy(&self) -> bool {
        self.endpoints.iter().any(|endpoint| !matches!(*endpoint.health.lock(), Health::FailedAt(_)))
    }

    /// Finds out which endpoints answer searches, of those that have not done so lately.
    pub(crate) async fn check(&self) {
        let silent = self.endpoints.iter().filter(|endpoint| !endpoint.has_answered_lately());
        let checks = silent.map(async |endpoint| {
            let request = self.client.http.get(format!("http://{}/api/v1/probe", endpoint.address));
            match answer(request, CHECK_TIMEOUT).await {
                // It had all the time that a search for nothing may take.
                Err(Failure::Slow(why)) => self.note(endpoint, &Err(Failure::Sick(why))),
                answer => self.note(endpoint, &answer),
            }
        });
        join_all(checks).await;
    }

    /// The JSON that the shard answers to a search, which is given as JSON.
    ///
    /// # Errors
    /// 503 naming the shard if none of its endpoints answers, 504 if the deadline passes.
    pub(crate) async fn search(
        &self,
        query: Bytes,
        min_position: &Position,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let request = |url: String| {
            let request = self.client.http.post(url).header(header::CONTENT_TYPE, "application/json");
            let request = request.body(query.clone());
            match min_position.is_empty() {
                true => request,
                false => request.header(request::MIN_POSITION, min_position.to_string()),
            }
        };
        self.ask(SEARCH, request, deadline).await
    }

    /// The JSON of what the shard holds.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub(crate) async fn info(&self, deadline: Instant) -> Result<Bytes, ApiError> {
        self.ask(INFO, |url| self.client.http.get(url), deadline).await
    }

    async fn ask(
        &self,
        route: &str,
        request: impl Fn(String) -> reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let candidates = self.in_turn();
        let (mut failures, mut is_late) = (Vec::new(), false);
        for (i, endpoint) in candidates.iter().enumerate() {
            let now = Instant::now();
            // As long as there is another one, half of the time is for it.
            let left = deadline.saturating_duration_since(now) / if i + 1 < candidates.len() { 2 } else { 1 };
            if left.is_zero() {
                break;
            }
            let request = request(format!("http://{}/api/v1/{route}", endpoint.address));
            let answer = answer(request, left).await;
            // A shard that serves no searches yet tells what it holds.
            if route == SEARCH || answer.is_err() {
                self.note(endpoint, &answer);
            }
            match answer {
                Ok(body) => return Ok(body),
                Err(Failure::Refused(messages)) => return Err(ApiError::invalid(messages)),
                Err(Failure::Slow(why)) => {
                    is_late = true;
                    failures.push(format!("{}: {why}", endpoint.address));
                }
                Err(Failure::Busy(why) | Failure::Sick(why)) => {
                    failures.push(format!("{}: {why}", endpoint.address));
                }
            }
        }
        let message = format!(
            "Shard '{}' of index {} does not answer: {}",
            self.shard_id,
            self.index,
            failures.join("; ")
        );
        Err(if is_late || Instant::now() >= deadline {
            ApiError::timeout(message)
        } else {
            ApiError::unavailable(message)
        })
    }

    /// Notes whether an endpoint works as it should, and tells when that changes.
    fn note(&self, endpoint: &Endpoint, answer: &Result<Bytes, Failure>) {
        let (shard, address, now) = (&self.shard_id, &endpoint.address, Instant::now());
        let mut health = endpoint.health.lock();
        let has_failed = matches!(*health, Health::FailedAt(_));
        match answer {
            Ok(_) | Err(Failure::Refused(_)) => {
                *health = Health::AnsweredAt(now);
                if has_failed {
                    tracing::info!(index = %self.index, shard, endpoint = address, "an endpoint answers again");
                }
            }
            Err(Failure::Sick(why)) => {
                *health = Health::FailedAt(now);
                if !has_failed {
                    tracing::warn!(index = %self.index, shard, endpoint = address, why, "an endpoint failed");
                }
            }
            // It may be well.
            Err(Failure::Slow(_) | Failure::Busy(_)) => {}
        }
    }

    /// The endpoints to ask, one after another: those that rest come last.
    fn in_turn(&self) -> Vec<&Endpoint> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len().max(1);
        let now = Instant::now();
        let (before, after) = self.endpoints.split_at(first);
        let mut endpoints: Vec<_> = after.iter().chain(before).collect();
        endpoints.sort_by_key(|endpoint| endpoint.rests(now));
        endpoints.truncate(TRIES);
        endpoints
    }
}

impl Endpoint {
    fn has_answered_lately(&self) -> bool {
        matches!(*self.health.lock(), Health::AnsweredAt(at) if at.elapsed() < CHECK_INTERVAL)
    }

    fn rests(&self, now: Instant) -> bool {
        matches!(*self.health.lock(), Health::FailedAt(at) if now < at + REST)
    }
}

/// What an endpoint answers if it is waited for so long.
async fn answer(request: reqwest::RequestBuilder, patience: Duration) -> Result<Bytes, Failure> {
    let failed = |error: reqwest::Error| {
        let failure =
            if error.is_timeout() && patience < PATIENCE_MIN { Failure::Slow } else { Failure::Sick };
        failure(reason(&error))
    };
    let for_shard = patience - ANSWER_MARGIN.max(patience / 20).min(patience / 2);
    let for_shard = format!("{:.3}", for_shard.as_secs_f64().max(0.001));
    let request = request.header(request::REQUEST_TIMEOUT, for_shard);
    let response = request.timeout(patience).send().await.map_err(failed)?;
    let status = response.status();
    let body = response.bytes().await.map_err(failed)?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    let messages = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error_messages);
    let messages = messages.unwrap_or_else(|_| vec![format!("it answered {status}")]);
    Err(match status {
        StatusCode::BAD_REQUEST => Failure::Refused(messages),
        StatusCode::GATEWAY_TIMEOUT => Failure::Slow(messages.join("; ")),
        StatusCode::TOO_MANY_REQUESTS => Failure::Busy(messages.join("; ")),
        _ => Failure::Sick(messages.join("; ")),
    })
}

/// The innermost reason: the outer ones only say that a request failed.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
