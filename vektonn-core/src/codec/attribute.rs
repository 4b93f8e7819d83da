//! Attribute values and keys.

use uuid::Uuid;

use crate::codec::DecodeError;
use crate::codec::wire::{self, Field, Fields};
use crate::{AttributeValue, DateTime};

// Tags of `AttributeValue`, `Timestamp` and `Key`.
const STRING: u32 = 1;
const GUID: u32 = 2;
const BOOL: u32 = 3;
const INT64: u32 = 4;
const FLOAT64: u32 = 5;
const DATE_TIME: u32 = 6;
const SECONDS: u32 = 1;
const NANOS: u32 = 2;
const VALUES: u32 = 1;

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
    let mut buffer = Vec::new();
    for value in values {
        put_value(VALUES, value, &mut buffer);
    }
    buffer
}

/// The attribute values of a key of the log.
///
/// # Errors
/// [`DecodeError`]; its reason is "undecodable".
pub fn decode_key(bytes: &[u8]) -> Result<Vec<AttributeValue>, DecodeError> {
    let mut values = Vec::new();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.tag {
            VALUES => values.push(take_value(field)?.ok_or(DecodeError::NoValue)?),
            _ => field.skip()?,
        }
    }
    Ok(values)
}

/// The length of an attribute value as a message, without tag and length.
fn message_len(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::String(value) => wire::delimited_len(value.len()),
        AttributeValue::Guid(value) => wire::delimited_len(guid_bytes(value).len()),
        AttributeValue::Bool(_) => wire::varint_len(1),
        AttributeValue::Int64(value) => wire::varint_len(*value as u64),
        AttributeValue::Float64(_) => wire::DOUBLE_LEN,
        AttributeValue::DateTime(value) => wire::delimited_len(timestamp_len(*value)),
    }
}

/// The length of an attribute value with tag and length.
pub(super) fn value_len(value: &AttributeValue) -> usize {
    wire::delimited_len(message_len(value))
}

/// Writes an attribute value with tag and length. Its member is written even if it is the default of its type.
pub(super) fn put_value(tag: u32, value: &AttributeValue, buffer: &mut Vec<u8>) {
    wire::put_delimited(tag, message_len(value), buffer);
    match value {
        AttributeValue::String(value) => put_bytes(STRING, value.as_bytes(), buffer),
        AttributeValue::Guid(value) => put_bytes(GUID, guid_bytes(value), buffer),
        AttributeValue::Bool(value) => wire::put_varint(BOOL, u64::from(*value), buffer),
        AttributeValue::Int64(value) => wire::put_varint(INT64, *value as u64, buffer),
        AttributeValue::Float64(value) => wire::put_doubles(FLOAT64, &[*value], buffer),
        AttributeValue::DateTime(value) => {
            wire::put_delimited(DATE_TIME, timestamp_len(*value), buffer);
            for (tag, number) in timestamp_fields(*value) {
                wire::put_varint(tag, number, buffer);
            }
        }
    }
}

/// Writes a string or bytes.
pub(super) fn put_bytes(tag: u32, bytes: &[u8], buffer: &mut Vec<u8>) {
    wire::put_delimited(tag, bytes.len(), buffer);
    buffer.extend_from_slice(bytes);
}

/// The zero Guid is no bytes.
fn guid_bytes(guid: &Uuid) -> &[u8] {
    if guid.is_nil() { &[] } else { guid.as_bytes() }
}

/// The fields of a `Timestamp`, without those that are zero.
fn timestamp_fields(instant: DateTime) -> impl Iterator<Item = (u32, u64)> {
    let (seconds, nanos) = instant.unix();
    [(SECONDS, seconds as u64), (NANOS, u64::from(nanos))].into_iter().filter(|(_, number)| *number != 0)
}

fn timestamp_len(instant: DateTime) -> usize {
    timestamp_fields(instant).map(|(_, number)| wire::varint_len(number)).sum()
}

/// A member of an attribute value as it was read. It is checked only if no other one follows.
enum Member<'a> {
    Checked(AttributeValue),
    Guid(&'a [u8]),
    DateTime(Timestamp),
}

#[derive(Clone, Copy, Default)]
struct Timestamp {
    seconds: i64,
    nanos: i32,
}

/// Reads an attribute value, if a member is set. Of several members the last one counts.
pub(super) fn take_value(field: Field<'_, '_>) -> Result<Option<AttributeValue>, DecodeError> {
    let mut member = None;
    let mut fields = Fields::of(field.delimited()?);
    while let Some(field) = fields.next()? {
        member = Some(match field.tag {
            STRING => Member::Checked(AttributeValue::String(field.text()?)),
            GUID => Member::Guid(field.delimited()?),
            BOOL => Member::Checked(AttributeValue::Bool(field.varint()? != 0)),
            INT64 => Member::Checked(AttributeValue::Int64(field.varint()? as i64)),
            FLOAT64 => Member::Checked(AttributeValue::Float64(field.double()?)),
            DATE_TIME => {
                // Protobuf merges a message into an equal member before it.
                let before = match member {
                    Some(Member::DateTime(timestamp)) => timestamp,
                    _ => Timestamp::default(),
                };
                Member::DateTime(before.merge(field.delimited()?)?)
            }
            _ => {
                field.skip()?;
                continue;
            }
        });
    }
    member.map(Member::check).transpose()
}

impl Member<'_> {
    fn check(self) -> Result<AttributeValue, DecodeError> {
        Ok(match self {
            Self::Checked(value) => value,
            Self::Guid([]) => AttributeValue::Guid(Uuid::nil()),
            Self::Guid(bytes) => {
                let guid = Uuid::from_slice(bytes);
                AttributeValue::Guid(guid.map_err(|_| DecodeError::GuidLength { got: bytes.len() })?)
            }
            Self::DateTime(timestamp) => AttributeValue::DateTime(timestamp.check()?),
        })
    }
}

impl Timestamp {
    fn merge(mut self, message: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.tag {
                SECONDS => self.seconds = field.varint()? as i64,
                NANOS => self.nanos = field.varint()? as i32,
                _ => field.skip()?,
            }
        }
        Ok(self)
    }

    fn check(self) -> Result<DateTime, DecodeError> {
        let Self { seconds, nanos } = self;
        let within_second = u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
        let instant = within_second.and_then(|nanos| DateTime::from_unix(seconds, nanos).ok());
        instant.ok_or(DecodeError::DateTime { seconds, nanos })
    }
}
