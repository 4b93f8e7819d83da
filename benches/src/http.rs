//! A blocking keep-alive client of the server's HTTP API, so that the client costs little.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use ureq::Agent;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const BODY_BYTES_MAX: u64 = 256 << 20;
const POSITION: &str = "X-Vektonn-Position";
const MIN_POSITION: &str = "X-Vektonn-Min-Position";

/// One client connection, kept alive.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
}

impl Client {
    /// A client for the server at `base_url`, such as `http://127.0.0.1:8081`.
    pub(crate) fn new(base_url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .proxy(None)
            .no_delay(true)
            .build();
        Self { agent: config.into(), base_url: base_url.to_owned() }
    }

    /// Whether `GET path` answers 200.
    pub(crate) fn is_ok(&self, path: &str) -> bool {
        self.agent.get(self.url(path)).call().is_ok_and(|response| response.status() == 200)
    }

    /// The JSON that `GET path` answers.
    pub(crate) fn get_json(&self, path: &str) -> Result<Value> {
        let response = self.agent.get(self.url(path)).call().with_context(|| format!("GET {path}"))?;
        let status = response.status().as_u16();
        let text = text(response)?;
        ensure!(status == 200, "GET {path} answers {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Uploads a JSON body; returns the log's position after it.
    pub(crate) fn upload(&self, path: &str, body: &[u8]) -> Result<String> {
        let response = self.post(path, body, None)?;
        let position = response.headers().get(POSITION).with_context(|| format!("no {POSITION} header"))?;
        Ok(position.to_str()?.to_owned())
    }

    /// Searches with a JSON body; returns the JSON answer's text.
    pub(crate) fn search(&self, path: &str, body: &[u8]) -> Result<String> {
        text(self.post(path, body, None)?)
    }

    /// The same, but first waits until the log's `position` is searchable.
    pub(crate) fn search_after(&self, position: &str, path: &str, body: &[u8]) -> Result<String> {
        text(self.post(path, body, Some(position))?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    fn post(
        &self,
        path: &str,
        body: &[u8],
        min_position: Option<&str>,
    ) -> Result<ureq::http::Response<ureq::Body>> {
        let mut request = self.agent.post(self.url(path)).header("Content-Type", "application/json");
        if let Some(position) = min_position {
            request = request.header(MIN_POSITION, position);
        }
        let response = request.send(body).with_context(|| format!("POST {path}"))?;
        match response.status().as_u16() {
            200 => Ok(response),
            status => bail!("POST {path} answers {status}: {}", text(response)?),
        }
    }
}

fn text(mut response: ureq::http::Response<ureq::Body>) -> Result<String> {
    Ok(response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?)
}

/// The ids of the data points in the first result of a search's answer, in order; `Id` must be an Int64.
pub(crate) fn found_ids(answer: &str) -> Result<Vec<i64>> {
    let results: Value = serde_json::from_str(answer).context("a search's answer")?;
    let Some(points) = results[0]["nearestDataPoints"].as_array() else {
        bail!("a search's answer without nearestDataPoints: {answer}");
    };
    let id = |point: &Value| {
        let attributes = point["attributes"].as_array()?;
        attributes.iter().find(|attribute| attribute["key"] == "Id")?["value"]["int64"].as_i64()
    };
    points.iter().map(|point| id(point).with_context(|| format!("a point without Id: {point}"))).collect()
}
