//! What README.md tells a new user to do works as it stands there.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Server;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

#[test]
fn its_requests_upload_a_point_and_find_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&root().join("examples/quick-start"), data.path(), &[]);
    let readme = readme();
    let requests: Vec<(&str, &str)> = readme
        .split("curl http://127.0.0.1:8081")
        .skip(1)
        .map(|command| {
            let (path, rest) = command.split_once(' ').unwrap();
            let (_, body) = rest.split_once("-d '").unwrap();
            (path, body.split_once('\'').unwrap().0)
        })
        .collect();
    let [(upload, points), (search, query)] = requests[..] else { panic!("{requests:?}") };
    let uploaded = server.post(upload, points);
    let position = uploaded.header("X-Vektonn-Position").unwrap();
    let found =
        server.request(&format!("POST {search}"), &[("X-Vektonn-Min-Position", position)], query.as_bytes());
    let found: Value = serde_json::from_str(&found.body).unwrap();
    let nearest = &found[0]["nearestDataPoints"];
    assert_eq!(nearest.as_array().unwrap().len(), 1, "{found}");
    assert!(nearest[0]["attributes"].to_string().contains(r#""first""#), "{found}");
}

#[test]
fn its_algorithm_serves() {
    let readme = readme();
    let yaml = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let index = format!(
        "dataSourceId: {{name: Source, version: 1.0}}\nidAttributes: [id]\nshardsById: {{All: {{}}}}\n{yaml}"
    );
    let source = "{vectorDimension: 2, vectorsAreSparse: false, attributeValueTypes: {id: Int64}, permanentAttributes: [id]}";
    let (config, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (path, text) in [("data-sources/Source/1.0.yaml", source), ("indices/Index/1.0.yaml", &index)] {
        let path = config.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Server::start(config.path(), data.path(), &[]);
}

/// It is an example that compiles.
#[test]
fn its_program_is_an_example() {
    let program = fs::read_to_string(root().join("vektonn-index/examples/first_search.rs")).unwrap();
    let (_, program) = program.split_once("\n\n").unwrap();
    assert!(readme().contains(&format!("```rust\n{program}```")), "{program}");
}

#[test]
fn its_table_names_every_algorithm() {
    let readme = readme();
    // The refusal of an unknown name lists them all.
    let refusal = vektonn_core::Algorithm::parse("", &[]).unwrap_err().to_string();
    let (_, names) = refusal.split_once("expected one of ").unwrap();
    for name in names.split(", ") {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
