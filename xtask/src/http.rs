//! A small JSON client for the server's HTTP API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const POSITION: &str = "X-Vektonn-Position";
const BODY_BYTES_MAX: u64 = 256 << 20;

/// One keep-alive client of one server.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
}

/// A response of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// How far the log was written by an upload.
    pub(crate) position: Option<String>,
}

impl Answer {
    /// The error messages of a response that is not 200, on one line; fails where there are none.
    pub(crate) fn error_messages(&self) -> Result<String> {
        let body: Value = serde_json::from_str(&self.body).with_context(|| {
            format!("status {} with a body that is not JSON: {:?}", self.status, self.body)
        })?;
        let messages = body["errorMessages"].as_array().filter(|messages| !messages.is_empty());
        let Some(messages) = messages else {
            bail!("status {} without errorMessages: {}", self.status, self.body);
        };
        Ok(messages.iter().map(|message| message.as_str().unwrap_or("?")).collect::<Vec<_>>().join("; "))
    }
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

    /// `GET path`; an error only where no complete response came.
    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        answer(self.agent.get(format!("{}{path}", self.base_url)).call())
    }

    /// `POST path` with a JSON body; an error only where no complete response came.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.post_with(path, body, &[])
    }

    /// The same with more headers.
    pub(crate) fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut request = self.agent.post(format!("{}{path}", self.base_url));
        request = request.header("Content-Type", "application/json; charset=utf-8");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body.to_string()))
    }
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer> {
    let mut response = response?;
    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?;
    let position = response.headers().get(POSITION).and_then(|position| position.to_str().ok());
    let position = position.map(ToOwned::to_owned);
    Ok(Answer { status: response.status().as_u16(), body, position })
}
