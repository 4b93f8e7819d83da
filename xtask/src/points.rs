//! The points that the crash and fault checks upload, and reading them back.
//!
//! A point is a key and a version; both are coordinates of its vector, so a search for a point's own vector has
//! distance 0 only at that version of that key. The configuration is in `xtask/config`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::shell::root;

/// Two indices on one data source: one whole, one split by `bucket`.
pub(crate) const INDICES: [&str; 2] = ["Crash.Whole", "Crash.Split"];
const UPLOAD_PATH: &str = "/api/v1/upload/Crash.Source/1.0";
const BUCKETS: i64 = 4;
/// The version in a deletion's attributes; versions of points begin at 1.
const DELETED: i64 = 0;
const NEIGHBOURS: usize = 10;
const QUERIES_PER_SEARCH: usize = 200;

/// The versions found for each key: one, unless an index is broken.
pub(crate) type Found = BTreeMap<i64, Vec<i64>>;

/// A change of one point, as it can be recognised in a text that holds `text()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) key: i64,
    /// None: a deletion.
    pub(crate) version: Option<i64>,
}

impl Change {
    /// Whether the change leaves its text in the journal.
    pub(crate) fn is_upsert(&self) -> bool {
        self.version.is_some()
    }
}

/// Every change whose text stands in `bytes`, in order.
pub(crate) fn changes_in(bytes: &str) -> Vec<Change> {
    bytes.split("<point ").skip(1).filter_map(change).collect()
}

fn change(text: &str) -> Option<Change> {
    let (key, rest) = text.split_once(" version ")?;
    let (version, _) = rest.split_once('>')?;
    let version: i64 = version.parse().ok()?;
    Some(Change { key: key.parse().ok()?, version: (version != DELETED).then_some(version) })
}

/// The configuration directory that all functions here rely on.
pub(crate) fn config_dir() -> PathBuf {
    root().join("xtask/config")
}

/// An uploaded item: version `version` of the point `key`.
pub(crate) fn upsert(key: i64, version: i64) -> Value {
    json!({"attributes": attributes(key, version), "vector": vector(key, version)})
}

/// An uploaded item: the deletion of the point `key`.
pub(crate) fn delete(key: i64) -> Value {
    json!({"attributes": attributes(key, DELETED), "isDeleted": true})
}

/// What the keys are split and sharded by.
pub(crate) fn bucket(key: i64) -> i64 {
    key % BUCKETS
}

/// The text attribute, which makes a record recognisable in the journal's bytes.
fn text(key: i64, version: i64) -> String {
    format!("<point {key} version {version}>")
}

/// Uploads the items in one request.
pub(crate) fn upload(client: &Client, items: Vec<Value>) -> Result<Answer> {
    client.post(UPLOAD_PATH, &Value::Array(items))
}

/// Every point of the index, of which there are fewer than `k`.
pub(crate) fn all(client: &Client, index: &str, k: usize) -> Result<Found> {
    let mut found = Found::new();
    for point in search(client, index, k, &[vector(0, 0)])?.concat() {
        found.entry(point.key).or_default().push(point.version);
    }
    Ok(found)
}

/// The points among `expected` that a search for their own vector does not find first, at distance 0.
pub(crate) fn unfindable(client: &Client, index: &str, expected: &[(i64, i64)]) -> Result<Vec<i64>> {
    let mut unfindable = vec![];
    for chunk in expected.chunks(QUERIES_PER_SEARCH) {
        let queries: Vec<_> = chunk.iter().map(|&(key, version)| vector(key, version)).collect();
        for (&(key, version), nearest) in chunk.iter().zip(search(client, index, 1, &queries)?) {
            let is_found =
                nearest.first().is_some_and(|point| *point == Nearest { key, version, distance: 0.0 });
            if !is_found {
                unfindable.push(key);
            }
        }
    }
    Ok(unfindable)
}

/// Asks for the neighbours of the first version of a point.
pub(crate) fn search_near(client: &Client, index: &str, version: &str, key: i64) -> Result<Answer> {
    client.post(&format!("/api/v1/search/{index}/{version}"), &query(&[vector(key, 1)], NEIGHBOURS))
}

/// The same with a time budget in seconds.
pub(crate) fn search_within(client: &Client, index: &str, key: i64, seconds: &str) -> Result<Answer> {
    let query = query(&[vector(key, 1)], NEIGHBOURS);
    client.post_with(&format!("/api/v1/search/{index}/1.0"), &query, &[("Request-Timeout", seconds)])
}

/// The versions of the point that are found once the index has followed the log to the position.
pub(crate) fn search_after(
    client: &Client,
    index: &str,
    key: i64,
    position: &str,
    seconds: &str,
) -> Result<Vec<i64>> {
    let headers = [("X-Vektonn-Min-Position", position), ("Request-Timeout", seconds)];
    let query = query(&[vector(key, 1)], NEIGHBOURS);
    let answer = client.post_with(&format!("/api/v1/search/{index}/1.0"), &query, &headers)?;
    let found = found_by(&answer, 1)?.concat();
    Ok(found.into_iter().filter(|point| point.key == key).map(|point| point.version).collect())
}

/// Checks an answer to `search_near`: neighbours of different keys, the nearest first, with the distances they have.
pub(crate) fn check_near(answer: &Answer, key: i64) -> Result<()> {
    let found = found_by(answer, 1)?.concat();
    for point in &found {
        let distance = ((point.key - key).pow(2) + (point.version - 1).pow(2)) as f64;
        ensure!(point.distance == distance, "point {} at {}, not {distance}", point.key, point.distance);
    }
    ensure!(found.is_sorted_by(|a, b| a.distance <= b.distance), "not in order: {}", answer.body);
    let keys: BTreeSet<_> = found.iter().map(|point| point.key).collect();
    ensure!(keys.len() == found.len(), "a point twice: {}", answer.body);
    Ok(())
}

/// A query that only an index with a split by `bucket` takes.
pub(crate) fn filtered_by_bucket() -> Value {
    let mut query = query(&[vector(0, 1)], 1);
    query["splitFilter"] = json!([{"key": "bucket", "value": {"int64": 0}}]);
    query
}

#[derive(Clone, PartialEq)]
struct Nearest {
    key: i64,
    version: i64,
    distance: f64,
}

fn search(client: &Client, index: &str, k: usize, queries: &[Value]) -> Result<Vec<Vec<Nearest>>> {
    let answer = client.post(&format!("/api/v1/search/{index}/1.0"), &query(queries, k))?;
    found_by(&answer, queries.len()).with_context(|| format!("a search in {index}"))
}

fn query(queries: &[Value], k: usize) -> Value {
    json!({"queryVectors": queries, "k": k, "retrieveVectors": false})
}

fn found_by(answer: &Answer, queries: usize) -> Result<Vec<Vec<Nearest>>> {
    ensure!(answer.status == 200, "it answers {}: {}", answer.status, answer.body);
    let results: Vec<Value> = serde_json::from_str(&answer.body).context("a search's answer")?;
    ensure!(results.len() == queries, "{} results for {queries} query vectors", results.len());
    results.iter().map(nearest_points).collect()
}

fn nearest_points(result: &Value) -> Result<Vec<Nearest>> {
    let Some(points) = result["nearestDataPoints"].as_array() else {
        bail!("a search result without nearestDataPoints: {result}");
    };
    points.iter().map(|point| nearest(point).with_context(|| format!("a found point: {point}"))).collect()
}

fn nearest(point: &Value) -> Option<Nearest> {
    let attributes = point["attributes"].as_array()?;
    let int64 = |key| attributes.iter().find(|attribute| attribute["key"] == key)?["value"]["int64"].as_i64();
    Some(Nearest { key: int64("id")?, version: int64("version")?, distance: point["distance"].as_f64()? })
}

fn attributes(key: i64, version: i64) -> Value {
    json!([
        {"key": "id", "value": {"int64": key}},
        {"key": "bucket", "value": {"int64": bucket(key)}},
        {"key": "version", "value": {"int64": version}},
        {"key": "text", "value": {"string": text(key, version)}},
    ])
}

fn vector(key: i64, version: i64) -> Value {
    json!({"isSparse": false, "coordinates": [key, version, -0.5, 1.25]})
}
