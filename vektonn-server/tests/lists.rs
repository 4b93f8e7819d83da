//! What a server tells about itself.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::path::Path;

use common::Server;
use serde_json::{Value, json};

const POINT: &str = r#"[{"attributes": [{"key": "id", "value": {"int64": 1}}, {"key": "payload", "value": {"string": "p"}}],
    "vector": {"isSparse": false, "coordinates": [1.5, 0.5]}}]"#;

fn get(server: &Server, path: &str) -> Value {
    let response = server.request(&format!("GET {path}"), &[], b"");
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_str(&response.body).unwrap()
}

#[test]
fn lists_readiness_metrics_and_the_open_api_document_describe_the_server() {
    let data = tempfile::tempdir().unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quick-start");
    let server = Server::start(&config, data.path(), &[]);
    let uploaded = server.post("/api/v1/upload/QuickStart.Source/1.0", POINT);
    let headers = [("X-Vektonn-Min-Position", uploaded.header("X-Vektonn-Position").unwrap())];
    let search = br#"{"k": 1, "queryVectors": [{"coordinates": [1, 2]}]}"#;
    assert_eq!(server.request("POST /api/v1/search/QuickStart.Index/1.0", &headers, search).status, 200);

    let mut indices = get(&server, "/api/v1/indices");
    let shard = &mut indices[0]["shards"][0];
    assert!(shard["bytes"].take().as_u64().unwrap() > 0);
    assert!(shard["instructionSet"].take().is_string());
    assert_eq!(
        indices,
        json!([{
            "name": "QuickStart.Index", "version": "1.0",
            "dataSourceName": "QuickStart.Source", "dataSourceVersion": "1.0",
            "indexAlgorithm": "FaissIndex.L2", "searchesExactly": true,
            "idAttributes": ["id"], "splitAttributes": [],
            "shards": [{
                "id": "SingleShard", "state": "ready", "dataPointsCount": 1, "splitsCount": 1, "bytes": null,
                "lagRecords": 0, "lagSeconds": 0.0, "badRecords": 0, "instructionSet": null
            }]
        }])
    );
    let sources = get(&server, "/api/v1/data-sources");
    assert_eq!(sources[0]["name"], "QuickStart.Source");
    assert_eq!(sources[0]["attributeValueTypes"]["id"], "Int64");

    let readiness = get(&server, "/readyz");
    assert_eq!(readiness["shards"][0]["ready"], true);
    assert_eq!(readiness["uploadsRefused"], Value::Null);
    assert_eq!(get(&server, "/_status/ping"), json!({"Status": "Ok"}));

    let document = get(&server, "/swagger/v1/swagger.json");
    for path in
        ["/api/v1/search/{indexName}/{indexVersion}", "/api/v1/upload/{dataSourceName}/{dataSourceVersion}"]
    {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    let metrics = server.request("GET /metrics", &[], b"").body;
    let labels = r#"index="QuickStart.Index",version="1.0",shard="SingleShard""#;
    assert!(metrics.contains(&format!("vektonn_shard_points{{{labels}}} 1")), "{metrics}");
    assert!(metrics.contains("vektonn_search_seconds_count"), "{metrics}");
}
