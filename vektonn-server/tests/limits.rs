//! Limits, and an orderly end.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Response, Server};

fn quick_start() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quick-start")
}

const UPLOAD: &str = "/api/v1/upload/QuickStart.Source/1.0";
const SEARCH: &str = "/api/v1/search/QuickStart.Index/1.0";

fn point(id: i64) -> String {
    format!(
        r#"{{"attributes": [{{"key": "id", "value": {{"int64": {id}}}}}, {{"key": "payload", "value": {{"string": "p"}}}}],
             "vector": {{"isSparse": false, "coordinates": [{id}, 0.5]}}}}"#
    )
}

#[test]
fn a_body_over_the_limit_is_413_and_nothing_is_stored() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &["--body-bytes-max", "1000"]);
    let points: Vec<_> = (0..20).map(point).collect();
    let response = server.post(UPLOAD, &format!("[{}]", points.join(",")));
    assert_eq!(response.status, 413);
    assert_eq!(response.body, r#"{"errorMessages":["The body must not be larger than 1000 bytes"]}"#);
    let response =
        server.request("GET /api/v1/indices/QuickStart.Index/1.0/shards/SingleShard/info", &[], b"");
    assert!(response.body.contains(r#""dataPointsCount":0"#), "{response:?}");
}

#[test]
fn query_vectors_over_the_limit_are_400() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &["--query-vectors-max", "2"]);
    let search = |vectors: usize| {
        let vectors = vec![r#"{"coordinates": [1, 2]}"#; vectors].join(",");
        server.post(SEARCH, &format!(r#"{{"k": 5, "queryVectors": [{vectors}]}}"#))
    };
    assert_eq!(search(2).status, 200);
    assert_eq!(search(3).body, r#"{"errorMessages":["At most 2 query vectors are allowed, got 3"]}"#);
}

/// Searches of four points, on a server with these limits.
struct OfFourPoints {
    server: Server,
    position: String,
    _data: tempfile::TempDir,
}

impl OfFourPoints {
    fn with(limits: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(&quick_start(), data.path(), limits);
        let points: Vec<_> = (0..4).map(point).collect();
        let uploaded = server.post(UPLOAD, &format!("[{}]", points.join(",")));
        let position = uploaded.header("X-Vektonn-Position").unwrap().to_owned();
        Self { server, position, _data: data }
    }

    fn search(&self, k: i32, vectors: usize, retrieve: bool) -> Response {
        let vectors = vec![r#"{"coordinates": [1, 2]}"#; vectors].join(",");
        let body = format!(r#"{{"k": {k}, "retrieveVectors": {retrieve}, "queryVectors": [{vectors}]}}"#);
        let headers = [("X-Vektonn-Min-Position", &*self.position)];
        self.server.request(&format!("POST {SEARCH}"), &headers, body.as_bytes())
    }
}

#[test]
fn a_search_for_too_many_points_in_all_is_400() {
    let four = OfFourPoints::with(&["--results-max", "5"]);
    assert_eq!(four.search(2, 2, true).status, 200);
    assert_eq!(
        four.search(3, 2, true).body,
        r#"{"errorMessages":["K times the number of query vectors must not be larger than 5, got 3 times 2"]}"#
    );
}

#[test]
fn a_search_for_more_points_than_there_are_finds_them_all() {
    let found = OfFourPoints::with(&["--results-max", "5"]).search(i32::MAX, 1, true);
    assert_eq!((found.status, found.body.matches("\"distance\"").count()), (200, 4), "{found:?}");
}

#[test]
fn a_search_that_would_retrieve_too_many_coordinates_is_400() {
    let four = OfFourPoints::with(&["--retrieved-coordinates-max", "7"]);
    assert_eq!(four.search(3, 1, true).status, 200);
    assert_eq!(four.search(4, 1, false).status, 200);
    let refused = four.search(4, 1, true).body;
    assert!(refused.contains("At most 7 coordinates can be retrieved, got 8: 4 vectors of 2"), "{refused}");
}

#[test]
fn a_client_that_sends_everything_first_sees_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &["--body-bytes-max", "1000000"]);
    let body = vec![b' '; 20_000_000];
    let send = |path: &str| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let unknown = send("/api/v1/upload/NoSuch.Source/1.0");
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("errorMessages"), "{unknown}");
    let large = send(UPLOAD);
    assert!(large.starts_with("HTTP/1.1 413 ") && large.contains("errorMessages"), "{large}");
}

/// Begins an upload of so many bytes, and sends some of them.
fn begin_upload(server: &Server, length: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b' '; sent]).unwrap();
    stream
}

/// One point and spaces.
fn upload_of(bytes: usize) -> String {
    format!("[{}{}]", point(1), " ".repeat(bytes))
}

#[test]
fn bodies_that_are_too_large_together_are_429() {
    let data = tempfile::tempdir().unwrap();
    let limits = ["--body-bytes-max", "200000", "--all-bodies-bytes-max", "200000"];
    let server = Server::start(&quick_start(), data.path(), &limits);
    let slow = begin_upload(&server, 190_000, 180_000);
    std::thread::sleep(Duration::from_millis(300));
    let response = server.post(UPLOAD, &upload_of(150_000));
    assert_eq!(response.status, 429, "{response:?}");
    assert!(response.header("Retry-After").is_some());
    assert_eq!(server.post(UPLOAD, &upload_of(1_000)).status, 200, "a small one needs no room");
    drop(slow);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.post(UPLOAD, &upload_of(150_000)).status, 200);
}

#[test]
fn methods_that_a_client_makes_up_are_counted_as_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &[]);
    for method in ["FOO1", "FOO2"] {
        assert_eq!(server.request(&format!("{method} /healthz"), &[], b"").status, 405);
    }
    let metrics = server.request("GET /metrics", &[], b"").body;
    assert!(metrics.contains(r#"method="other",path="/healthz",status="405"} 2"#), "{metrics}");
    assert!(!metrics.contains("FOO1"), "{metrics}");
}

#[test]
fn what_a_client_only_announces_takes_no_room_from_others() {
    let data = tempfile::tempdir().unwrap();
    let limits = ["--body-bytes-max", "200000", "--all-bodies-bytes-max", "200000"];
    let server = Server::start(&quick_start(), data.path(), &limits);
    let _slow = begin_upload(&server, 190_000, 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.post(UPLOAD, &upload_of(150_000)).status, 200);
}

#[test]
fn an_answer_that_nobody_reads_counts_and_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let limits = ["--all-bodies-bytes-max", "1000000", "--body-pause-s-max", "2"];
    let server = Server::start(&quick_start(), data.path(), &limits);
    // More than the system keeps for a connection.
    let text = "p".repeat(4 << 20);
    let large = |id| point(id).replace(r#""string": "p""#, &format!(r#""string": "{text}""#));
    let uploaded = server.post(UPLOAD, &format!("[{}]", (0..8).map(large).collect::<Vec<_>>().join(",")));
    let position = uploaded.header("X-Vektonn-Position").unwrap();
    let search = r#"{"k": 8, "queryVectors": [{"coordinates": [1, 2]}]}"#;
    let head = format!(
        "POST {SEARCH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Vektonn-Min-Position: {position}\r\n\
         Content-Length: {}\r\n\r\n{search}",
        search.len()
    );
    let mut slow = TcpStream::connect(&server.address).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    slow.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let refused = server.post(SEARCH, search);
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("answers that clients have not read"), "{refused:?}");
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let status = server.post(SEARCH, &search.replace('8', "1")).status;
        if status == 200 {
            break;
        }
        assert_eq!(status, 429);
        assert!(Instant::now() < until, "there is room again");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn bodies_are_taken_as_other_servers_take_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &[]);
    let search = r#"{"k": 1, "queryVectors": [{"coordinates": [1, 2]}]}"#;
    let status = |header: (&str, &str), body: &str| {
        server.request(&format!("POST {SEARCH}"), &[header], body.as_bytes()).status
    };
    for content_type in ["application/json", "text/json; charset=utf-8", "application/problem+json"] {
        assert_eq!(status(("Content-Type", content_type), search), 200, "{content_type}");
    }
    assert_eq!(
        status(("Content-Type", "application/json"), &format!("\u{feff}{search}")),
        200,
        "a byte order mark"
    );
    assert_eq!(status(("Content-Type", "text/plain"), search), 415);
    let gzip = server.request(&format!("POST {SEARCH}"), &[("Content-Encoding", "gzip")], search.as_bytes());
    assert_eq!(gzip.status, 415);
    assert!(gzip.body.contains("gzip"), "{gzip:?}");
}

#[test]
fn a_client_that_stops_sending_does_not_hold_its_place_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let server =
        Server::start(&quick_start(), data.path(), &["--body-pause-s-max", "1", "--header-timeout-s", "1"]);
    let mut slow = begin_upload(&server, 100, 1);
    let mut answer = [0; 1000];
    let read = slow.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 408"));

    let mut silent = TcpStream::connect(&server.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    silent.write_all(b"POST ").unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
}

#[cfg(unix)]
fn terminate(server: &Server) {
    let sent = std::process::Command::new("kill").arg(server.process_id().to_string()).status().unwrap();
    assert!(sent.success());
    std::thread::sleep(Duration::from_millis(200));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(&quick_start(), data.path(), &[]);
    let _running = begin_upload(&server, 100, 10);
    std::thread::sleep(Duration::from_millis(200));
    terminate(&server);
    assert!(server.is_running(), "it waits for the request");
    let again = Instant::now();
    terminate(&server);
    assert!(server.wait().success());
    assert!(again.elapsed() < Duration::from_secs(10), "it waits no longer");
}

#[cfg(unix)]
#[test]
fn a_request_that_runs_when_the_server_is_told_to_stop_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(&quick_start(), data.path(), &[]);
    let body = format!("[{}]", point(1));
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body.as_bytes()[..10]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    terminate(&server);
    stream.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let started = Instant::now();
    assert!(server.wait().success());
    assert!(started.elapsed() < Duration::from_secs(10), "it stops soon after");
    drop(server);

    let server = Server::start(&quick_start(), data.path(), &[]);
    let response =
        server.request("GET /api/v1/indices/QuickStart.Index/1.0/shards/SingleShard/info", &[], b"");
    assert!(response.body.contains(r#""dataPointsCount":1"#), "{response:?}");
}

#[test]
fn the_documents_are_served() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&quick_start(), data.path(), &[]);
    let document = server.request("GET /swagger/v1/swagger.json", &[], b"");
    let document: serde_json::Value = serde_json::from_str(&document.body).unwrap();
    for path in
        ["/api/v1/search/{indexName}/{indexVersion}", "/api/v1/upload/{dataSourceName}/{dataSourceVersion}"]
    {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    let page = server.request("GET /index.html", &[], b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    for file in ["swagger-ui.css", "swagger-ui-bundle.js"] {
        assert_eq!(server.request(&format!("GET /{file}"), &[], b"").status, 200, "{file}");
    }
    let uploaded = server.post(UPLOAD, &format!("[{}]", point(1)));
    // The shard tells of a topic once it follows it.
    let position = uploaded.header("X-Vektonn-Position").unwrap();
    let headers = [("X-Vektonn-Min-Position", position), ("Content-Type", "application/json")];
    let search = br#"{"k": 1, "queryVectors": [{"coordinates": [1, 2]}]}"#;
    assert_eq!(server.request(&format!("POST {SEARCH}"), &headers, search).status, 200);
    let metrics = server.request("GET /metrics", &[], b"").body;
    for metric in [
        "vektonn_shard_points",
        "vektonn_http_requests_total",
        "vektonn_shard_lag_records",
        "vektonn_apply_seconds",
    ] {
        assert!(metrics.contains(metric), "{metric} is not in {metrics}");
    }
}
