//! A small typed client of the server's HTTP API, for the demo and the client commands.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vektonn_core::{DataPoint, FoundDataPoint, IndexId, Position, SearchQuery, Vector};

use crate::cli::output::printable;
use crate::dto::{self, ErrorBody, IndexItem, ShardDigest};
use crate::request;

/// Where `vektonn serve` and `vektonn demo` listen unless told otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8081";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server's own 60 s for a request, so that its answer arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const ERROR_BODY_CHARS_MAX: usize = 500;

/// A query for the `k` nearest data points of each vector in all splits, without their vectors.
pub(crate) fn nearest(query_vectors: Vec<Vector>, k: usize) -> SearchQuery {
    SearchQuery {
        split_filter: Vec::new(),
        query_vectors,
        k,
        ef_search: None,
        approximation: None,
        retrieve_vectors: false,
    }
}

/// The value of an attribute as text; empty if the point has no such attribute.
pub(crate) fn text_of(found: &FoundDataPoint, key: &str) -> String {
    found.attributes.iter().find(|it| it.key == key).map(|it| it.value.to_string()).unwrap_or_default()
}

/// Why a request was not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The text is not the URL of a server.
    #[error("'{url}' is not the URL of a Vektonn server: expected something like http://127.0.0.1:8081")]
    BadUrl { url: String },
    /// The URL is of a server that encrypts.
    #[error("'{url}' is not supported, for only http is: expected something like http://127.0.0.1:8081")]
    NotHttp { url: String },
    /// Nobody listens there.
    #[error("no Vektonn server answers at {url}: is it running, and is the URL right? (see `vektonn serve`)")]
    NoServer { url: String },
    /// The connection broke, or the answer did not come in time.
    #[error("the server at {url} did not answer: {reason}")]
    NoAnswer { url: String, reason: String },
    /// The server refused or failed.
    #[error("{}", messages.join("\n"))]
    Refused { status: StatusCode, messages: Vec<String>, retry_after: Option<Duration> },
    /// The answer is not what a Vektonn server says.
    #[error("{url} does not answer like a Vektonn server: {reason}")]
    Unreadable { url: String, reason: String },
}

impl ClientError {
    /// Whether the same request may be answered if it is sent again later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::NoServer { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504),
            Self::BadUrl { .. } | Self::NotHttp { .. } | Self::Unreadable { .. } => false,
        }
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// An answer with status 200.
pub(crate) struct Answer {
    url: String,
    headers: HeaderMap,
    /// The body as the server sent it.
    pub(crate) text: String,
}

impl Answer {
    /// The body, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text).map_err(|error| self.unreadable(&error))
    }

    /// The body, read as the answer to a search: the data points found for each query vector.
    pub(crate) fn found(&self) -> Result<Vec<Vec<FoundDataPoint>>, ClientError> {
        dto::parse_search_results(self.text.as_bytes()).map_err(|error| self.unreadable(&error))
    }

    fn position(&self) -> Result<Position, ClientError> {
        let Some(header) = self.headers.get(request::POSITION) else { return Ok(Position::new()) };
        let token = header.to_str().map_err(|error| self.unreadable(&error))?;
        token.parse().map_err(|error: vektonn_core::PositionError| self.unreadable(&error))
    }

    fn unreadable(&self, error: &dyn fmt::Display) -> ClientError {
        ClientError::Unreadable { url: self.url.clone(), reason: error.to_string() }
    }
}

/// A connection to one server.
pub(crate) struct Client {
    http: reqwest::Client,
    base_url: String,
}

impl Client {
    /// A client for the server at a URL such as `http://127.0.0.1:8081`. Nothing is sent yet.
    pub(crate) fn new(base_url: &str) -> Result<Self, ClientError> {
        let bad_url = || ClientError::BadUrl { url: base_url.to_owned() };
        let url = reqwest::Url::parse(base_url).map_err(|_| bad_url())?;
        if url.scheme() == "https" {
            return Err(ClientError::NotHttp { url: base_url.to_owned() });
        }
        if url.scheme() != "http" || url.cannot_be_a_base() {
            return Err(bad_url());
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|_| bad_url())?;
        Ok(Self { http, base_url: base_url.trim_end_matches('/').to_owned() })
    }

    /// Uploads a JSON list of data points; returns where the log ended then. All of them are stored or, with status
    /// 400, none.
    pub(crate) async fn upload(
        &self,
        data_source: (&str, &str),
        points: impl Into<reqwest::Body>,
    ) -> Result<Position, ClientError> {
        let request = self.request(Method::POST, &["api", "v1", "upload", data_source.0, data_source.1])?;
        let request = request.header(CONTENT_TYPE, "application/json").body(points);
        self.send(request).await?.position()
    }

    /// Uploads data points, as [`upload`](Self::upload).
    pub(crate) async fn upload_points(
        &self,
        data_source: (&str, &str),
        points: &[DataPoint],
    ) -> Result<Position, ClientError> {
        let points: Vec<_> = points.iter().cloned().map(dto::InputDataPoint::from).collect();
        let request = self.request(Method::POST, &["api", "v1", "upload", data_source.0, data_source.1])?;
        self.send(request.json(&points)).await?.position()
    }

    /// Searches an index, which first catches up with `min_position`.
    pub(crate) async fn search(
        &self,
        index: (&str, &str),
        query: &SearchQuery,
        min_position: &Position,
    ) -> Result<Vec<Vec<FoundDataPoint>>, ClientError> {
        self.search_json(index, &dto::SearchQuery::from(query.clone()), min_position).await?.found()
    }

    /// Searches an index by any JSON.
    pub(crate) async fn search_json(
        &self,
        index: (&str, &str),
        query: &impl Serialize,
        min_position: &Position,
    ) -> Result<Answer, ClientError> {
        let request = self.request(Method::POST, &["api", "v1", "search", index.0, index.1])?.json(query);
        self.send(self.at_least(request, min_position)).await
    }

    /// The indices of the server.
    pub(crate) async fn indices(&self) -> Result<Vec<IndexItem>, ClientError> {
        self.get(&["api", "v1", "indices"]).await?.json()
    }

    /// `GET` of a path, given by its segments.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Answer, ClientError> {
        self.send(self.request(Method::GET, path)?).await
    }

    /// A digest of a shard, which first catches up with `min_position`.
    pub(crate) async fn digest(
        &self,
        index: &IndexId,
        shard: &str,
        min_position: &Position,
    ) -> Result<ShardDigest, ClientError> {
        let path = ["api", "v1", "indices", &index.name, &index.version, "shards", shard, "digest"];
        let request = self.at_least(self.request(Method::GET, &path)?, min_position);
        self.send(request).await?.json()
    }

    fn at_least(&self, request: RequestBuilder, min_position: &Position) -> RequestBuilder {
        if min_position.is_empty() {
            return request;
        }
        request.header(request::MIN_POSITION, min_position.to_string())
    }

    /// A request to a path of these segments, which may hold any character.
    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ClientError> {
        let bad_url = || ClientError::BadUrl { url: self.base_url.clone() };
        let mut url = reqwest::Url::parse(&self.base_url).map_err(|_| bad_url())?;
        url.path_segments_mut().map_err(|()| bad_url())?.pop_if_empty().extend(path);
        Ok(self.http.request(method, url))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let (status, headers, url) =
            (response.status(), response.headers().clone(), response.url().to_string());
        let text = response.text().await.map_err(|error| self.no_answer(&error))?;
        if status == StatusCode::OK {
            return Ok(Answer { url, headers, text });
        }
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Err(ClientError::Refused {
            status,
            messages: error_messages(status, &url, &text),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> ClientError {
        let url = self.base_url.clone();
        if error.is_connect() {
            return ClientError::NoServer { url };
        }
        if error.is_timeout() {
            return ClientError::NoAnswer {
                url,
                reason: format!("nothing came within {} s", ANSWER_TIMEOUT.as_secs()),
            };
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        ClientError::NoAnswer { url, reason: cause.to_string() }
    }
}

/// The messages of an error response; if it has none, its status and the start of its body.
fn error_messages(status: StatusCode, url: &str, body: &str) -> Vec<String> {
    match serde_json::from_str::<ErrorBody>(body) {
        Ok(error) if !error.error_messages.is_empty() => {
            error.error_messages.iter().map(|message| printable(message)).collect()
        }
        _ => {
            let start: String = body.chars().take(ERROR_BODY_CHARS_MAX).collect();
            vec![format!("{url} answered {status} {}", printable(start.trim())).trim_end().to_owned()]
        }
    }
}

/// A server in this process, for tests of what talks to one.
#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use vektonn_core::Vector;

    use super::{Client, nearest};
    use crate::app::Role;
    use crate::limits::Limits;
    use vektonn_kafka::EmbeddedOptions;

    use crate::server::{self, RunningServer, ServeOptions, SourceOptions};

    const DATA_SOURCE: &str = "
vectorDimension: 2
vectorsAreSparse: false
attributeValueTypes: {Id: Int64, Name: String}
permanentAttributes: [Id]";
    const INDEX: &str = "
dataSourceId: {name: Places, version: 1.0}
indexAlgorithm: {type: Dense.L2}
idAttributes: [Id]
shardsById: {All: {}}";

    /// A server with a data source `Places` and an index `Places.L2` on it, both of version 1.0.
    pub(crate) struct TestServer {
        pub(crate) url: String,
        pub(crate) directory: TempDir,
        running: RunningServer,
    }

    impl TestServer {
        pub(crate) async fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let config = directory.path().join("config");
            for (parent, text) in [("data-sources/Places", DATA_SOURCE), ("indices/Places.L2", INDEX)] {
                fs::create_dir_all(config.join(parent)).unwrap();
                fs::write(config.join(parent).join("1.0.yaml"), text).unwrap();
            }
            let (data, address) = (directory.path().join("data"), ("127.0.0.1".to_owned(), 0));
            let running = server::start(ServeOptions {
                config,
                role: Role::Whole,
                source: SourceOptions::Directory(data, EmbeddedOptions::default()),
                address,
                limits: Limits::default(),
            })
            .await
            .unwrap();
            let server = Self { url: format!("http://{}", running.local_addr), directory, running };
            while server.client().get(&["readyz"]).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            server
        }

        pub(crate) fn client(&self) -> Client {
            Client::new(&self.url).unwrap()
        }

        /// Writes a file beside the server's.
        pub(crate) fn file(&self, text: &str) -> PathBuf {
            let path = self.directory.path().join("input");
            fs::write(&path, text).unwrap();
            path
        }

        /// Uploads points with ids from 1 at (id, 0), each named after its id, and waits until searches see them.
        pub(crate) async fn upload_places(&self, count: u32) {
            let points: Vec<String> = (1..=count).map(place).collect();
            let client = self.client();
            let written = client.upload(("Places", "1.0"), format!("[{}]", points.join(","))).await.unwrap();
            let query = nearest(vec![Vector::dense([0.0, 0.0])], 1);
            client.search(("Places.L2", "1.0"), &query, &written).await.unwrap();
        }

        /// Waits until the index has so many points.
        pub(crate) async fn wait_for_points(&self, count: u64) {
            while self.client().indices().await.unwrap()[0].shards[0].data_points_count != Some(count) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }

        pub(crate) async fn stop(self) {
            self.running.shutdown().await;
        }
    }

    /// The JSON of a data point.
    pub(crate) fn place(id: u32) -> String {
        format!(
            r#"{{"attributes": [{{"key": "Id", "value": {{"int64": {id}}}}}, {{"key": "Name", "value": {{"string": "place {id}"}}}}], "vector": {{"isSparse": false, "coordinates": [{id}, 0]}}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(status: StatusCode, body: &str) -> String {
        let messages = error_messages(status, "http://x/y", body);
        ClientError::Refused { status, messages, retry_after: None }.to_string()
    }

    #[test]
    fn errors_are_readable() {
        let body = r#"{"errorMessages": ["K must be positive", "At least one query vector is required"]}"#;
        let lines = "K must be positive\nAt least one query vector is required";
        assert_eq!(refusal(StatusCode::BAD_REQUEST, body), lines);
        let proxy = refusal(StatusCode::BAD_GATEWAY, "<html>\n<h1>\u{1b}[31mNo</h1>\n");
        assert_eq!(proxy, "http://x/y answered 502 Bad Gateway <html>\\n<h1>\\u{1b}[31mNo</h1>");
        assert_eq!(refusal(StatusCode::NOT_FOUND, ""), "http://x/y answered 404 Not Found");
    }

    #[test]
    fn urls_are_checked() {
        for url in ["127.0.0.1:8081", "ftp://somewhere", "mailto:x", ""] {
            assert!(matches!(Client::new(url), Err(ClientError::BadUrl { .. })), "{url}");
        }
        assert!(matches!(Client::new("https://somewhere"), Err(ClientError::NotHttp { .. })));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Client::new(&url).unwrap().indices().await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no Vektonn server answers at {url}")) && !error.contains('\n'),
            "{error}"
        );
    }
}
