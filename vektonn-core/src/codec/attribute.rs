//! Attribute values and keys.

use prost::{Message, Oneof};
use prost_types::Timestamp;
use uuid::Uuid;

use crate::codec::DecodeError;
use crate::{AttributeValue, DateTime};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueMessage {
    #[prost(oneof = "Member", tags = "1, 2, 3, 4, 5, 6")]
    member: Option<Member>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Member {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bytes = "vec", tag = "2")]
    Guid(Vec<u8>),
    #[prost(bool, tag = "3")]
    Bool(bool),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(double, tag = "5")]
    Float64(f64),
    #[prost(message, tag = "6")]
    DateTime(Timestamp),
}

#[derive(Clone, PartialEq, Message)]
struct KeyMessage {
    #[prost(message, repeated, tag = "1")]
    values: Vec<ValueMessage>,
}

/// The bytes of a key of the log: attribute values in the given order, which for a record is the permanent
/// attributes' key order.
///
/// ```
/// use vektonn_core::codec::{decode_key, encode_key};
///
/// let key = encode_key(&["x".into(), true.into()]);
/// assert_eq!(key, b"\x0a\x03\x0a\x01x\x0a\x02\x18\x01");
/// assert_eq!(decode_key(&key)?, ["x".into(), true.into()]);
/// # Ok::<(), vektonn_core::codec::DecodeError>(())
/// ```
pub fn encode_key<'a>(values: impl IntoIterator<Item = &'a AttributeValue>) -> Vec<u8> {
    KeyMessage { values: values.into_iter().map(ValueMessage::from).collect() }.encode_to_vec()
}

/// The attribute values of a key of the log.
///
/// # Errors
/// [`DecodeError`]; its reason is "undecodable".
pub fn decode_key(bytes: &[u8]) -> Result<Vec<AttributeValue>, DecodeError> {
    KeyMessage::decode(bytes)?.values.into_iter().map(AttributeValue::try_from).collect()
}

impl From<&AttributeValue> for ValueMessage {
    fn from(value: &AttributeValue) -> Self {
        let member = match value {
            AttributeValue::String(value) => Member::String(value.clone()),
            AttributeValue::Guid(value) if value.is_nil() => Member::Guid(Vec::new()),
            AttributeValue::Guid(value) => Member::Guid(value.as_bytes().to_vec()),
            AttributeValue::Bool(value) => Member::Bool(*value),
            AttributeValue::Int64(value) => Member::Int64(*value),
            AttributeValue::Float64(value) => Member::Float64(*value),
            AttributeValue::DateTime(value) => {
                let (seconds, nanos) = value.unix();
                Member::DateTime(Timestamp { seconds, nanos: nanos as i32 })
            }
        };
        Self { member: Some(member) }
    }
}

impl TryFrom<ValueMessage> for AttributeValue {
    type Error = DecodeError;

    fn try_from(message: ValueMessage) -> Result<Self, Self::Error> {
        Ok(match message.member.ok_or(DecodeError::NoValue)? {
            Member::String(value) => Self::String(value),
            Member::Guid(bytes) if bytes.is_empty() => Self::Guid(Uuid::nil()),
            Member::Guid(bytes) => {
                let guid = Uuid::from_slice(&bytes);
                Self::Guid(guid.map_err(|_| DecodeError::GuidLength { got: bytes.len() })?)
            }
            Member::Bool(value) => Self::Bool(value),
            Member::Int64(value) => Self::Int64(value),
            Member::Float64(value) => Self::Float64(value),
            Member::DateTime(Timestamp { seconds, nanos }) => {
                let within_second = u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
                let instant = within_second.and_then(|nanos| DateTime::from_unix(seconds, nanos).ok());
                Self::DateTime(instant.ok_or(DecodeError::DateTime { seconds, nanos })?)
            }
        })
    }
}
