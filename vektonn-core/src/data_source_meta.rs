//! What a data source holds: its vectors' dimension, its attributes and how its log is sharded.

use std::fmt;
use std::num::NonZeroU16;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::collation::sort_by_key;
use crate::{AttributeType, MetaError, UnknownAttributeType, VectorKind, yaml};

/// The name and version of a data source. Prints as error messages of the HTTP API do.
///
/// ```
/// let id = vektonn_core::DataSourceId::new("Samples.DenseVectors", "0.1");
/// assert_eq!(id.to_string(), "DataSourceId { Name = Samples.DenseVectors, Version = 0.1 }");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataSourceId {
    /// The name, such as `Samples.DenseVectors`.
    pub name: String,
    /// The version, as text: `1.0` is not `1`.
    pub version: String,
}

impl DataSourceId {
    /// The id of a data source.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

impl fmt::Display for DataSourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataSourceId {{ Name = {}, Version = {} }}", self.name, self.version)
    }
}

/// A data source as its configuration file describes it, checked for consistency.
///
/// ```
/// use vektonn_core::{DataSourceId, DataSourceMeta, VectorKind};
///
/// let text = "
/// vectorDimension: 3
/// vectorsAreSparse: false
/// attributeValueTypes: {Id: Int64, Region: String, Note: String}
/// permanentAttributes: [Region, Id]
/// shardersByAttributeKey: {Region: {numberOfShards: 4}}
/// ";
/// let meta = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), text)?;
/// assert_eq!((meta.dimension(), meta.vector_kind()), (3, VectorKind::Dense));
/// assert_eq!(meta.permanent_keys(), ["Id", "Region"]);
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DataSourceMeta {
    pub(crate) id: DataSourceId,
    pub(crate) vector_kind: VectorKind,
    pub(crate) dimension: usize,
    /// In the order of the file.
    pub(crate) attribute_types: IndexMap<String, AttributeType>,
    /// Ordered by key, as the log's keys are.
    pub(crate) permanent_keys: Vec<String>,
    /// Ordered by key, as the log's topics are.
    pub(crate) sharders: Vec<(String, NonZeroU16)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataSourceFile {
    vector_dimension: i64,
    #[serde(default)]
    vectors_are_sparse: bool,
    attribute_value_types: IndexMap<String, String>,
    permanent_attributes: Vec<String>,
    sharders_by_attribute_key: Option<IndexMap<String, SharderFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SharderFile {
    number_of_shards: i64,
}

impl DataSourceMeta {
    /// Reads a data source's configuration file.
    ///
    /// # Errors
    /// [`MetaError`] for text that is not YAML, and for the first inconsistency.
    pub fn from_yaml(id: DataSourceId, text: &str) -> Result<Self, MetaError> {
        let file: DataSourceFile = yaml::from_str(text)?;
        let mut meta = Self {
            id,
            vector_kind: if file.vectors_are_sparse { VectorKind::Sparse } else { VectorKind::Dense },
            dimension: check_dimension(file.vector_dimension)?,
            attribute_types: check_types(file.attribute_value_types)?,
            permanent_keys: Vec::new(),
            sharders: Vec::new(),
        };
        meta.permanent_keys = meta.check_permanent(file.permanent_attributes)?;
        meta.sharders = meta.check_sharders(file.sharders_by_attribute_key.unwrap_or_default())?;
        Ok(meta)
    }

    /// The name and version.
    pub fn id(&self) -> &DataSourceId {
        &self.id
    }

    /// The number of dimensions of every vector, at least 1.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Whether the vectors are dense or sparse.
    pub fn vector_kind(&self) -> VectorKind {
        self.vector_kind
    }

    /// All attributes of a data point, in the order of the file.
    pub fn attribute_types(&self) -> &IndexMap<String, AttributeType> {
        &self.attribute_types
    }

    /// The attributes that identify a data point for ever, in key order: the order of the log's keys.
    pub fn permanent_keys(&self) -> &[String] {
        &self.permanent_keys
    }

    /// The attributes that decide in which topic of the log a data point lives, each with its number of shards, in
    /// key order. None: there is one topic.
    pub fn sharders(&self) -> &[(String, NonZeroU16)] {
        &self.sharders
    }

    /// An error if one of the attributes has no type or is not permanent.
    pub(crate) fn check_are_permanent<'a>(
        &self,
        property: &'static str,
        attributes: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), MetaError> {
        for attribute in attributes {
            if !self.attribute_types.contains_key(attribute) {
                return Err(MetaError::NoType { property, attribute: attribute.clone() });
            }
            if !self.permanent_keys.contains(attribute) {
                return Err(MetaError::NotPermanent { property, attribute: attribute.clone() });
            }
        }
        Ok(())
    }

    fn check_permanent(&self, attributes: Vec<String>) -> Result<Vec<String>, MetaError> {
        let property = "permanentAttributes";
        if attributes.is_empty() {
            return Err(MetaError::NoAttributes { property });
        }
        let mut keys = yaml::unique(property, attributes)?;
        if let Some(key) = keys.iter().find(|&key| !self.attribute_types.contains_key(key)) {
            return Err(MetaError::NoType { property, attribute: key.clone() });
        }
        sort_by_key(&mut keys, |key| key);
        Ok(keys)
    }

    fn check_sharders(
        &self,
        sharders: IndexMap<String, SharderFile>,
    ) -> Result<Vec<(String, NonZeroU16)>, MetaError> {
        self.check_are_permanent("shardersByAttributeKey", sharders.keys())?;
        let check = |(key, file): (String, SharderFile)| {
            let number = yaml::number_of_shards(&key, file.number_of_shards)?;
            Ok((key, number))
        };
        let mut sharders = sharders.into_iter().map(check).collect::<Result<Vec<_>, MetaError>>()?;
        sort_by_key(&mut sharders, |(key, _)| key);
        Ok(sharders)
    }
}

/// Sparse indices are 32-bit signed integers in the log, so no dimension can be larger.
fn check_dimension(got: i64) -> Result<usize, MetaError> {
    match i32::try_from(got) {
        Ok(dimension @ 1..) => Ok(dimension as usize),
        _ => Err(MetaError::Dimension { got }),
    }
}

fn check_types(types: IndexMap<String, String>) -> Result<IndexMap<String, AttributeType>, MetaError> {
    let check = |(attribute, name): (String, String)| match name.parse() {
        Ok(attribute_type) => Ok((attribute, attribute_type)),
        Err(unknown @ UnknownAttributeType(_)) => Err(MetaError::AttributeType { attribute, unknown }),
    };
    types.into_iter().map(check).collect()
}
