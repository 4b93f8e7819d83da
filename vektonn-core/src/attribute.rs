//! Attributes: the named, typed values that identify and describe a data point.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use uuid::Uuid;

use crate::DateTime;

/// A named value of a data point.
///
/// ```
/// use vektonn_core::{Attribute, AttributeValue};
///
/// let attribute = Attribute::new("Id", 7);
/// assert_eq!((attribute.key.as_str(), attribute.value), ("Id", AttributeValue::Int64(7)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The attribute's name. Case-sensitive.
    pub key: String,
    /// The attribute's value.
    pub value: AttributeValue,
}

impl Attribute {
    /// An attribute of the given name and value.
    pub fn new(key: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// Whether no key repeats.
pub(crate) fn are_unique<K: Copy + Eq + Hash>(keys: impl ExactSizeIterator<Item = K> + Clone) -> bool {
    /// Up to so many keys, comparing all pairs is faster than hashing.
    const PAIRWISE_MAX: usize = 32;
    if keys.len() > PAIRWISE_MAX {
        return keys.clone().collect::<HashSet<_>>().len() == keys.len();
    }
    keys.clone().enumerate().all(|(i, key)| keys.clone().take(i).all(|earlier| earlier != key))
}

/// A value of exactly one of the six attribute types.
///
/// Two values are equal when their bytes in the log are equal, so a `Float64` is compared by its bits:
/// `0.0` and `-0.0` name different data points, and a NaN is equal to itself.
///
/// ```
/// use vektonn_core::{AttributeType, AttributeValue};
///
/// let value = AttributeValue::from(true);
/// assert_eq!(value.attribute_type(), AttributeType::Bool);
/// assert_eq!(value.to_string(), "True");
/// assert_ne!(AttributeValue::from(0.0), AttributeValue::from(-0.0));
/// ```
#[derive(Clone, Debug)]
pub enum AttributeValue {
    /// Unicode text.
    String(String),
    /// A 128-bit identifier.
    Guid(Uuid),
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int64(i64),
    /// A 64-bit float.
    Float64(f64),
    /// A UTC instant in units of 100 ns.
    DateTime(DateTime),
}

impl AttributeValue {
    /// The type of this value.
    pub fn attribute_type(&self) -> AttributeType {
        match self {
            Self::String(_) => AttributeType::String,
            Self::Guid(_) => AttributeType::Guid,
            Self::Bool(_) => AttributeType::Bool,
            Self::Int64(_) => AttributeType::Int64,
            Self::Float64(_) => AttributeType::Float64,
            Self::DateTime(_) => AttributeType::DateTime,
        }
    }
}

impl PartialEq for AttributeValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Guid(a), Self::Guid(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int64(a), Self::Int64(b)) => a == b,
            (Self::Float64(a), Self::Float64(b)) => a.to_bits() == b.to_bits(),
            (Self::DateTime(a), Self::DateTime(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for AttributeValue {}

impl Hash for AttributeValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.attribute_type().hash(state);
        match self {
            Self::String(value) => value.hash(state),
            Self::Guid(value) => value.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Int64(value) => value.hash(state),
            Self::Float64(value) => value.to_bits().hash(state),
            Self::DateTime(value) => value.hash(state),
        }
    }
}

/// Prints the value as error messages do: a Bool as `True` or `False`, a Guid lower-case with hyphens.
impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(value) => f.write_str(value),
            Self::Guid(value) => value.fmt(f),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int64(value) => value.fmt(f),
            Self::Float64(value) => value.fmt(f),
            Self::DateTime(value) => value.fmt(f),
        }
    }
}

macro_rules! from_inner {
    ($($inner:ty => $variant:ident),* $(,)?) => {$(
        impl From<$inner> for AttributeValue {
            fn from(value: $inner) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

from_inner! { String => String, Uuid => Guid, bool => Bool, i64 => Int64, f64 => Float64, DateTime => DateTime }

impl From<&str> for AttributeValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

/// The type of an attribute's values, as a data source declares it.
///
/// ```
/// use vektonn_core::AttributeType;
///
/// assert_eq!("datetime".parse(), Ok(AttributeType::DateTime));
/// assert_eq!(AttributeType::DateTime.to_string(), "DateTime");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttributeType {
    /// Unicode text.
    String,
    /// A 128-bit identifier.
    Guid,
    /// True or false.
    Bool,
    /// A signed 64-bit integer.
    Int64,
    /// A 64-bit float.
    Float64,
    /// A UTC instant.
    DateTime,
}

impl AttributeType {
    /// All types, in the order of the protobuf message.
    pub const ALL: [Self; 6] =
        [Self::String, Self::Guid, Self::Bool, Self::Int64, Self::Float64, Self::DateTime];

    /// The name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Guid => "Guid",
            Self::Bool => "Bool",
            Self::Int64 => "Int64",
            Self::Float64 => "Float64",
            Self::DateTime => "DateTime",
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names none of the six attribute types.
///
/// ```
/// use vektonn_core::{AttributeType, UnknownAttributeType};
///
/// assert_eq!("uuid".parse::<AttributeType>(), Err(UnknownAttributeType("uuid".to_owned())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown attribute type '{0}': expected String, Guid, Bool, Int64, Float64 or DateTime")]
pub struct UnknownAttributeType(pub String);

/// Reads a type's name in any case, as configuration files write it.
impl FromStr for AttributeType {
    type Err = UnknownAttributeType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|ty| ty.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownAttributeType(text.to_owned()))
    }
}
