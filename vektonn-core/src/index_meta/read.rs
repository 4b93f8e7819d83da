//! Reading of an index's configuration file.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::collation::sort_by_key;
use crate::index_meta::{IndexId, IndexMeta, IndexShardMeta, Subscription};
use crate::sharding::ShardingRule;
use crate::yaml::{self, MetaError};
use crate::{Algorithm, DataSourceId, DataSourceMeta};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile {
    data_source_id: DataSourceIdFile,
    index_algorithm: AlgorithmFile,
    id_attributes: Vec<String>,
    split_attributes: Option<Vec<String>>,
    shards_by_id: IndexMap<String, Option<ShardFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnlyDataSourceId {
    data_source_id: DataSourceIdFile,
}

#[derive(Deserialize)]
struct DataSourceIdFile {
    name: String,
    version: String,
}

impl From<DataSourceIdFile> for DataSourceId {
    fn from(file: DataSourceIdFile) -> Self {
        Self { name: file.name, version: file.version }
    }
}

#[derive(Deserialize)]
struct AlgorithmFile {
    #[serde(rename = "type")]
    name: String,
    params: Option<IndexMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShardFile {
    shards_by_attribute_key: Option<IndexMap<String, RuleFile>>,
    data_source_shards_to_consume: Option<Vec<Option<SubscriptionFile>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleFile {
    number_of_shards: i64,
    shard_values: Option<Vec<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionFile {
    sharding_coordinates_by_attribute_key: Option<IndexMap<String, Option<i64>>>,
}

impl IndexMeta {
    /// The data source that an index's configuration file names, to be read before
    /// [`from_yaml`](Self::from_yaml). Nothing else of the file is checked.
    ///
    /// # Errors
    /// [`MetaError::Yaml`].
    pub fn data_source_id_from_yaml(text: &str) -> Result<DataSourceId, MetaError> {
        Ok(yaml::from_str::<OnlyDataSourceId>(text)?.data_source_id.into())
    }

    /// Reads an index's configuration file and checks it against its data source.
    ///
    /// # Errors
    /// [`MetaError`] for text that is not YAML, and for the first inconsistency.
    pub fn from_yaml(id: IndexId, text: &str, data_source: Arc<DataSourceMeta>) -> Result<Self, MetaError> {
        let file: IndexFile = yaml::from_str(text)?;
        let expected = DataSourceId::from(file.data_source_id);
        if expected != *data_source.id() {
            return Err(MetaError::OtherDataSource { expected, got: data_source.id().clone() });
        }
        let algorithm = check_algorithm(file.index_algorithm, &data_source)?;
        let id_attributes = yaml::unique("idAttributes", file.id_attributes)?;
        if id_attributes.is_empty() {
            return Err(MetaError::NoAttributes { property: "idAttributes" });
        }
        let split_attributes = yaml::unique("splitAttributes", file.split_attributes.unwrap_or_default())?;
        data_source.check_are_permanent("idAttributes", &id_attributes)?;
        data_source.check_are_permanent("splitAttributes", &split_attributes)?;
        let mut index_id_keys = id_attributes;
        index_id_keys.retain(|key| !split_attributes.contains(key));
        if index_id_keys.is_empty() {
            return Err(MetaError::NoIndexId);
        }
        let mut split_keys = split_attributes.clone();
        let is_payload = |key: &&String| !index_id_keys.contains(key) && !split_keys.contains(key);
        let mut payload_keys: Vec<_> =
            data_source.attribute_types().keys().filter(is_payload).cloned().collect();
        for keys in [&mut index_id_keys, &mut split_keys, &mut payload_keys] {
            sort_by_key(keys, |key| key);
        }
        let shards = check_shards(file.shards_by_id, &data_source)?;
        Ok(Self {
            id,
            data_source,
            algorithm,
            index_id_keys,
            split_attributes,
            split_keys,
            payload_keys,
            shards,
        })
    }
}

fn check_algorithm(file: AlgorithmFile, data_source: &DataSourceMeta) -> Result<Algorithm, MetaError> {
    let params: Vec<_> = file.params.unwrap_or_default().into_iter().collect();
    let algorithm = Algorithm::parse(&file.name, &params)?;
    let (expected, got) = (algorithm.vector_kind(), data_source.vector_kind());
    if expected == got {
        return Ok(algorithm);
    }
    let data_source = data_source.id().clone();
    Err(MetaError::VectorKind { algorithm: algorithm.name(), expected, data_source, got })
}

fn check_shards(
    shards: IndexMap<String, Option<ShardFile>>,
    data_source: &DataSourceMeta,
) -> Result<IndexMap<String, IndexShardMeta>, MetaError> {
    if shards.is_empty() {
        return Err(MetaError::NoShards);
    }
    let check = |(shard_id, file): (String, Option<ShardFile>)| {
        let file = file.unwrap_or_default();
        let rules = check_rules(&shard_id, file.shards_by_attribute_key.unwrap_or_default(), data_source)?;
        let subscriptions = check_subscriptions(&shard_id, file.data_source_shards_to_consume, data_source)?;
        Ok((shard_id, IndexShardMeta { rules, subscriptions }))
    };
    shards.into_iter().map(check).collect()
}

fn check_rules(
    shard: &str,
    rules: IndexMap<String, RuleFile>,
    data_source: &DataSourceMeta,
) -> Result<Vec<ShardingRule>, MetaError> {
    data_source.check_are_permanent("shardsByAttributeKey", rules.keys())?;
    let check = |(attribute, file): (String, RuleFile)| {
        let number_of_shards = yaml::number_of_shards(&attribute, file.number_of_shards)?;
        let values = file.shard_values.unwrap_or_default();
        if values.is_empty() {
            return Err(MetaError::NoShardValues { shard: shard.to_owned(), attribute });
        }
        let value = |got: i64| {
            let value = u16::try_from(got).ok().filter(|&value| value < number_of_shards.get());
            let (shard, attribute) = (shard.to_owned(), attribute.clone());
            value.ok_or(MetaError::ShardValue { shard, attribute, got, number_of_shards })
        };
        let values = values.into_iter().map(value).collect::<Result<_, _>>()?;
        Ok(ShardingRule::new(attribute, number_of_shards, values))
    };
    rules.into_iter().map(check).collect()
}

fn check_subscriptions(
    shard: &str,
    subscriptions: Option<Vec<Option<SubscriptionFile>>>,
    data_source: &DataSourceMeta,
) -> Result<Vec<Subscription>, MetaError> {
    let Some(subscriptions) = subscriptions else { return Ok(vec![Subscription::default()]) };
    if subscriptions.is_empty() {
        return Err(MetaError::NoSubscriptions { shard: shard.to_owned() });
    }
    let check = |file: Option<SubscriptionFile>| {
        let coordinates = file.unwrap_or_default().sharding_coordinates_by_attribute_key.unwrap_or_default();
        data_source.check_are_permanent("shardingCoordinatesByAttributeKey", coordinates.keys())?;
        let coordinate =
            |(attribute, got): (String, Option<i64>)| match got.map(|got| (got, u16::try_from(got))) {
                None => Ok((attribute, None)),
                Some((_, Ok(coordinate))) => Ok((attribute, Some(coordinate))),
                Some((got, Err(_))) => Err(MetaError::Coordinate { shard: shard.to_owned(), attribute, got }),
            };
        Ok(Subscription::new(coordinates.into_iter().map(coordinate).collect::<Result<Vec<_>, _>>()?))
    };
    subscriptions.into_iter().map(check).collect()
}
