//! A shard against a naive map of data points, under random uploads, deletions and searches, with and without split
//! filters, for every published algorithm.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use vektonn_core::{
    Attribute, AttributeValue, Change, DataPoint, DataSourceId, DataSourceMeta, FoundDataPoint, IndexId,
    IndexMeta, SearchQuery, StoredVector, Tombstone, Vector, codec,
};
use vektonn_index::shard::Shard;

const DIMENSION: usize = 4;

/// Two splits attributes, an id and a payload; every other point belongs to another shard.
fn meta(algorithm: &str, sparse: bool) -> Arc<IndexMeta> {
    let source = DataSourceMeta::from_yaml(
        DataSourceId { name: "Source".into(), version: "1.0".into() },
        &format!(
            "{{vectorDimension: {DIMENSION}, vectorsAreSparse: {sparse}, permanentAttributes: [id, red, Blue], \
             attributeValueTypes: {{id: Int64, red: Bool, Blue: String, note: String}}}}"
        ),
    )
    .unwrap();
    let index = format!(
        "{{dataSourceId: {{name: Source, version: 1.0}}, indexAlgorithm: {{type: {algorithm}}}, idAttributes: [id], \
         splitAttributes: [red, Blue], shardsById: \
         {{Mine: {{shardsByAttributeKey: {{red: {{numberOfShards: 3, shardValues: [0, 1]}}, \
                                           id: {{numberOfShards: 2, shardValues: [0]}}}}}}}}}}"
    );
    let id = IndexId { name: "Index".into(), version: "1.0".into() };
    Arc::new(IndexMeta::from_yaml(id, &index, Arc::new(source)).unwrap())
}

type Key = (i64, bool, &'static str);

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(Key, Option<Vec<f64>>)>),
    Search { red: Option<bool>, blue: Option<&'static str>, query: Vec<f64>, k: usize },
}

const BLUES: [&str; 3] = ["navy", "", "azure"];

/// Vectors whose norms are whole numbers, so that distances which are equal on paper are equal in floats too.
fn coordinates() -> impl Strategy<Value = Vec<f64>> {
    let sign = || proptest::sample::select(&[-1.0, 1.0][..]);
    let one = (0..DIMENSION, sign(), 1..3u8).prop_map(|(axis, sign, length)| {
        let mut coordinates = vec![0.0; DIMENSION];
        coordinates[axis] = sign * f64::from(length);
        coordinates
    });
    prop_oneof![one, proptest::collection::vec(sign(), DIMENSION)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let blue = proptest::sample::select(&BLUES[..]);
    let key = (0..12i64, any::<bool>(), blue.clone());
    let change = (key, proptest::option::weighted(0.7, coordinates()));
    let search = (any::<Option<bool>>(), proptest::option::of(blue), coordinates(), 1..30usize)
        .prop_map(|(red, blue, query, k)| Step::Search { red, blue, query, k });
    let apply = proptest::collection::vec(change, 0..300).prop_map(Step::Apply);
    proptest::collection::vec(prop_oneof![apply, search], 1..12)
}

fn vector(sparse: bool, coordinates: &[f64]) -> Vector {
    if !sparse {
        return Vector::dense(coordinates);
    }
    // Indices in descending order: the shard must sort them.
    let (indices, values): (Vec<i32>, Vec<f64>) = (0..DIMENSION as i32)
        .zip(coordinates.iter().copied())
        .filter(|&(_, value)| value != 0.0)
        .rev()
        .unzip();
    Vector::sparse(values, indices)
}

fn attributes((id, red, blue): Key) -> Vec<Attribute> {
    vec![Attribute::new("Blue", blue), Attribute::new("id", id), Attribute::new("red", red)]
}

fn note(coordinates: &[f64]) -> String {
    format!("{coordinates:?}")
}

fn distance(algorithm: &str, a: &[f64], b: &[f64]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 { a.iter().zip(b).map(|(&a, &b)| term(a, b)).sum() };
    let dot = sum(&|a, b| a * b);
    match algorithm.split_once('.').unwrap().1 {
        "L2" => sum(&|a, b| (a - b) * (a - b)),
        "IP" => dot,
        "Cosine" => 1.0 - dot / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt(),
        "JaccardBinary" => {
            let both = sum(&|a, b| f64::from(a != 0.0 && b != 0.0));
            1.0 - both / sum(&|a, b| f64::from(a != 0.0 || b != 0.0))
        }
        other => panic!("{other} is not an algorithm of this test"),
    }
}

fn agree(algorithm: &str, sparse: bool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let meta = meta(algorithm, sparse);
    let shard = Shard::new(Arc::clone(&meta), "Mine").unwrap();
    let mut model: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Apply(changes) => {
                let is_mine = |key: &Key| meta.shards()["Mine"].takes(&attributes(*key));
                let elsewhere = changes.iter().filter(|(key, _)| !is_mine(key)).count();
                let changes = changes.into_iter().map(|(key, coordinates)| match coordinates {
                    Some(coordinates) => {
                        let change = upsert(key, sparse, &coordinates);
                        if is_mine(&key) {
                            model.insert(key, coordinates);
                        }
                        change
                    }
                    None => {
                        model.remove(&key);
                        Change::Delete(Tombstone { permanent_attributes: attributes(key) })
                    }
                });
                let changes: Vec<_> = changes.collect();
                let total = changes.len();
                let report = shard.apply(changes).unwrap();
                prop_assert_eq!((report.applied, report.elsewhere), (total - elsewhere, elsewhere));
                prop_assert_eq!(shard.len(), model.len());
            }
            Step::Search { red, blue, query, k } => {
                let mut split_filter = Vec::new();
                split_filter.extend(red.map(|red| Attribute::new("red", red)));
                split_filter.extend(blue.map(|blue| Attribute::new("Blue", blue)));
                let search = SearchQuery {
                    split_filter,
                    query_vectors: vec![vector(sparse, &query); 2],
                    k,
                    ef_search: None,
                    approximation: None,
                    retrieve_vectors: true,
                };
                let found = shard.search(&search, None).unwrap();
                prop_assert_eq!(&found[0], &found[1]);
                let matching = model.iter().filter(|((_, r, b), _)| {
                    red.is_none_or(|red| red == *r) && blue.is_none_or(|blue| blue == *b)
                });
                compare(algorithm, &found[0], matching, &query, k)?;
            }
        }
    }
    let upserts = model.iter().rev().map(|(key, coordinates)| upsert(*key, sparse, coordinates)).collect();
    let rebuilt = Shard::new(meta, "Mine").unwrap();
    rebuilt.apply(upserts).unwrap();
    prop_assert_eq!(shard.snapshot().digest(), rebuilt.snapshot().digest());
    Ok(())
}

fn upsert(key: Key, sparse: bool, coordinates: &[f64]) -> Change {
    let mut attributes = attributes(key);
    attributes.insert(0, Attribute::new("note", note(coordinates)));
    Change::Upsert(DataPoint { attributes, vector: vector(sparse, coordinates) })
}

#[test]
fn a_digest_shows_every_difference() {
    let digest_of = |points: &[(Key, [f64; DIMENSION])]| {
        let shard = Shard::new(meta("FaissIndex.L2", false), "Mine").unwrap();
        let mut upserts: Vec<_> =
            points.iter().map(|(key, coordinates)| upsert(*key, false, coordinates)).collect();
        upserts.retain(|change| shard.meta().shards()["Mine"].takes(change.attributes()));
        assert!(!upserts.is_empty());
        shard.apply(upserts).unwrap();
        shard.snapshot().digest()
    };
    let key = (2..100)
        .map(|id| (id, true, "navy"))
        .find(|key| meta("FaissIndex.L2", false).shards()["Mine"].takes(&attributes(*key)));
    let (id, red, blue) = key.unwrap();
    let one = digest_of(&[((id, red, blue), [1.0, 0.0, 0.0, 0.0])]);
    assert_eq!(one.points, 1);
    assert_eq!(one, digest_of(&[((id, red, blue), [1.0, 0.0, 0.0, 0.0])]));
    assert_ne!(one, digest_of(&[((id, red, blue), [0.0, 1.0, 0.0, 0.0])]));
    assert_ne!(one, digest_of(&[((id, red, "azure"), [1.0, 0.0, 0.0, 0.0])]));
}

/// The results must be the first `k` of all matching points, sorted by (distance, id bytes, split bytes).
fn compare<'m>(
    algorithm: &str,
    found: &[FoundDataPoint],
    matching: impl Iterator<Item = (&'m Key, &'m Vec<f64>)>,
    query: &[f64],
    k: usize,
) -> Result<(), TestCaseError> {
    let descending = algorithm.ends_with("IP");
    let mut expected: Vec<_> = matching
        .map(|(&(id, red, blue), coordinates)| {
            let distance = distance(algorithm, query, coordinates);
            let rank = (if descending { -distance } else { distance } * 1e4).round() as i64;
            let encode = |values: &[AttributeValue]| codec::encode_key(values);
            let order = (rank, encode(&[id.into()]), encode(&[blue.into(), red.into()]));
            let attributes = vec![
                Attribute::new("id", id),
                Attribute::new("Blue", blue),
                Attribute::new("red", red),
                Attribute::new("note", note(coordinates)),
            ];
            (order, attributes, distance, coordinates)
        })
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    expected.truncate(k);
    prop_assert_eq!(found.len(), expected.len());
    for (found, (_, attributes, distance, coordinates)) in found.iter().zip(expected) {
        prop_assert_eq!(&found.attributes, &attributes);
        prop_assert!(
            (f64::from(found.distance) - distance).abs() < 1e-5,
            "{} is not {distance}",
            found.distance
        );
        let stored = match found.vector.as_ref().unwrap() {
            StoredVector::Dense(vector) => vector.as_slice().iter().map(|&x| f64::from(x)).collect(),
            StoredVector::Sparse(vector) => {
                let mut dense = vec![0.0; DIMENSION];
                for (&index, &value) in vector.indices().iter().zip(vector.values()) {
                    dense[index as usize] = f64::from(value);
                }
                dense
            }
        };
        prop_assert_eq!(&stored, coordinates);
    }
    Ok(())
}

macro_rules! models {
    ($($name:ident: $algorithm:literal, $sparse:literal;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(128))]
            #[test]
            fn $name(steps in steps()) {
                agree($algorithm, $sparse, steps)?;
            }
        }
    )*};
}

models! {
    faiss_l2_agrees_with_a_naive_scan: "FaissIndex.L2", false;
    faiss_ip_agrees_with_a_naive_scan: "FaissIndex.IP", false;
    dense_cosine_agrees_with_a_naive_scan: "Dense.Cosine", false;
    sparnn_cosine_agrees_with_a_naive_scan: "SparnnIndex.Cosine", true;
    sparnn_jaccard_agrees_with_a_naive_scan: "SparnnIndex.JaccardBinary", true;
    sparse_ip_agrees_with_a_naive_scan: "Sparse.IP", true;
}
