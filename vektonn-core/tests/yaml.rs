//! Configuration files: what is read from them, and what is said about those that are wrong.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU16;
use std::sync::Arc;

use vektonn_core::sharding::TopicSelector;
use vektonn_core::{
    Attribute, AttributeType, DataSourceId, DataSourceMeta, HnswParams, IndexId, IndexMeta, MetaError,
    Subscription, VectorKind,
};

/// The contract's data source.
const DATA_SOURCE: &str = r#"
vectorDimension: 100500
vectorsAreSparse: true
attributeValueTypes: {Id: Int64, ShardId: Guid, SplitId: Bool, Payload: String}   # String Guid Bool Int64 Float64 DateTime, case-insensitive
permanentAttributes: ["Id", "ShardId", "SplitId"]
shardersByAttributeKey:                      # optional
  ShardId: {numberOfShards: 7}
"#;

/// The contract's index, for dense vectors.
const INDEX: &str = r#"
dataSourceId: {name: Samples.DenseVectors, version: 0.1}
indexAlgorithm:
  type: FaissIndex.L2
  params: {Hnsw_M: 16, Hnsw_EfConstruction: 200, Hnsw_EfSearch: 100}
idAttributes: ["Id", "ShardId"]
splitAttributes: ["SplitId"]
shardsById:
  ShardA:
    shardsByAttributeKey:
      ShardId: {numberOfShards: 6, shardValues: [0, 2, 4]}
    dataSourceShardsToConsume:
    - shardingCoordinatesByAttributeKey: {ShardId: 0}
    - shardingCoordinatesByAttributeKey: {ShardId: null}
  ShardB:
  ShardC: {}
"#;

fn id() -> DataSourceId {
    DataSourceId::new("Samples.DenseVectors", "0.1")
}

fn data_source(text: &str) -> Result<DataSourceMeta, MetaError> {
    DataSourceMeta::from_yaml(id(), text)
}

fn dense() -> String {
    DATA_SOURCE.replace("vectorsAreSparse: true", "vectorsAreSparse: false")
}

fn index(text: &str) -> Result<IndexMeta, MetaError> {
    let data_source = Arc::new(data_source(&dense()).unwrap());
    IndexMeta::from_yaml(IndexId::new("Samples", "1"), text, data_source)
}

/// What is said of the contract's data source with one text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(DATA_SOURCE.contains(from), "{from}");
    one_line(data_source(&DATA_SOURCE.replace(from, to)).unwrap_err())
}

/// What is said of the contract's index with one text replaced.
fn index_refusal(from: &str, to: &str) -> String {
    assert!(INDEX.contains(from), "{from}");
    one_line(index(&INDEX.replace(from, to)).unwrap_err())
}

fn one_line(error: MetaError) -> String {
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn a_data_source_is_read() {
    let meta = data_source(DATA_SOURCE).unwrap();
    assert_eq!(meta.id(), &id());
    assert_eq!((meta.dimension(), meta.vector_kind()), (100_500, VectorKind::Sparse));
    let types: Vec<_> = meta.attribute_types().iter().map(|(key, ty)| (key.as_str(), *ty)).collect();
    let expected = [
        ("Id", AttributeType::Int64),
        ("ShardId", AttributeType::Guid),
        ("SplitId", AttributeType::Bool),
        ("Payload", AttributeType::String),
    ];
    assert_eq!(types, expected);
    assert_eq!(meta.permanent_keys(), ["Id", "ShardId", "SplitId"]);
    assert_eq!(meta.sharders(), [("ShardId".to_owned(), NonZeroU16::new(7).unwrap())]);
}

#[test]
fn lists_are_ordered_by_key_and_types_read_in_any_case() {
    let text = "
        vectorDimension: 1
        someday: [anything, {goes: here}]
        attributeValueTypes: {B: string, a: GUID, b: bool, A: int64, c: Float64, D: datetime}
        permanentAttributes: [b, B, a, A]
        shardersByAttributeKey: {B: {numberOfShards: 65535, why: not}, a: {numberOfShards: 1}}";
    let meta = data_source(text).unwrap();
    assert_eq!(meta.vector_kind(), VectorKind::Dense);
    assert_eq!(meta.permanent_keys(), ["a", "A", "b", "B"]);
    let sharders: Vec<_> = meta.sharders().iter().map(|(key, number)| (key.as_str(), number.get())).collect();
    assert_eq!(sharders, [("a", 1), ("B", 65_535)]);
    assert_eq!(meta.attribute_types()["D"], AttributeType::DateTime);
    for absent in ["shardersByAttributeKey: {}", "shardersByAttributeKey:", ""] {
        let text = DATA_SOURCE.split("shardersByAttributeKey").next().unwrap().to_owned() + absent;
        assert_eq!(data_source(&text).unwrap().sharders(), []);
    }
}

#[test]
fn refusals_of_data_sources_name_what_is_wrong() {
    let max = i32::MAX;
    for got in ["0", "-1", "2147483648"] {
        let expected = format!("vectorDimension must be from 1 to {max}, got {got}");
        assert_eq!(refusal("100500", got), expected);
    }
    assert_eq!(
        refusal("Guid,", "uuid,"),
        "attributeValueTypes: attribute 'ShardId': unknown attribute type 'uuid': expected String, Guid, Bool, Int64, \
         Float64 or DateTime"
    );
    assert_eq!(
        refusal(r#"["Id", "ShardId", "SplitId"]"#, "[]"),
        "permanentAttributes must name at least one attribute"
    );
    assert_eq!(refusal(r#""SplitId"]"#, r#""Id"]"#), "permanentAttributes names attribute 'Id' twice");
    assert_eq!(
        refusal(r#"["Id","#, r#"["id","#),
        "permanentAttributes names attribute 'id', which has no type in attributeValueTypes of the data source"
    );
    assert_eq!(
        refusal("  ShardId:", "  Payload:"),
        "shardersByAttributeKey names attribute 'Payload', which is not one of the data source's permanentAttributes"
    );
    assert_eq!(
        refusal("  ShardId:", "  Other:"),
        "shardersByAttributeKey names attribute 'Other', which has no type in attributeValueTypes of the data source"
    );
    for got in ["0", "-7", "65536"] {
        let expected = format!("numberOfShards of attribute 'ShardId' must be from 1 to 65535, got {got}");
        assert_eq!(refusal("numberOfShards: 7", &format!("numberOfShards: {got}")), expected);
    }
}

#[test]
fn refusals_of_yaml_say_where() {
    let error = data_source("vectorDimension: 1\nattributeValueTypes: {Id: Int64").unwrap_err();
    assert!(matches!(error, MetaError::Yaml { line: 2, column: 1.., .. }), "{error:?}");
    let message = refusal("100500", "many");
    assert_eq!(message, "line 2, column 18: expected a whole number");
    assert!(
        refusal("vectorsAreSparse: true", "vectorsAreSparse: maybe").ends_with(": expected true or false")
    );
    assert!(refusal(r#"["Id", "ShardId", "SplitId"]"#, "Id").ends_with(": expected a list"));
    assert!(refusal(r#"["Id","#, r#"[["Id"],"#).ends_with(": expected text"));
    assert!(refusal("numberOfShards: 7", "").contains("missing field `numberOfShards`"));
    assert!(refusal("vectorDimension", "VectorDimension").contains("vectorDimension"));
    assert!(refusal("numberOfShards: 7", "numberOfShards: 7.5").starts_with("line 7, "));
    assert!(
        refusal("vectorsAreSparse: true", "vectorsAreSparse: true\nvectorsAreSparse: true")
            .contains("line 4")
    );
    for text in ["", "[]", "42", "\u{0}", "{", "a: b: c", "--- {}\n--- {}"] {
        let message = one_line(data_source(text).unwrap_err());
        assert!(!message.contains(" at line"), "{message}");
    }
}

#[test]
fn an_index_is_read() {
    assert_eq!(IndexMeta::data_source_id_from_yaml(INDEX), Ok(id()));
    let meta = index(INDEX).unwrap();
    assert_eq!(meta.id(), &IndexId::new("Samples", "1"));
    assert_eq!(meta.data_source().id(), &id());
    assert_eq!(meta.algorithm().hnsw(), Some(HnswParams::default()));
    let printed = meta.algorithm().to_string();
    assert_eq!(printed, "FaissIndex.L2(Hnsw_M=16, Hnsw_EfConstruction=200, Hnsw_EfSearch=100)");
    assert_eq!(meta.index_id_keys(), ["Id", "ShardId"]);
    assert_eq!(meta.split_attributes(), ["SplitId"]);
    assert_eq!(meta.split_keys(), ["SplitId"]);
    assert_eq!(meta.payload_keys(), ["Payload"]);
    assert_eq!(meta.shards().keys().collect::<Vec<_>>(), ["ShardA", "ShardB", "ShardC"]);
    let subscribed = |coordinate| Subscription::new([("ShardId".to_owned(), coordinate)]);
    assert_eq!(meta.shards()["ShardA"].subscriptions(), [subscribed(Some(0)), subscribed(None)]);
    for whole in ["ShardB", "ShardC"] {
        assert_eq!(meta.shards()[whole].subscriptions(), [Subscription::default()]);
        assert!(meta.shards()[whole].takes(&[]));
        assert!(meta.shards()[whole].may_hold(&[]));
    }
}

#[test]
fn versions_and_parameters_are_the_text_that_was_written() {
    for version in ["1.0", "1", "0x10", "1e3", "01", "true", "2021-07-31", "~1", "'null'", "\"1.0\""] {
        let text = INDEX.replace("version: 0.1", &format!("version: {version}"));
        let id = IndexMeta::data_source_id_from_yaml(&text).unwrap();
        assert_eq!(id.version, version.trim_matches(['\'', '"']));
    }
    let text = INDEX.replace("type: FaissIndex.L2", "type: Dense.L2");
    let meta =
        index(&text.replace("{Hnsw_M: 16, Hnsw_EfConstruction: 200, Hnsw_EfSearch: 100}", "{Hnsw: True}"));
    assert_eq!(meta.unwrap().algorithm().to_string(), "Dense.L2(Hnsw=True)");
}

#[test]
fn split_attributes_are_ids_too() {
    let text = INDEX
        .replace(r#"["Id", "ShardId"]"#, "[SplitId, Id]")
        .replace(r#"["SplitId"]"#, "[SplitId, ShardId]");
    let meta = index(&text).unwrap();
    assert_eq!(meta.index_id_keys(), ["Id"]);
    assert_eq!(meta.split_attributes(), ["SplitId", "ShardId"]);
    assert_eq!(meta.split_keys(), ["ShardId", "SplitId"]);
    assert!(index(&text.replace("[SplitId, ShardId]", "~")).unwrap().split_keys().is_empty());
}

#[test]
fn refusals_of_indices_name_what_is_wrong() {
    assert_eq!(
        index_refusal("version: 0.1", "version: 0.10"),
        "the index follows DataSourceId { Name = Samples.DenseVectors, Version = 0.10 }, but was checked against \
         DataSourceId { Name = Samples.DenseVectors, Version = 0.1 }"
    );
    assert!(
        index_refusal("FaissIndex.L2", "FaissIndex.L3")
            .starts_with("indexAlgorithm: unknown algorithm 'FaissInd")
    );
    assert_eq!(
        index_refusal("Hnsw_M: 16", "Hnsw_m: 16"),
        "indexAlgorithm: algorithm FaissIndex.L2 has no parameter 'Hnsw_m'"
    );
    assert_eq!(
        index_refusal(
            "FaissIndex.L2\n  params: {Hnsw_M: 16, Hnsw_EfConstruction: 200, Hnsw_EfSearch: 100}",
            "SparnnIndex.Cosine"
        ),
        "algorithm SparnnIndex.Cosine is for sparse vectors, but the vectors of DataSourceId { Name = \
         Samples.DenseVectors, Version = 0.1 } are dense"
    );
    assert_eq!(index_refusal(r#"["Id", "ShardId"]"#, "[]"), "idAttributes must name at least one attribute");
    assert_eq!(
        index_refusal(r#"["Id", "#, r#"["ShardId", "#),
        "idAttributes names attribute 'ShardId' twice"
    );
    assert_eq!(
        index_refusal(r#"["SplitId"]"#, r#"["Payload"]"#),
        "splitAttributes names attribute 'Payload', which is not one of the data source's permanentAttributes"
    );
    assert_eq!(
        index_refusal(r#"["Id","#, r#"["Nowhere","#),
        "idAttributes names attribute 'Nowhere', which has no type in attributeValueTypes of the data source"
    );
    assert_eq!(
        index_refusal(r#"["SplitId"]"#, "[ShardId, Id]"),
        "idAttributes must name an attribute that is not one of splitAttributes"
    );
    let no_shards = INDEX.split("shardsById").next().unwrap().to_owned() + "shardsById: {}";
    assert_eq!(one_line(index(&no_shards).unwrap_err()), "shardsById must name at least one shard");
}

#[test]
fn refusals_of_shards_name_the_shard_and_the_attribute() {
    let values = "shardValues: [0, 2, 4]";
    let expected = "shard 'ShardA': shardValues of attribute 'ShardId' must not be empty";
    assert_eq!(index_refusal(values, "shardValues: []"), expected);
    assert_eq!(index_refusal(&format!(", {values}"), ""), expected);
    for got in ["6", "-1"] {
        let expected =
            format!("shard 'ShardA': shardValues of attribute 'ShardId' must be from 0 to 5, got {got}");
        assert_eq!(index_refusal(values, &format!("shardValues: [0, {got}]")), expected);
    }
    assert_eq!(
        index_refusal("numberOfShards: 6", "numberOfShards: 0"),
        "numberOfShards of attribute 'ShardId' must be from 1 to 65535, got 0"
    );
    assert_eq!(
        index_refusal("      ShardId: {numberOfShards", "      Payload: {numberOfShards"),
        "shardsByAttributeKey names attribute 'Payload', which is not one of the data source's permanentAttributes"
    );
    assert_eq!(
        index_refusal("{ShardId: 0}", "{Nothing: 0}"),
        "shardingCoordinatesByAttributeKey names attribute 'Nothing', which has no type in attributeValueTypes of the \
         data source"
    );
    assert_eq!(
        index_refusal("{ShardId: 0}", "{ShardId: 70000}"),
        "shard 'ShardA': the coordinate of attribute 'ShardId' must be from 0 to 65534 or null, got 70000"
    );
    assert_eq!(
        index_refusal("ShardC: {}", "ShardC: {dataSourceShardsToConsume: []}"),
        "shard 'ShardC': dataSourceShardsToConsume must not be empty: leave it out to consume everything"
    );
}

#[test]
fn what_never_gets_data_is_warned_of() {
    let whole = |shard| {
        format!(
            "shard '{shard}': a subscription in dataSourceShardsToConsume leaves out attribute 'ShardId', by which the \
             data source is sharded: it never gets data"
        )
    };
    assert_eq!(index(INDEX).unwrap().warnings(), [whole("ShardB"), whole("ShardC")]);

    let text = INDEX.split("  ShardB").next().unwrap().replace("{ShardId: 0}", "{ShardId: 7}");
    let warnings = index(&text.replace("{ShardId: null}", "{Id: 0, ShardId: null}")).unwrap().warnings();
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].contains("asks for coordinate 7 of attribute 'ShardId', which has 7 shards"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("names attribute 'Id', by which the data source is not sharded"),
        "{warnings:?}"
    );
}

#[test]
fn ids_that_do_not_cover_the_permanent_attributes_are_warned_of() {
    let text = INDEX.split("  ShardB").next().unwrap().replace(r#"["Id", "ShardId"]"#, "[Id]");
    let text = text.replace(r#"["SplitId"]"#, "[]");
    let warnings = index(&text).unwrap().warnings();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .starts_with("idAttributes and splitAttributes leave out the permanent attributes {ShardId, Sp")
    );
}

#[test]
fn a_shard_takes_what_all_its_rules_take() {
    let text = INDEX.replace(
        "ShardId: {numberOfShards: 6, shardValues: [0, 2, 4]}",
        "{Id: {numberOfShards: 3, shardValues: [2, 1, 2]}, SplitId: {numberOfShards: 2, shardValues: [1]}}",
    );
    let meta = index(&text).unwrap();
    let shard = &meta.shards()["ShardA"];
    // The hash of 42 is 2 modulo 3, that of 1 is 0; a Bool is its own hash.
    let point = |id: i64, split: bool| [Attribute::new("SplitId", split), Attribute::new("Id", id)];
    assert!(shard.takes(&point(42, true)));
    assert!(!shard.takes(&point(42, false)));
    assert!(!shard.takes(&point(1, true)));
    assert!(!shard.takes(&point(42, true)[..1]));
    assert!(shard.may_hold(&[]));
    assert!(shard.may_hold(&point(42, true)[..1]));
    assert!(!shard.may_hold(&point(42, false)[..1]));
    assert!(!shard.may_hold(&point(1, true)));
}

#[test]
fn subscriptions_select_topics() {
    let meta = index(INDEX).unwrap();
    let selectors: Vec<_> = meta.shards()["ShardA"]
        .subscriptions()
        .iter()
        .map(|subscription| TopicSelector::new(meta.data_source(), subscription))
        .collect();
    assert_eq!(selectors[0].exact().as_deref(), Some("Vektonn.Samples_DenseVectors-0_1.ShardId-0"));
    assert!(selectors[1].matches("Vektonn.Samples_DenseVectors-0_1.ShardId-6"));
}
