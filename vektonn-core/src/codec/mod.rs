//! The bytes of a data source's log, the same as the published system's (protobuf):
//!
//! ```text
//! message AttributeValue {
//!     oneof value {
//!         string string = 1;
//!         bytes guid = 2;       // 16 bytes, big-endian as printed; the zero Guid is empty
//!         bool bool = 3;
//!         int64 int64 = 4;
//!         double float64 = 5;
//!         google.protobuf.Timestamp date_time = 6;
//!     }
//! }
//! message Key   { repeated AttributeValue values = 1; }             // permanent attributes in key order
//! message Value {
//!     map<string, AttributeValue> attributes = 1;                   // in the order of the upload
//!     repeated double vector_coordinates = 2 [packed = false];
//!     repeated int32 vector_coordinate_indices = 3 [packed = false];
//! }
//! ```
//!
//! A record without a value is a deletion. Packed numbers are read too.

mod attribute;
mod data_point;
mod record;
mod wire;

pub use attribute::{decode_key, encode_key};
pub use data_point::{decode_data_point, encode_data_point};
pub use record::{Record, decode_change, encode_record};

use crate::{AttributeType, VectorError};

/// Why bytes of a log are not a change of a data source.
///
/// ```
/// use vektonn_core::codec::decode_key;
///
/// let error = decode_key(b"not protobuf").unwrap_err();
/// assert_eq!(error.reason(), "undecodable");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not the protobuf message.
    #[error("not a record of Vektonn: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The bytes end too early.
    #[error("not a record of Vektonn: expected {expected} more bytes, got {got}")]
    Truncated {
        /// The number of bytes that were announced.
        expected: u64,
        /// The number of bytes that are left.
        got: usize,
    },
    /// A string is not UTF-8.
    #[error("not a record of Vektonn: {0}")]
    Text(#[from] std::str::Utf8Error),
    /// An attribute value has none of its members.
    #[error("an attribute value is of no type")]
    NoValue,
    /// A Guid has neither 0 nor 16 bytes.
    #[error("a Guid must have 16 bytes, got {got}")]
    GuidLength {
        /// The number of bytes.
        got: usize,
    },
    /// An instant is before the year 1 or after the year 9999, or has nanoseconds that are not below a second.
    #[error("a DateTime must be within the years 1 to 9999, got {seconds} s and {nanos} ns since 1970")]
    DateTime {
        /// Seconds since 1970.
        seconds: i64,
        /// Nanoseconds.
        nanos: i32,
    },
    /// The key has not one value for each permanent attribute.
    #[error("the key must have {expected} values, one for each permanent attribute, got {got}")]
    KeyLength {
        /// The number of permanent attributes.
        expected: usize,
        /// The number of values.
        got: usize,
    },
    /// A value of the key is not of the type that the data source declares.
    #[error("the key's value of attribute '{attribute}' must be of type {expected}, got {got}")]
    KeyType {
        /// The permanent attribute.
        attribute: String,
        /// The declared type.
        expected: AttributeType,
        /// The value's type.
        got: AttributeType,
    },
    /// Key and value are of different data points.
    #[error("attribute '{attribute}' is another one in the key than in the value")]
    KeyMismatch {
        /// The permanent attribute.
        attribute: String,
    },
    /// A permanent attribute is missing from the value.
    #[error("permanent attribute '{attribute}' is missing")]
    MissingAttribute {
        /// The attribute.
        attribute: String,
    },
    /// An attribute is not of the type that the data source declares.
    #[error("attribute '{attribute}' must be of type {expected}, got {got}")]
    AttributeType {
        /// The attribute.
        attribute: String,
        /// The declared type.
        expected: AttributeType,
        /// The value's type.
        got: AttributeType,
    },
    /// The vector does not fit the data source.
    #[error(transparent)]
    Vector(#[from] VectorError),
}

impl DecodeError {
    /// A short name of the kind of error that stays the same over versions, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Protobuf(_) | Self::Truncated { .. } | Self::Text(_) => "undecodable",
            Self::NoValue | Self::GuidLength { .. } | Self::DateTime { .. } => "undecodable",
            Self::KeyLength { .. } | Self::KeyType { .. } | Self::KeyMismatch { .. } => "wrong_key",
            Self::MissingAttribute { .. } | Self::AttributeType { .. } => "wrong_attribute",
            Self::Vector(_) => "wrong_vector",
        }
    }
}
