//! The body of a search: any bytes are refused with a message, or the search runs and its answer is JSON with
//! numbers for distances, nearest first.
#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vektonn_core::validation::validate_search;
use vektonn_core::{Attribute, Change, DataPoint, Metric, SearchQuery, Vector, VectorKind};
use vektonn_index::shard::Shard;

use crate::common::dto::{parse_search, search_results};

const POINTS: i64 = 40;

/// For each index a shard with some points, in two splits.
static SHARDS: LazyLock<Vec<Shard>> = LazyLock::new(|| {
    let filled = |meta| {
        let shard = common::shard(meta);
        let kind = meta.algorithm().vector_kind();
        shard.apply((0..POINTS).map(|i| point(i, kind)).collect()).expect("the shard is not full");
        assert_eq!(shard.len() as i64, POINTS);
        shard
    };
    common::INDICES.iter().map(filled).collect()
});

fuzz_target!(|body: &[u8]| {
    for shard in &*SHARDS {
        let query = match parse_search(body) {
            Ok(query) => query,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        match validate_search(shard.meta(), query) {
            Ok(query) => search(shard, query),
            Err(messages) => assert!(!messages.is_empty()),
        }
    }
});

fn search(shard: &Shard, query: SearchQuery) {
    let found = shard.search(&query, None).expect("a valid query is searched");
    let descending = shard.meta().algorithm().metric() == Metric::InnerProduct;
    for nearest in &found {
        assert!(nearest.len() <= query.k);
        let in_order = |a: f32, b: f32| if descending { a >= b } else { a <= b };
        assert!(nearest.is_sorted_by(|a, b| in_order(a.distance, b.distance)));
        assert!(nearest.iter().all(|found| found.vector.is_some() == query.retrieve_vectors));
        if query.split_filter.is_empty() {
            assert_eq!(nearest.len(), query.k.min(POINTS as usize));
        }
    }
    let (queries, results) = (query.query_vectors.len(), search_results(query.query_vectors, found));
    let answer = serde_json::to_string(&results).expect("results are JSON");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("what was written is readable");
    let answer = answer.as_array().expect("a list");
    assert_eq!(answer.len(), queries);
    for found in answer.iter().flat_map(|result| result["nearestDataPoints"].as_array().expect("a list")) {
        assert!(found["distance"].is_f64(), "{found}");
    }
}

fn point(i: i64, kind: VectorKind) -> Change {
    let x = (i % 7) as f64 - 3.0;
    let vector = match kind {
        VectorKind::Dense => Vector::dense([x, x * 1e38, i as f64]),
        VectorKind::Sparse => Vector::sparse([x, 1.0 - x], [(i % 3) as i32, ((i + 1) % 3) as i32]),
    };
    let attributes = vec![
        Attribute::new("i", i),
        Attribute::new("s", if i % 2 == 0 { "x" } else { "y" }),
        Attribute::new("b", i % 3 == 0),
    ];
    Change::Upsert(DataPoint { attributes, vector })
}
