//! One search over all shards of an index that may hold something: plan, fan out, merge.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderValue;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use rayon::prelude::*;
use vektonn_core::{
    Attribute, FoundDataPoint, IndexMeta, Metric, SearchQuery, VectorKind, codec, merge_sorted,
};
use vektonn_index::SearchError;
use vektonn_index::shard::Shard;
use vektonn_kafka::lifecycle::{ShardFollower, WaitError};

use crate::app::App;
use crate::dto::{self, SearchResult};
use crate::error::{ApiError, json_bytes};
use crate::request::Terms;
use crate::search_pool::Size;
use crate::served::{ServedIndex, ServedShard};
use crate::telemetry;

/// How many of the asked shards gave the answer, if the request allows that some do not.
const COVERAGE: &str = "X-Vektonn-Coverage";

/// All points together; they are read in about half a millisecond. A shard searches no fewer on several threads.
const SMALL_SHARD_COORDINATES: usize = 4 << 20;

/// As many coordinates as a sparse vector has at most, usually.
const SPARSE_COORDINATES: usize = 1_024;

/// A shard that can be searched, or has been.
enum Part {
    /// In this process, as it serves now.
    Shard(Arc<Shard>),
    /// What another process answered.
    Answer(Bytes),
}

/// How an answer is written.
type Write = fn(&[SearchResult]) -> serde_json::Result<Vec<u8>>;

/// One result for each query vector.
pub(crate) fn write_all(results: &[SearchResult]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(results)
}

/// What one shard found: a list for each query vector.
type Found = Vec<Vec<FoundDataPoint>>;

/// Searches the shards of an index, and answers.
///
/// # Errors
/// 503 naming a shard that does not serve, 504 if the time is up. With partial answers allowed, only if no shard serves.
pub(crate) async fn search(
    app: &App,
    index: &ServedIndex,
    query: SearchQuery,
    terms: &Terms,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let shards = index.meta.shards().iter().filter(|(_, shard)| shard.may_hold(&query.split_filter));
    let shards: Vec<_> = shards.filter_map(|(id, _)| index.shards.get(id)).collect();
    let parts = parts(&shards, &query, terms).await;
    let asked = parts.len();
    let parts = if terms.partial { some_of(parts)? } else { parts.into_iter().collect::<Result<_, _>>()? };
    let answered = parts.len();
    let meta = Arc::clone(&index.meta);
    let mut response = finish(app, meta, parts, query, terms, write_all).await?;
    telemetry::note_search(index.meta.id(), started);
    if terms.partial
        && let Ok(coverage) = HeaderValue::try_from(format!("shards={answered}/{asked}"))
    {
        response.headers_mut().insert(COVERAGE, coverage);
    }
    Ok(response)
}

/// Searches one shard of this process, and answers.
pub(crate) async fn search_one(
    app: &App,
    follower: &ShardFollower,
    query: SearchQuery,
    terms: &Terms,
    write: Write,
) -> Result<Response, ApiError> {
    let shard = serving(follower, terms).await?;
    let meta = Arc::clone(shard.meta());
    finish(app, meta, vec![Part::Shard(shard)], query, terms, write).await
}

/// Asks other processes, and makes sure that the shards of this one serve.
async fn parts(shards: &[&ServedShard], query: &SearchQuery, terms: &Terms) -> Vec<Result<Part, ApiError>> {
    let is_remote = |shard: &&&ServedShard| matches!(shard, ServedShard::Remote(_));
    let body = match shards.iter().find(is_remote) {
        Some(_) => serde_json::to_vec(&dto::SearchQuery::from(query.clone())).unwrap_or_default(),
        None => Vec::new(),
    };
    let body = Bytes::from(body);
    let part = async |shard: &ServedShard| match shard {
        ServedShard::Local(follower) => serving(follower, terms).await.map(Part::Shard),
        ServedShard::Remote(remote) => {
            remote.search(body.clone(), &terms.min_position, terms.deadline).await.map(Part::Answer)
        }
    };
    match shards {
        [shard] => vec![part(shard).await],
        shards => join_all(shards.iter().map(|shard| part(shard))).await,
    }
}

/// The parts there are, if there are any or none is needed.
fn some_of(parts: Vec<Result<Part, ApiError>>) -> Result<Vec<Part>, ApiError> {
    let (mut there, mut failed) = (Vec::new(), None);
    for part in parts {
        match part {
            Ok(part) => there.push(part),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if there.is_empty() => Err(error),
        _ => Ok(there),
    }
}

/// A follower's shard, if it serves and has applied the log up to the position asked for.
pub(crate) async fn serving(follower: &ShardFollower, terms: &Terms) -> Result<Arc<Shard>, ApiError> {
    let (shard_id, index_id) = (follower.shard_id(), follower.index_id());
    if !follower.is_serving() {
        let state = follower.state();
        return Err(ApiError::unavailable(format!(
            "Shard '{shard_id}' of index {index_id} does not serve: it is {state}"
        )));
    }
    if !terms.min_position.is_empty() {
        follower.wait_for(&terms.min_position, terms.deadline).await.map_err(|error| {
            let message = format!("Shard '{shard_id}' of index {index_id}: {error}");
            match error {
                WaitError::Deadline { .. } => ApiError::timeout(message),
                WaitError::Stopping => ApiError::unavailable(message),
            }
        })?;
    }
    Ok(follower.shard())
}

/// Searches what is left to search, merges and writes the answer, in its turn.
async fn finish(
    app: &App,
    meta: Arc<IndexMeta>,
    parts: Vec<Part>,
    query: SearchQuery,
    terms: &Terms,
    write: Write,
) -> Result<Response, ApiError> {
    let deadline = terms.deadline;
    let size = size(&meta, &parts, &query);
    let work = move || {
        let find = |part: &Part| match part {
            Part::Shard(shard) => shard.search(&query, Some(deadline)).map_err(ApiError::from),
            Part::Answer(body) => read_answer(&meta, &query, body),
        };
        let found = match parts.as_slice() {
            [] => query.query_vectors.iter().map(|_| Vec::new()).collect(),
            [part] => find(part)?,
            parts => merge(&meta, parts.par_iter().map(find).collect::<Result<_, _>>()?, query.k),
        };
        let results = dto::search_results(query.query_vectors, found);
        write(&results).map_err(|error| ApiError::internal(format!("Cannot write the answer: {error}")))
    };
    app.search_pool.run(deadline, size, work).await?.map(|bytes| json_bytes(app.bodies.answer(bytes)))
}

/// How much work is left: small is one query vector for one shard of few numbers, or none.
fn size(meta: &IndexMeta, parts: &[Part], query: &SearchQuery) -> Size {
    let dimension = meta.data_source().dimension();
    let coordinates = match meta.data_source().vector_kind() {
        VectorKind::Dense => dimension,
        VectorKind::Sparse => dimension.min(SPARSE_COORDINATES),
    };
    match parts {
        [] => Size::Small,
        [Part::Shard(shard)]
            if query.query_vectors.len() <= 1
                && shard.len().saturating_mul(coordinates) <= SMALL_SHARD_COORDINATES =>
        {
            Size::Small
        }
        _ => Size::Large,
    }
}

fn read_answer(meta: &IndexMeta, query: &SearchQuery, body: &[u8]) -> Result<Found, ApiError> {
    let unreadable = |why: &dyn std::fmt::Display| {
        ApiError::unavailable(format!("A shard of index {} answered what cannot be read: {why}", meta.id()))
    };
    let mut found = dto::parse_search_results(body).map_err(|error| unreadable(&error))?;
    if found.len() != query.query_vectors.len() {
        return Err(unreadable(&format_args!(
            "{} lists for {} query vectors",
            found.len(),
            query.query_vectors.len()
        )));
    }
    let attributes = meta.index_id_keys().len() + meta.split_keys().len();
    if found.iter().flatten().any(|found| found.attributes.len() < attributes) {
        return Err(unreadable(&"a data point lacks attributes"));
    }
    // The published shards order equal distances in their own way.
    for list in &mut found {
        list.sort_by_cached_key(|found| order_key(meta, found));
    }
    Ok(found)
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::DeadlineExceeded => {
                Self::timeout("The search did not finish within Request-Timeout")
            }
            SearchError::Vector(error) => Self::bad_request(error.to_string()),
        }
    }
}

/// Merges the lists of several shards for each query vector.
fn merge(meta: &IndexMeta, by_shard: Vec<Found>, k: usize) -> Found {
    let mut by_query: Vec<Vec<Vec<_>>> = Vec::new();
    for of_shard in by_shard {
        by_query.resize_with(of_shard.len(), Vec::new);
        for (lists, list) in by_query.iter_mut().zip(of_shard) {
            lists.push(list.into_iter().map(|found| (order_key(meta, &found), found)).collect());
        }
    }
    let merge_one = |lists| {
        let merged = merge_sorted(lists, k, |(a, _): &(OrderKey, FoundDataPoint), (b, _)| a.cmp(b));
        merged.into_iter().map(|(_, found)| found).collect()
    };
    by_query.into_iter().map(merge_one).collect()
}

/// The total order of an index's points: nearest first, then by index id, then by split.
#[derive(PartialEq)]
struct OrderKey {
    distance: f32,
    id: Vec<u8>,
    split: Vec<u8>,
}

impl Ord for OrderKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then_with(|| (&self.id, &self.split).cmp(&(&other.id, &other.split)))
    }
}

impl PartialOrd for OrderKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// Distances are never NaN.
impl Eq for OrderKey {}

fn order_key(meta: &IndexMeta, found: &FoundDataPoint) -> OrderKey {
    // Index id attributes come first, then split attributes.
    let (id, rest) = found.attributes.split_at(meta.index_id_keys().len());
    let encode =
        |attributes: &[Attribute]| codec::encode_key(attributes.iter().map(|attribute| &attribute.value));
    let descending = meta.algorithm().metric() == Metric::InnerProduct;
    OrderKey {
        distance: if descending { -found.distance } else { found.distance },
        id: encode(id),
        split: encode(&rest[..meta.split_keys().len()]),
    }
}
