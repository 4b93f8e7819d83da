//! What an index is: the data source it follows, its algorithm, its attributes, shards and splits.

mod read;

use std::fmt;
use std::sync::Arc;

use crate::collation::sort_by_key;
use crate::sharding::ShardingRule;
use crate::{Algorithm, Attribute, DataSourceMeta};
use indexmap::IndexMap;

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
///
/// ```
/// # use std::sync::Arc;
/// # use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta};
/// use vektonn_core::Attribute;
///
/// # let places = "{vectorDimension: 3, attributeValueTypes: {Id: Int64, Here: Bool}, permanentAttributes: [Id, Here]}";
/// # let data_source = Arc::new(DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), places)?);
/// let text = "
/// dataSourceId: {name: Places, version: 1.0}
/// indexAlgorithm: {type: FaissIndex.L2}
/// idAttributes: [Id, Here]
/// shardsById:
///   Near: {shardsByAttributeKey: {Here: {numberOfShards: 2, shardValues: [1]}}}
///   Far: {shardsByAttributeKey: {Here: {numberOfShards: 2, shardValues: [0]}}}
/// ";
/// let meta = IndexMeta::from_yaml(IndexId::new("Places", "1"), text, data_source)?;
/// let home = [Attribute::new("Id", 7), Attribute::new("Here", true)];
/// assert!(meta.shards()["Near"].takes(&home) && !meta.shards()["Far"].takes(&home));
/// assert!(!meta.shards()["Far"].may_hold(&[Attribute::new("Here", true)]));
/// assert!(meta.shards()["Far"].may_hold(&[]));
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
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

impl IndexMeta {
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
