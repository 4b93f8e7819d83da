//! The YAML files of a configuration directory: how they are read, and what can be wrong with them.
//!
//! Keys are case-sensitive, unknown properties are ignored, and a plain scalar read as text stays the text that was
//! written: version `1.0` is not `1`.

use std::num::NonZeroU16;

use serde::de::DeserializeOwned;

use crate::{AlgorithmError, DataSourceId, IndexId, UnknownAttributeType, VectorKind};

/// Why a configuration file does not describe a data source or an index. Whoever knows the file adds its name.
///
/// ```
/// use vektonn_core::{DataSourceId, DataSourceMeta};
///
/// let error = DataSourceMeta::from_yaml(DataSourceId::new("Places", "1.0"), "vectorDimension: many").unwrap_err();
/// assert_eq!(error.to_string(), "line 1, column 18: expected a whole number");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetaError {
    /// The text is not YAML, or a property is missing or of the wrong kind.
    #[error("{}", at(*line, *column, message))]
    Yaml {
        /// What is wrong.
        message: String,
        /// The line, from 1; 0 if it is not known.
        line: u64,
        /// The column in characters, from 1; 0 if it is not known.
        column: u64,
    },
    /// The dimension is not a positive 32-bit integer.
    #[error("vectorDimension must be from 1 to {}, got {got}", i32::MAX)]
    Dimension {
        /// The number in the file.
        got: i64,
    },
    /// An attribute's type has an unknown name.
    #[error("attributeValueTypes: attribute '{attribute}': {unknown}")]
    AttributeType {
        /// The attribute.
        attribute: String,
        /// The type's name. It is not called the source: the message is whole, and a chain would repeat the end of it.
        unknown: UnknownAttributeType,
    },
    /// A list that must name at least one attribute is empty.
    #[error("{property} must name at least one attribute")]
    NoAttributes {
        /// The property of the file.
        property: &'static str,
    },
    /// An attribute is named twice in one list.
    #[error("{property} names attribute '{attribute}' twice")]
    DuplicateAttribute {
        /// The property of the file.
        property: &'static str,
        /// The attribute.
        attribute: String,
    },
    /// An attribute is used that the data source does not declare.
    #[error(
        "{property} names attribute '{attribute}', which has no type in attributeValueTypes of the data source"
    )]
    NoType {
        /// The property of the file.
        property: &'static str,
        /// The attribute.
        attribute: String,
    },
    /// An attribute is used that must be, but is not, permanent.
    #[error(
        "{property} names attribute '{attribute}', which is not one of the data source's permanentAttributes"
    )]
    NotPermanent {
        /// The property of the file.
        property: &'static str,
        /// The attribute.
        attribute: String,
    },
    /// A number of shards is not a positive 16-bit integer.
    #[error("numberOfShards of attribute '{attribute}' must be from 1 to {}, got {got}", u16::MAX)]
    NumberOfShards {
        /// The sharding attribute.
        attribute: String,
        /// The number in the file.
        got: i64,
    },
    /// The file describes another data source than the one it is checked against.
    #[error("the index follows {expected}, but was checked against {got}")]
    OtherDataSource {
        /// The data source in the file.
        expected: DataSourceId,
        /// The data source that was given.
        got: DataSourceId,
    },
    /// The algorithm or its parameters are wrong.
    #[error("indexAlgorithm: {0}")]
    Algorithm(#[from] AlgorithmError),
    /// The algorithm is for another kind of vectors than the data source holds.
    #[error("algorithm {algorithm} is for {expected} vectors, but the vectors of {data_source} are {got}")]
    VectorKind {
        /// The algorithm's name.
        algorithm: &'static str,
        /// The kind it is for.
        expected: VectorKind,
        /// The data source.
        data_source: DataSourceId,
        /// The kind it holds.
        got: VectorKind,
    },
    /// All id attributes are split attributes, so that all points of a split would be one.
    #[error("idAttributes must name an attribute that is not one of splitAttributes")]
    NoIndexId,
    /// The index has no shards.
    #[error("shardsById must name at least one shard")]
    NoShards,
    /// A shard takes no value of an attribute at all.
    #[error("shard '{shard}': shardValues of attribute '{attribute}' must not be empty")]
    NoShardValues {
        /// The shard.
        shard: String,
        /// The sharding attribute.
        attribute: String,
    },
    /// A shard takes a value that no hash gives.
    #[error(
        "shard '{shard}': shardValues of attribute '{attribute}' must be from 0 to {}, got {got}",
        number_of_shards.get() - 1
    )]
    ShardValue {
        /// The shard.
        shard: String,
        /// The sharding attribute.
        attribute: String,
        /// The number in the file.
        got: i64,
        /// The number of values a hash can give.
        number_of_shards: NonZeroU16,
    },
    /// A shard reads nothing.
    #[error(
        "shard '{shard}': dataSourceShardsToConsume must not be empty: leave it out to consume everything"
    )]
    NoSubscriptions {
        /// The shard.
        shard: String,
    },
    /// A coordinate is not a 16-bit integer.
    #[error("shard '{shard}': the coordinate of attribute '{attribute}' must be from 0 to {} or null, got {got}", u16::MAX - 1)]
    Coordinate {
        /// The shard.
        shard: String,
        /// The sharding attribute.
        attribute: String,
        /// The number in the file.
        got: i64,
    },
    /// An endpoint of the topology is not a host with a port.
    #[error("shard '{shard}' of index {index}: an endpoint must be host:port, got '{got}'")]
    Endpoint {
        /// The index.
        index: IndexId,
        /// The shard.
        shard: String,
        /// The text in the file.
        got: String,
    },
}

fn at(line: u64, column: u64, message: &str) -> String {
    if line == 0 { message.to_owned() } else { format!("line {line}, column {column}: {message}") }
}

/// Reads one YAML document.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, MetaError> {
    // Snippets of the file would make the message several lines.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let rendered = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let message = rendered.lines().next().unwrap_or_default().trim_end();
        let message = message.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(message);
        MetaError::Yaml { message: plain(message).to_owned(), line, column }
    })
}

/// The reader's words for wrong kinds of values are those of its implementation.
fn plain(message: &str) -> &str {
    match message {
        "invalid i64" => "expected a whole number",
        "invalid boolean" => "expected true or false",
        "expected string scalar" => "expected text",
        "expected sequence start" => "expected a list",
        "expected mapping start" => "expected a mapping of keys to values",
        other => other,
    }
}

/// The number of shards of an attribute, in a data source or in a shard of an index.
pub(crate) fn number_of_shards(attribute: &str, got: i64) -> Result<NonZeroU16, MetaError> {
    let checked = u16::try_from(got).ok().and_then(NonZeroU16::new);
    checked.ok_or_else(|| MetaError::NumberOfShards { attribute: attribute.to_owned(), got })
}

/// An attribute list without duplicates.
pub(crate) fn unique(property: &'static str, attributes: Vec<String>) -> Result<Vec<String>, MetaError> {
    for (i, attribute) in attributes.iter().enumerate() {
        if attributes[..i].contains(attribute) {
            return Err(MetaError::DuplicateAttribute { property, attribute: attribute.clone() });
        }
    }
    Ok(attributes)
}
