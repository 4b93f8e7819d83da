//! One process that asks others, all of them in this one, over a data source that they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::Parser;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use vektonn_core::{IndexId, Position, TopicPosition};
use vektonn_kafka::{DataSource, MemoryDataSource};

use crate::app::Role;
use crate::cli::verify::VerifyArgs;
use crate::limits::Limits;
use crate::remote::{RemoteClient, RemoteShard};
use crate::server::{self, RunningServer, ServeOptions, SourceOptions};

const DATA_SOURCE: &str = "
vectorDimension: 2
vectorsAreSparse: false
attributeValueTypes: {Id: Int64, Side: Bool, Name: String}
permanentAttributes: [Id, Side]
";
const INDEX: &str = "
dataSourceId: {name: Places, version: 1.0}
indexAlgorithm: {type: FaissIndex.L2}
idAttributes: [Id]
splitAttributes: [Side]
shardsById:
  Left: {shardsByAttributeKey: {Side: {numberOfShards: 2, shardValues: [0]}}}
  Right: {shardsByAttributeKey: {Side: {numberOfShards: 2, shardValues: [1]}}}
";
const UPLOAD: &str = "api/v1/upload/Places/1.0";
const SEARCH: &str = "api/v1/search/Places.L2/1.0";

/// A configuration directory, a data source, and the processes on them.
struct System {
    directory: TempDir,
    source: Arc<dyn DataSource>,
    http: reqwest::Client,
}

struct Process {
    url: String,
    running: RunningServer,
}

impl System {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "data-sources/Places/1.0.yaml", DATA_SOURCE);
        write(directory.path(), "indices/Places.L2/1.0.yaml", INDEX);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { directory, source: Arc::new(MemoryDataSource::new()), http }
    }

    fn write(&self, file: &str, text: &str) {
        write(self.directory.path(), file, text);
    }

    async fn start(&self, role: Role) -> Process {
        let options = ServeOptions {
            config: self.directory.path().to_owned(),
            role,
            source: SourceOptions::Open { source: Arc::clone(&self.source), vectors: None },
            address: ("127.0.0.1".to_owned(), 0),
            limits: Limits::default(),
        };
        let running = server::start(options).await.unwrap();
        let process = Process { url: format!("http://{}", running.local_addr), running };
        self.eventually("ready", async || self.get(&process, "readyz").await.status() == 200).await;
        process
    }

    async fn shard(&self, shard_id: &str) -> Process {
        let index = IndexId::new("Places.L2", "1.0");
        self.start(Role::IndexShard { index, shard_id: shard_id.to_owned() }).await
    }

    fn write_topology(&self, left: &[&str], right: &[&str]) {
        let text = format!("Places.L2:\n  1.0: {{Left: {left:?}, Right: {right:?}}}\n");
        self.write("index-shards-topology.yaml", &text);
    }

    /// An API on a process for each shard.
    async fn distributed(&self) -> (Process, Process, Process) {
        let (left, right) = (self.shard("Left").await, self.shard("Right").await);
        self.write_topology(&[left.address()], &[right.address()]);
        (self.start(Role::Api).await, left, right)
    }

    async fn get(&self, process: &Process, path: &str) -> Response {
        self.http.get(format!("{}/{path}", process.url)).send().await.unwrap()
    }

    async fn post(&self, process: &Process, path: &str, body: &Value) -> Response {
        self.http.post(format!("{}/{path}", process.url)).json(body).send().await.unwrap()
    }

    /// Uploads points (id, side, coordinate), and tells the position of the log.
    async fn upload(&self, process: &Process, points: &[(i64, bool, f64)]) -> String {
        let points: Vec<_> = points
            .iter()
            .map(|(id, side, x)| {
                json!({
                    "attributes": [
                        {"key": "Id", "value": {"int64": id}}, {"key": "Side", "value": {"bool": side}},
                        {"key": "Name", "value": {"string": format!("place {id}")}}
                    ],
                    "vector": {"isSparse": false, "coordinates": [x, 0.5]}
                })
            })
            .collect();
        let response = self.post(process, UPLOAD, &json!(points)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.headers()["X-Vektonn-Position"].to_str().unwrap().to_owned()
    }

    async fn search_at(&self, process: &Process, body: &Value, position: &str) -> Response {
        let request = self.http.post(format!("{}/{SEARCH}", process.url)).json(body);
        request.header("X-Vektonn-Min-Position", position).send().await.unwrap()
    }

    async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds().await {
            assert!(Instant::now() < until, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Process {
    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

fn write(base: &Path, file: &str, text: &str) {
    let path = base.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn query(k: usize) -> Value {
    json!({"queryVectors": [{"coordinates": [1.25, 0]}, {"coordinates": [-7, 0]}], "k": k})
}

fn ids(results: &Value) -> Vec<i64> {
    let found = results[0]["nearestDataPoints"].as_array().unwrap();
    found.iter().map(|found| found["attributes"][0]["value"]["int64"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_other_processes_answer_as_those_of_one_process() {
    let system = System::new();
    let whole = system.start(Role::Whole).await;
    let (api, _left, _right) = system.distributed().await;
    // Some of the distances are equal.
    let points: Vec<_> = (0..40).map(|id| (id, id % 3 == 0, f64::from(id as i32 / 4) * 0.1)).collect();
    let position = system.upload(&api, &points).await;
    let mut queries = vec![query(1), query(7), query(100)];
    queries.push(json!({"queryVectors": [{"coordinates": [0.3, 0]}], "k": 9, "retrieveVectors": false}));
    let filter = json!([{"key": "Side", "value": {"bool": true}}]);
    queries.push(json!({"queryVectors": [{"coordinates": [0.3, 0]}], "k": 9, "splitFilter": filter}));
    for query in queries {
        let [one, other] = [&api, &whole].map(|process| system.search_at(process, &query, &position));
        let (one, other) = (one.await.text().await.unwrap(), other.await.text().await.unwrap());
        assert!(one.contains("nearestDataPoints"), "{one}");
        assert_eq!(one, other, "for {query}");
    }
    let response = system.post(&api, SEARCH, &json!({"queryVectors": [{"coordinates": [1]}], "k": 1})).await;
    assert_eq!(response.status(), 400);
    let listed: Value = system.get(&api, "api/v1/indices").await.json().await.unwrap();
    assert_eq!(listed[0]["shards"][0]["state"], "answers");
    assert_eq!(listed[0]["shards"][0]["dataPointsCount"], 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shard_is_named_or_left_out() {
    let system = System::new();
    let (api, left, right) = system.distributed().await;
    let position = system.upload(&api, &[(1, false, 1.0), (2, true, 2.0)]).await;
    assert_eq!(ids(&system.search_at(&api, &query(5), &position).await.json().await.unwrap()), [1, 2]);
    let partial = format!("{SEARCH}?partial=allow");
    assert_eq!(system.post(&api, &partial, &query(5)).await.headers()["X-Vektonn-Coverage"], "shards=2/2");

    right.running.shutdown().await;
    let response = system.post(&api, SEARCH, &query(5)).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("Retry-After"));
    let message = response.text().await.unwrap();
    assert!(message.contains("Shard 'Right' of index"), "{message}");
    let ping: Value = system.get(&api, "_status/ping").await.json().await.unwrap();
    assert_eq!(ping, json!({"Status": "Warn"}));
    let readiness: Value = system.get(&api, "readyz").await.json().await.unwrap();
    assert_eq!(
        [&readiness["shards"][0]["state"], &readiness["shards"][1]["state"]],
        ["answers", "does not answer"]
    );

    let response = system.post(&api, &partial, &query(5)).await;
    assert_eq!(response.headers()["X-Vektonn-Coverage"], "shards=1/2");
    assert_eq!(ids(&response.json().await.unwrap()), [1]);
    // A shard whose rule excludes the filter is not asked.
    let filter = json!([{"key": "Side", "value": {"bool": false}}]);
    let left_only = json!({"queryVectors": [{"coordinates": [1, 1]}], "k": 5, "splitFilter": filter});
    assert_eq!(system.post(&api, SEARCH, &left_only).await.status(), 200);

    left.running.shutdown().await;
    assert_eq!(system.post(&api, &partial, &query(5)).await.status(), 503);
    assert_eq!(system.post(&api, &format!("{SEARCH}?partial=yes"), &query(5)).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_answers_for_one_that_is_gone() {
    let system = System::new();
    let (api, left, right) = system.distributed().await;
    let position = system.upload(&api, &[(1, false, 1.0), (2, true, 2.0)]).await;
    let replica = system.shard("Right").await;
    system.write_topology(&[left.address()], &[right.address(), replica.address()]);
    let endpoints = async || {
        let listed: Value = system.get(&api, "api/v1/indices").await.json().await.unwrap();
        listed[0]["shards"][1]["endpoints"].as_array().map(Vec::len)
    };
    system.eventually("the new endpoint is known", async || endpoints().await == Some(2)).await;
    right.running.shutdown().await;
    for _ in 0..20 {
        let response = system.search_at(&api, &query(5), &position).await;
        assert_eq!(response.status(), 200);
        assert_eq!(ids(&response.json().await.unwrap()), [1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_does_not_answer_costs_no_more_than_the_time_budget() {
    let system = System::new();
    let (left, hanging) = (system.shard("Left").await, TcpListener::bind("127.0.0.1:0").unwrap());
    system.write_topology(&[left.address()], &[&hanging.local_addr().unwrap().to_string()]);
    let api = system.start(Role::Api).await;
    let started = Instant::now();
    let request = system.http.post(format!("{}/{SEARCH}", api.url)).json(&query(1));
    let response = request.header("Request-Timeout", "0.5").send().await.unwrap();
    assert_eq!(response.status(), 504);
    assert!(response.text().await.unwrap().contains("Shard 'Right'"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_has_too_little_time_says_nothing_of_its_shards() {
    let system = System::new();
    let (api, _left, _right) = system.distributed().await;
    let position: Position = system.upload(&api, &[(1, false, 1.0), (2, true, 2.0)]).await.parse().unwrap();
    let mut never = Position::new();
    for (topic, at) in position.iter() {
        never.set(topic, TopicPosition { next_offset: at.next_offset + 1_000_000, ..at });
    }
    for budget in ["0.5", "0.02"] {
        let request = system.http.post(format!("{}/{SEARCH}", api.url)).json(&query(1));
        let request = request.header("X-Vektonn-Min-Position", never.to_string());
        let response = request.header("Request-Timeout", budget).send().await.unwrap();
        assert_eq!(response.status(), 504, "{budget}");
    }
    let ping: Value = system.get(&api, "_status/ping").await.json().await.unwrap();
    assert_eq!(ping, json!({"Status": "Ok"}));
}

/// Answers all requests with this, and tells of those with a body what they were.
fn answer_all(listener: TcpListener, body: String) -> mpsc::Receiver<String> {
    let (send, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !(text.ends_with('}') || text.starts_with("GET ") && text.ends_with("\r\n\r\n")) {
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "the request breaks off: {text}");
                text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
            if text.starts_with("POST ") && send.send(text).is_err() {
                return;
            }
        }
    });
    requests
}

#[tokio::test]
async fn a_shard_is_checked_without_searches() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (stream, status) in listener.incoming().zip([503, 200]) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    let client = RemoteClient::new().unwrap();
    let shard = RemoteShard::new(client, IndexId::new("Places.L2", "1.0"), "Left", &[endpoint]);
    assert!(shard.is_healthy(), "as long as nobody knows better");
    shard.check().await;
    assert!(!shard.is_healthy());
    shard.check().await;
    assert!(shard.is_healthy());
    // It has just answered: it is not asked again.
    shard.check().await;
    assert!(shard.is_healthy());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_process_documents_its_own_routes() {
    let system = System::new();
    let (api, left, _right) = system.distributed().await;
    let paths = async |process: &Process| -> Vec<String> {
        let document: Value = system.get(process, "swagger/v1/swagger.json").await.json().await.unwrap();
        document["paths"].as_object().unwrap().keys().cloned().collect()
    };
    let (of_api, of_shard) = (paths(&api).await, paths(&left).await);
    assert!(of_api.iter().any(|path| path.starts_with("/api/v1/search/")), "{of_api:?}");
    assert!(!of_api.iter().any(|path| path.contains("/shards/")), "{of_api:?}");
    assert!(of_shard.contains(&"/api/v1/search".to_owned()), "{of_shard:?}");
    assert!(!of_shard.iter().any(|path| path.starts_with("/api/v1/upload/")), "{of_shard:?}");
    assert!(of_api.contains(&"/readyz".to_owned()) && of_shard.contains(&"/metrics".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_shard_is_not_configured_any_more_tells_it_and_serves_on() {
    let system = System::new();
    let right = system.shard("Right").await;
    system.write("indices/Places.L2/1.0.yaml", &INDEX.replace("Right", "Other"));
    let problems = async || {
        let readiness: Value = system.get(&right, "readyz").await.json().await.unwrap();
        readiness["configurationProblems"].to_string()
    };
    system
        .eventually("it is told", async || problems().await.contains("has no shard 'Right', but Left, Other"))
        .await;
    assert_eq!(system.post(&right, "api/v1/search", &query(1)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_shard_is_asked_and_understood() {
    let system = System::new();
    let (left, published) = (system.shard("Left").await, TcpListener::bind("127.0.0.1:0").unwrap());
    system.write_topology(&[left.address()], &[&published.local_addr().unwrap().to_string()]);
    let api = system.start(Role::Api).await;
    let position = system.upload(&api, &[(5, false, 1.0)]).await;
    // Equal distances in another order, floats widened to doubles.
    let found = |id: i32, distance: &str| {
        format!(
            r#"{{"vector":{{"isSparse":false,"coordinates":[0.10000000149011612,0.5]}},"attributes":[
            {{"key":"Id","value":{{"int64":{id}}}}},{{"key":"Side","value":{{"bool":true}}}},
            {{"key":"Name","value":{{"string":"x"}}}}],"distance":{distance}}}"#
        )
    };
    let (a, b) = (found(9, "0.10000000149011612"), found(3, "0.10000000149011612"));
    let answer = format!(
        r#"[{{"queryVector":{{"isSparse":false,"coordinates":[1,0]}},"nearestDataPoints":[{a},{b}]}}]"#
    );
    let requests = answer_all(published, answer);
    let query = json!({"queryVectors": [{"coordinates": [1, 0]}], "k": 3});
    let results: Value = system.search_at(&api, &query, &position).await.json().await.unwrap();
    assert_eq!(ids(&results), [3, 9, 5]);
    assert_eq!(results[0]["nearestDataPoints"][0]["distance"], 0.1);
    assert_eq!(results[0]["nearestDataPoints"][0]["vector"]["coordinates"][0], 0.1);

    let request = requests.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/v1/search HTTP/1.1"), "{head}");
    assert!(head.to_ascii_lowercase().contains("request-timeout: "), "{head}");
    let expected = r#"{"splitFilter":[],"queryVectors":[{"isSparse":false,"coordinates":[1.0,0.0]}],"k":3,"retrieveVectors":true}"#;
    assert_eq!(body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_files_are_picked_up_while_serving() {
    let system = System::new();
    let whole = system.start(Role::Whole).await;
    let position = system.upload(&whole, &[(1, false, 1.0), (2, true, 2.0)]).await;
    let listed = async || -> Value { system.get(&whole, "api/v1/indices").await.json().await.unwrap() };
    let problems = async || -> Value {
        let readiness: Value = system.get(&whole, "readyz").await.json().await.unwrap();
        readiness["configurationProblems"].clone()
    };

    // A second version beside the first one.
    system.write("indices/Places.L2/2.0.yaml", &INDEX.replace("FaissIndex.L2", "FaissIndex.IP"));
    system
        .eventually("a new version is listed", async || listed().await.as_array().unwrap().len() == 2)
        .await;
    let request = system.http.post(format!("{}/api/v1/search/Places.L2/2.0", whole.url)).json(&query(5));
    let request = request.header("X-Vektonn-Min-Position", &position);
    system
        .eventually("the new version serves", async || {
            request.try_clone().unwrap().send().await.unwrap().status() == 200
        })
        .await;

    // A broken file changes nothing and is told.
    system.write("indices/Places.L2/1.0.yaml", "idAttributes: 7");
    system.eventually("the broken file is reported", async || problems().await.is_array()).await;
    assert!(problems().await[0].as_str().unwrap().contains("1.0.yaml"));
    assert_eq!(system.search_at(&whole, &query(5), &position).await.status(), 200);

    // So does a data source that would not fit its log any more.
    system.write("data-sources/Places/1.0.yaml", &DATA_SOURCE.replace("Dimension: 2", "Dimension: 3"));
    system
        .eventually("the changed data source is refused", async || {
            problems().await.to_string().contains("must not change")
        })
        .await;
    assert_eq!(system.search_at(&whole, &query(5), &position).await.status(), 200);
    system.write("data-sources/Places/1.0.yaml", DATA_SOURCE);

    // A changed index is built beside the old one, and no search fails meanwhile.
    system.write(
        "indices/Places.L2/1.0.yaml",
        &INDEX.replace("[Id]", "[Id, Side]").replace("splitAttributes: [Side]", ""),
    );
    system
        .eventually("the changed index serves", async || {
            assert_eq!(system.search_at(&whole, &query(5), &position).await.status(), 200);
            listed().await[0]["splitAttributes"] == json!([])
        })
        .await;
    assert_eq!(problems().await, Value::Null);

    // Nor does a volume that goes and comes back take an index with it.
    let indices = system.directory.path().join("indices");
    let elsewhere = system.directory.path().join("elsewhere");
    fs::rename(&indices, &elsewhere).unwrap();
    system
        .eventually("the missing directory is reported", async || {
            problems().await.to_string().contains("No such file")
        })
        .await;
    assert_eq!(system.search_at(&whole, &query(5), &position).await.status(), 200);
    fs::rename(&elsewhere, &indices).unwrap();
    system.eventually("it is back", async || problems().await == Value::Null).await;
    assert_eq!(system.search_at(&whole, &query(5), &position).await.status(), 200);

    fs::remove_file(system.directory.path().join("indices/Places.L2/2.0.yaml")).unwrap();
    system.eventually("a version goes", async || listed().await.as_array().unwrap().len() == 1).await;
    assert_eq!(system.post(&whole, "api/v1/search/Places.L2/2.0", &query(1)).await.status(), 404);
    whole.running.shutdown().await;
}

#[derive(clap::Parser)]
struct VerifyCommand {
    #[command(flatten)]
    args: VerifyArgs,
}

async fn verify(args: &[&str]) -> anyhow::Result<()> {
    let command = VerifyCommand::parse_from([&["verify"], args].concat());
    crate::cli::verify::run(command.args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_hold_the_same_are_told_from_others() {
    let system = System::new();
    let (api, left, right) = system.distributed().await;
    let replica = system.shard("Right").await;
    let position = system.upload(&api, &[(1, false, 1.0), (2, true, 2.0), (3, true, 3.0)]).await;
    system.upload(&api, &[(3, true, 4.0)]).await;
    assert_eq!(system.search_at(&api, &query(5), &position).await.status(), 200);
    let error = verify(&[&api.url]).await.unwrap_err();
    assert!(error.to_string().contains("nothing was compared"), "its shards have one process each: {error}");
    verify(&[&api.url, &replica.url]).await.unwrap();
    verify(&[&left.url, &right.url, &replica.url]).await.unwrap();

    let without_splits = System { source: Arc::clone(&system.source), ..System::new() };
    without_splits.write("indices/Places.L2/1.0.yaml", &INDEX.replace("splitAttributes: [Side]", ""));
    let odd_right = without_splits.shard("Right").await;
    let error = verify(&[&right.url, &odd_right.url]).await.unwrap_err();
    assert!(error.to_string().contains("not all shards"), "{error}");

    let other = System::new();
    let other_right = other.shard("Right").await;
    let whole = other.start(Role::Whole).await;
    other.upload(&whole, &[(2, true, 2.0), (3, true, 3.5)]).await;
    other
        .eventually("the shard has both points", async || {
            let info: Value = other.get(&other_right, "api/v1/info").await.json().await.unwrap();
            info["dataPointsCount"] == 2
        })
        .await;
    let error = verify(&[&right.url, &other_right.url]).await.unwrap_err();
    assert!(error.to_string().contains("follows another topic"), "{error}");
    assert!(verify(&["http://127.0.0.1:1"]).await.is_err());
}
