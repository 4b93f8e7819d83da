//! Every message of the contract's error table, and the order in which they come.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use uuid::Uuid;
use vektonn_core::validation::{
    InputAttribute, InputDataPoint, InputSearchQuery, InputValue, InputVector, validate_search,
    validate_upload,
};
use vektonn_core::{
    Attribute, AttributeValue, Change, DataPoint, DataSourceId, DataSourceMeta, IndexId, IndexMeta,
    SearchQuery, Tombstone, Vector,
};

const KEY_SET: &str = "All attributes defined for data source (and no other ones) must be specified";
const UNIQUE: &str = "Attribute keys must be unique";
const INDICES: &str = "Each vector coordinate value must have unique corresponding index";
const FINITE: &str = "Vector coordinates must be finite 32-bit floating-point numbers";

fn data_source(sparse: bool) -> DataSourceMeta {
    let text = format!(
        "{{vectorDimension: 3, vectorsAreSparse: {sparse}, permanentAttributes: [b, A], shardersByAttributeKey: \
         {{b: {{numberOfShards: 2}}}}, attributeValueTypes: {{b: Int64, A: Bool, note: String}}}}"
    );
    DataSourceMeta::from_yaml(DataSourceId::new("Source", "1"), &text).unwrap()
}

fn index(sparse: bool, split: &str) -> IndexMeta {
    let algorithm = if sparse { "SparnnIndex.Cosine" } else { "FaissIndex.IP" };
    let text = format!(
        "{{dataSourceId: {{name: Source, version: 1}}, indexAlgorithm: {{type: {algorithm}}}, idAttributes: [id], \
         splitAttributes: {split}, shardsById: {{A: }}}}"
    );
    let source = format!(
        "{{vectorDimension: 3, vectorsAreSparse: {sparse}, permanentAttributes: [b, A, id], \
         attributeValueTypes: {{b: Int64, A: Bool, id: Guid}}}}"
    );
    let source = DataSourceMeta::from_yaml(DataSourceId::new("Source", "1"), &source).unwrap();
    IndexMeta::from_yaml(IndexId::new("Index", "1"), &text, Arc::new(source)).unwrap()
}

fn dense(coordinates: &[f64]) -> InputVector {
    InputVector { is_sparse: false, coordinates: coordinates.to_vec(), coordinate_indices: None }
}

fn sparse(coordinates: &[f64], indices: &[i32]) -> InputVector {
    InputVector {
        is_sparse: true,
        coordinates: coordinates.to_vec(),
        coordinate_indices: Some(indices.to_vec()),
    }
}

fn attributes() -> Vec<InputAttribute> {
    vec![InputAttribute::new("note", "hi"), InputAttribute::new("A", true), InputAttribute::new("b", 42)]
}

fn upload(
    attributes: Vec<InputAttribute>,
    vector: Option<InputVector>,
    is_deleted: Option<bool>,
) -> Vec<String> {
    let item = InputDataPoint { attributes, vector, is_deleted };
    validate_upload(&data_source(false), item).err().unwrap_or_default()
}

/// What is said of an item with a good vector and these attributes.
fn of_attributes(attributes: Vec<InputAttribute>) -> Vec<String> {
    upload(attributes, Some(dense(&[1.0, 2.0, 3.0])), None)
}

fn of_vector(is_sparse: bool, vector: InputVector) -> Vec<String> {
    let item = InputDataPoint { attributes: attributes(), vector: Some(vector), is_deleted: None };
    validate_upload(&data_source(is_sparse), item).err().unwrap_or_default()
}

#[test]
fn a_good_item_keeps_its_order() {
    let item = InputDataPoint {
        attributes: attributes(),
        vector: Some(dense(&[1.0, 0.1, -3.0])),
        is_deleted: Some(false),
    };
    let change = validate_upload(&data_source(false), item).unwrap();
    let attributes = vec![Attribute::new("note", "hi"), Attribute::new("A", true), Attribute::new("b", 42)];
    assert_eq!(change, Change::Upsert(DataPoint { attributes, vector: Vector::dense([1.0, 0.1, -3.0]) }));
}

#[test]
fn a_deletion_needs_all_attributes_and_keeps_the_permanent_ones() {
    let item = InputDataPoint { attributes: attributes(), vector: None, is_deleted: Some(true) };
    let change = validate_upload(&data_source(false), item).unwrap();
    let permanent_attributes = vec![Attribute::new("A", true), Attribute::new("b", 42)];
    assert_eq!(change, Change::Delete(Tombstone { permanent_attributes }));
    assert_eq!(upload(attributes()[1..].to_vec(), None, Some(true)), [KEY_SET]);
}

#[test]
fn faults_of_attributes() {
    let with = |extra: &[InputAttribute]| of_attributes([&attributes(), extra].concat());
    let instead = |place: usize, attribute: InputAttribute| {
        let mut attributes = attributes();
        attributes[place] = attribute;
        of_attributes(attributes)
    };
    assert_eq!(with(&[InputAttribute::new("b", 1)]), [UNIQUE]);
    assert_eq!(
        with(&[InputAttribute::new("c", 1)]),
        [KEY_SET, "InputDataPoint attribute key is unknown: 'c'"]
    );
    assert_eq!(
        instead(2, InputAttribute::new("B", 1)),
        [KEY_SET, "InputDataPoint attribute key is unknown: 'B'"]
    );
    assert_eq!(of_attributes(attributes()[..2].to_vec()), [KEY_SET]);
    assert_eq!(of_attributes(vec![]), [KEY_SET]);
    assert_eq!(instead(2, InputAttribute::new("A", false)), [UNIQUE, KEY_SET]);
    let blank = "InputDataPoint attribute key is null or whitespace";
    for key in [None, Some(""), Some(" \t\n\u{a0}")] {
        let attribute = InputAttribute { key: key.map(str::to_owned), value: None };
        assert_eq!(instead(0, attribute.clone()), [KEY_SET, blank]);
        assert_eq!(with(&[attribute.clone(), attribute]), [UNIQUE, KEY_SET, blank, blank]);
    }
}

#[test]
fn faults_of_values() {
    let instead = |place: usize, value: Option<InputValue>| {
        let mut attributes = attributes();
        attributes[place].value = value;
        of_attributes(attributes).join("\n")
    };
    let one = |value: AttributeValue| Some(InputValue::One(value));
    let invalid = |key, value| format!("InputDataPoint attribute '{key}' has invalid value: '{value}'");
    assert_eq!(instead(0, None), invalid("note", ""));
    assert_eq!(instead(0, Some(InputValue::Empty)), invalid("note", ""));
    assert_eq!(instead(0, one(7.into())), invalid("note", "7"));
    assert_eq!(instead(2, one(true.into())), invalid("b", "True"));
    assert_eq!(instead(2, one(false.into())), invalid("b", "False"));
    assert_eq!(instead(2, one("".into())), invalid("b", ""));
    assert_eq!(instead(1, one(Uuid::nil().into())), invalid("A", "00000000-0000-0000-0000-000000000000"));
    assert_eq!(instead(1, one(1.5.into())), invalid("A", "1.5"));
    let several = InputValue::from_members([7.into(), "seven".into()]);
    assert_eq!(instead(0, Some(several)), invalid("note", "seven"));
    let both = InputValue::from_members([42.into(), true.into()]);
    assert_eq!(instead(2, Some(both)), invalid("b", "True"));
}

#[test]
fn faults_of_deletion_and_vector() {
    let inconsistent = "IsDeleted is inconsistent with Vector";
    for is_deleted in [None, Some(false)] {
        assert_eq!(upload(attributes(), None, is_deleted), [inconsistent]);
    }
    assert_eq!(upload(attributes(), Some(dense(&[0.0; 3])), Some(true)), [inconsistent]);
    assert_eq!(
        upload(attributes(), Some(dense(&[0.0; 2])), Some(true)),
        [inconsistent, "Vector coordinates must have dimension: 3"]
    );
}

#[test]
fn faults_of_vectors_in_their_order() {
    let dimension = "Vector coordinates must have dimension: 3";
    let of_dense = |vector| of_vector(false, vector);
    let of_sparse = |vector| of_vector(true, vector);
    assert_eq!(of_dense(sparse(&[], &[1, 1])), ["Vector must be dense"]);
    assert_eq!(of_dense(dense(&[])), [dimension]);
    assert_eq!(of_dense(dense(&[0.0; 4])), [dimension]);
    assert_eq!(of_dense(dense(&[0.0, f64::NAN])), [dimension]);
    for coordinate in [f64::NAN, f64::INFINITY, -1e39, f64::MAX] {
        assert_eq!(of_dense(dense(&[0.0, 0.0, coordinate])), [FINITE]);
        assert_eq!(of_sparse(sparse(&[coordinate], &[0])), [FINITE]);
        assert_eq!(of_sparse(sparse(&[coordinate], &[3])), [dimension]);
    }
    assert_eq!(of_dense(dense(&[3.4e38, -3.4e38, 1e-60])), [""; 0]);

    assert_eq!(of_sparse(dense(&[])), ["Vector must be sparse"]);
    assert_eq!(of_sparse(sparse(&[], &[])), ["Vector must have coordinates"]);
    assert_eq!(of_sparse(sparse(&[], &[1, 1])), ["Vector must have coordinates"]);
    for indices in [&[1, 1][..], &[9, 9], &[1], &[], &[1, 2, 0]] {
        assert_eq!(of_sparse(sparse(&[1.0, 2.0], indices)), [INDICES]);
    }
    let without = InputVector { coordinate_indices: None, ..sparse(&[1.0], &[]) };
    assert_eq!(of_sparse(without), [INDICES]);
    for indices in [[0, 3], [-1, 0], [2, i32::MIN]] {
        assert_eq!(of_sparse(sparse(&[1.0, 2.0], &indices)), [dimension]);
    }
    assert_eq!(of_sparse(sparse(&[1.0, 0.0], &[2, 0])), [""; 0]);
}

#[test]
fn an_item_reports_all_its_faults_in_order() {
    let attributes = vec![
        InputAttribute { key: Some(" ".to_owned()), value: None },
        InputAttribute::new("b", "x"),
        InputAttribute::new("c", 1),
        InputAttribute::new("b", true),
    ];
    let expected = [
        UNIQUE,
        KEY_SET,
        "InputDataPoint attribute key is null or whitespace",
        "InputDataPoint attribute 'b' has invalid value: 'x'",
        "InputDataPoint attribute key is unknown: 'c'",
        "InputDataPoint attribute 'b' has invalid value: 'True'",
        "IsDeleted is inconsistent with Vector",
        "Vector must be dense",
    ];
    assert_eq!(upload(attributes, Some(sparse(&[], &[])), Some(true)), expected);
}

#[test]
fn many_attributes_are_checked_quickly() {
    let many = (0..200_000).map(|i| InputAttribute::new(format!("k{i}"), 1)).collect();
    let messages = of_attributes(many);
    assert_eq!((messages[0].as_str(), messages.len()), (KEY_SET, 200_001));
    let same = of_attributes(vec![InputAttribute::new("b", 1); 200_000]);
    assert_eq!(same, [UNIQUE, KEY_SET]);
}

fn query() -> InputSearchQuery {
    InputSearchQuery {
        split_filter: None,
        query_vectors: vec![dense(&[0.0; 3])],
        k: 5,
        ef_search: None,
        approximation: None,
        retrieve_vectors: None,
    }
}

/// What is said of a search with this split filter in an index split by `[b, A]`.
fn of_filter(filter: Vec<InputAttribute>) -> Vec<String> {
    let query = InputSearchQuery { split_filter: Some(filter), ..query() };
    validate_search(&index(false, "[b, A]"), query).err().unwrap_or_default()
}

#[test]
fn a_good_search() {
    let filter = vec![InputAttribute::new("A", true), InputAttribute::new("b", 1)];
    let input = InputSearchQuery {
        split_filter: Some(filter),
        ef_search: Some(50),
        approximation: Some(0.7),
        retrieve_vectors: Some(false),
        ..query()
    };
    let expected = SearchQuery {
        split_filter: vec![Attribute::new("A", true), Attribute::new("b", 1)],
        query_vectors: vec![Vector::dense([0.0; 3])],
        k: 5,
        ef_search: Some(50),
        approximation: Some(0.7),
        retrieve_vectors: false,
    };
    assert_eq!(validate_search(&index(false, "[b, A]"), input), Ok(expected));
    let whole = validate_search(&index(false, "[]"), InputSearchQuery { k: i64::MAX, ..query() }).unwrap();
    assert!(whole.split_filter.is_empty() && whole.retrieve_vectors);
    assert_eq!(whole.k, i64::MAX as usize);
    let no_candidates = InputSearchQuery { ef_search: Some(0), ..query() };
    let messages = validate_search(&index(false, "[]"), no_candidates).unwrap_err();
    assert_eq!(messages, ["EfSearch must be positive"]);
    for share in [0.0, -0.5, 1.1, f64::NAN] {
        let no_share = InputSearchQuery { approximation: Some(share), ..query() };
        let messages = validate_search(&index(false, "[]"), no_share).unwrap_err();
        assert_eq!(messages, ["Approximation must be above 0 and at most 1"], "{share}");
    }
    assert_eq!(of_filter(vec![]), [""; 0]);
    assert_eq!(of_filter(vec![InputAttribute::new("b", 1)]), [""; 0]);
}

#[test]
fn faults_of_split_filters_one_at_a_time() {
    let outside = "SplitFilter attribute keys must be in SplitAttributes: {b, A}";
    let nowhere = InputAttribute { key: None, value: None };
    for key in ["", " ", "a", "B", "id"] {
        assert_eq!(of_filter(vec![InputAttribute::new(key, 1), nowhere.clone()]), [outside]);
    }
    assert_eq!(of_filter(vec![nowhere.clone()]), [outside]);
    let b = |value: AttributeValue| InputAttribute::new("b", value);
    assert_eq!(of_filter(vec![b("x".into()), b(1.into()), nowhere.clone()]), [outside]);
    assert_eq!(of_filter(vec![b("x".into()), b(1.into())]), ["SplitFilter attribute keys must be unique"]);
    assert_eq!(of_filter(vec![b(1.into()); 100_000]), ["SplitFilter attribute keys must be unique"]);
    assert_eq!(
        of_filter(vec![InputAttribute::new("A", 0), b(true.into())]),
        ["SplitFilter attribute 'A' has invalid value: '0'"]
    );
    assert_eq!(of_filter(vec![b(true.into())]), ["SplitFilter attribute 'b' has invalid value: 'True'"]);
    let empty = InputAttribute { key: Some("b".to_owned()), value: None };
    assert_eq!(of_filter(vec![empty]), ["SplitFilter attribute 'b' has invalid value: ''"]);

    let input = InputSearchQuery { split_filter: Some(vec![b(1.into())]), ..query() };
    let unsplit = validate_search(&index(false, "[]"), input);
    assert_eq!(unsplit, Err(vec!["SplitFilter attribute keys must be in SplitAttributes: {}".to_owned()]));
}

#[test]
fn a_search_reports_its_faults_in_order() {
    let search = |input| validate_search(&index(false, "[b, A]"), input).err().unwrap_or_default();
    for k in [0, -1, i64::MIN] {
        assert_eq!(search(InputSearchQuery { k, ..query() }), ["K must be positive"]);
    }
    let none = InputSearchQuery { query_vectors: vec![], ..query() };
    assert_eq!(search(none.clone()), ["At least one query vector is required"]);
    let filter = Some(vec![InputAttribute::new("b", false)]);
    assert_eq!(
        search(InputSearchQuery { k: 0, split_filter: filter.clone(), ..none }),
        [
            "K must be positive",
            "At least one query vector is required",
            "SplitFilter attribute 'b' has invalid value: 'False'"
        ]
    );
    let query_vectors = vec![dense(&[0.0; 3]), dense(&[f64::NAN; 3]), dense(&[0.0; 2]), sparse(&[1.0], &[0])];
    assert_eq!(
        search(InputSearchQuery {
            k: 0,
            split_filter: filter,
            query_vectors: query_vectors.clone(),
            ..query()
        }),
        [
            "K must be positive",
            "SplitFilter attribute 'b' has invalid value: 'False'",
            "Vector coordinates must have dimension: 3"
        ]
    );
    assert_eq!(search(InputSearchQuery { query_vectors: query_vectors[..2].to_vec(), ..query() }), [FINITE]);
}

#[test]
fn faults_of_query_vectors() {
    let of = |is_sparse, vector| {
        let input = InputSearchQuery { query_vectors: vec![vector], ..query() };
        validate_search(&index(is_sparse, "[]"), input).err().unwrap_or_default()
    };
    assert_eq!(of(false, sparse(&[1.0], &[1])), ["Vector must be dense"]);
    assert_eq!(of(true, dense(&[1.0; 3])), ["Vector must be sparse"]);
    assert_eq!(of(true, sparse(&[], &[])), ["Vector must have coordinates"]);
    assert_eq!(of(true, sparse(&[1.0, 1.0], &[1, 1])), [INDICES]);
    assert_eq!(of(true, sparse(&[1.0, 1.0], &[1, 3])), ["Vector coordinates must have dimension: 3"]);
    assert_eq!(of(true, sparse(&[1.0, 1.0], &[2, 1])), [""; 0]);
}
