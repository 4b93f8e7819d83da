//! What an index is: the data source it follows, its algorithm, its attributes, shards and splits.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::collation::sort_by_key;
use crate::sharding::ShardingRule;
use crate::{Algorithm, Attribute, DataSourceId, DataSourceMeta, MetaError, yaml};

/// The name and version of an index. Prints as error messages of the HTTP API do.
///
/// ```
/// let id = vektonn_core::IndexId::new("Samples.DenseVectors", "0.1");
/// assert_eq!(id.to_string(), "IndexId { Name = Samples.DenseVectors, Version = 0.1 }");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexId {
    /// The name, such as `Samples.DenseVectors`.
    pub name: String,
    /// The version, as text: `1.0` is not `1`.
    pub version: String,
}

impl IndexId {
    /// The id of an index.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexId {{ Name = {}, Version = {} }}", self.name, self.version)
    }
}

/// An index as its configuration file describes it, checked against its data source.
///
/// ```
/// use std::sync::Arc;
/// use vektonn_core::{DataSourceMeta, IndexId, IndexMeta};
///
/// let text = "
/// dataSourceId: {name: Places, version: 1.0}
/// indexAlgorithm: {type: FaissIndex.L2}
/// idAttributes: [Id, Region]
/// splitAttributes: [Region]
/// shardsById: {Single: {}}
/// ";
/// let places = "
/// vectorDimension: 3
/// attributeValueTypes: {Id: Int64, Region: String, Note: String}
/// permanentAttributes: [Region, Id]
/// ";
/// let data_source = DataSourceMeta::from_yaml(IndexMeta::data_source_id_from_yaml(text)?, places)?;
/// let meta = IndexMeta::from_yaml(IndexId::new("Places.Near", "1"), text, Arc::new(data_source))?;
/// assert_eq!(meta.data_source().id().version, "1.0");
/// assert_eq!(meta.index_id_keys(), ["Id"]);
/// assert_eq!(meta.split_keys(), ["Region"]);
/// assert_eq!(meta.payload_keys(), ["Note"]);
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct IndexMeta {
    pub(crate) id: IndexId,
    pub(crate) data_source: Arc<DataSourceMeta>,
    pub(crate) algorithm: Algorithm,
    /// Id attributes that are not split attributes, ordered by key.
    pub(crate) index_id_keys: Vec<String>,
    /// Split attributes in the order of the file, as messages print them.
    pub(crate) split_attributes: Vec<String>,
    /// Split attributes ordered by key.
    pub(crate) split_keys: Vec<String>,
    /// All other attributes of the data source, ordered by key.
    pub(crate) payload_keys: Vec<String>,
    /// By shard id, in the order of the file.
    pub(crate) shards: IndexMap<String, IndexShardMeta>,
}

/// One shard of an index: which data points it takes, and which topics it reads them from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexShardMeta {
    /// A data point belongs here if every one of these attributes falls into its shard values.
    /// Empty: everything belongs here.
    pub(crate) rules: Vec<ShardingRule>,
    pub(crate) subscriptions: Vec<Subscription>,
}

/// Topics of a data source that a shard reads: one coordinate, or any, for each sharding attribute it names.
///
/// A sharding attribute that it does not name is a topic without that segment, so on a data source sharded by it
/// such a subscription finds nothing.
///
/// ```
/// use vektonn_core::Subscription;
///
/// let subscription = Subscription::new([("Region".to_owned(), None), ("Id".to_owned(), Some(2))]);
/// assert_eq!(subscription.coordinates[0], ("Id".to_owned(), Some(2)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Subscription {
    /// The coordinates by sharding attribute, in key order; `None` means any coordinate.
    pub coordinates: Vec<(String, Option<u16>)>,
}

impl Subscription {
    /// A subscription to the given coordinates, by sharding attribute, in any order; `None` means any coordinate.
    pub fn new(coordinates: impl IntoIterator<Item = (String, Option<u16>)>) -> Self {
        let mut coordinates: Vec<_> = coordinates.into_iter().collect();
        sort_by_key(&mut coordinates, |(key, _)| key);
        Self { coordinates }
    }

    /// Why this subscription can never get a record of the data source, if so.
    fn never_gets_data(&self, data_source: &DataSourceMeta) -> Option<String> {
        let sharders = data_source.sharders();
        let coordinate_of = |key: &str| self.coordinates.iter().find(|(named, _)| named == key);
        if let Some((key, _)) = sharders.iter().find(|(key, _)| coordinate_of(key).is_none()) {
            return Some(format!("leaves out attribute '{key}', by which the data source is sharded"));
        }
        self.coordinates.iter().find_map(|(key, coordinate)| {
            let Some((_, number)) = sharders.iter().find(|(sharder, _)| sharder == key) else {
                return Some(format!("names attribute '{key}', by which the data source is not sharded"));
            };
            let coordinate = coordinate.filter(|&coordinate| coordinate >= number.get())?;
            Some(format!("asks for coordinate {coordinate} of attribute '{key}', which has {number} shards"))
        })
    }
}

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

    /// What is allowed but rarely meant, one line for each, to be shown when the index starts.
    pub fn warnings(&self) -> Vec<String> {
        let identifies = |key: &&String| !self.index_id_keys.contains(key) && !self.split_keys.contains(key);
        let uncovered: Vec<_> =
            self.data_source.permanent_keys().iter().filter(identifies).cloned().collect();
        let mut warnings = Vec::new();
        if !uncovered.is_empty() {
            warnings.push(format!(
                "idAttributes and splitAttributes leave out the permanent attributes {{{}}} of {}: data points that \
                 differ only in them are one point of the index, and after a restart another one may be shown",
                uncovered.join(", "),
                self.data_source.id()
            ));
        }
        for (shard_id, shard) in &self.shards {
            let reasons = shard.subscriptions.iter().filter_map(|s| s.never_gets_data(&self.data_source));
            warnings.extend(reasons.map(|reason| {
                format!("shard '{shard_id}': a subscription in dataSourceShardsToConsume {reason}: it never gets data")
            }));
        }
        warnings
    }

    /// The name and version.
    pub fn id(&self) -> &IndexId {
        &self.id
    }

    /// The data source that this index follows.
    pub fn data_source(&self) -> &Arc<DataSourceMeta> {
        &self.data_source
    }

    /// How the index searches.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// The attributes that identify a point within its split, in key order. At least one.
    pub fn index_id_keys(&self) -> &[String] {
        &self.index_id_keys
    }

    /// The split attributes in the order of the file, as error messages list them.
    pub fn split_attributes(&self) -> &[String] {
        &self.split_attributes
    }

    /// The split attributes in key order.
    pub fn split_keys(&self) -> &[String] {
        &self.split_keys
    }

    /// All other attributes of the data source, in key order.
    pub fn payload_keys(&self) -> &[String] {
        &self.payload_keys
    }

    /// The shards by id, in the order of the file. At least one.
    pub fn shards(&self) -> &IndexMap<String, IndexShardMeta> {
        &self.shards
    }
}

impl IndexShardMeta {
    /// Whether a data point with these attributes belongs to this shard. An attribute that a rule asks for and that
    /// is missing belongs nowhere; permanent attributes, as all rules' are, never miss.
    pub fn takes(&self, attributes: &[Attribute]) -> bool {
        self.rules.iter().all(|rule| rule.verdict(attributes) == Some(true))
    }

    /// Whether this shard may hold points that match a split filter. If not, it need not be asked.
    pub fn may_hold(&self, split_filter: &[Attribute]) -> bool {
        self.rules.iter().all(|rule| rule.verdict(split_filter) != Some(false))
    }

    /// What this shard reads, at least one.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
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
