//! The bytes of stored entries. All integers are big-endian, so that keys sort by topic and offset.
//!
//! | keyspace     | key                  | value                                                   |
//! |--------------|----------------------|---------------------------------------------------------|
//! | `topics`     | name                 | number u32, id 16 bytes, end u64, swept below u64       |
//! | `log`        | number u32, offset u64 | kind u8 (0 tombstone, 1 value), key length u32, key, value |
//! | `latest`     | number u32, record key | offset u64, kind u8                                   |
//! | `tombstones` | number u32, offset u64 | milliseconds since 1970 u64, record key               |

use std::sync::Arc;

use byteview::ByteView;
use fjall::Slice;
use uuid::Uuid;

use crate::LogRecord;
use crate::topic_table::TopicState;

/// The storage engine takes keys of 65,535 bytes, and we put the topic's number before them.
pub(super) const RECORD_KEY_BYTES_MAX: usize = 65_000;

const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

pub(super) type LogKey = [u8; 12];

pub(super) fn log_key(topic: u32, offset: u64) -> LogKey {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in a key of `log` or `tombstones`.
pub(super) fn log_key_offset(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?))
}

pub(super) fn latest_key(topic: u32, record_key: &[u8]) -> Slice {
    ByteView::fused(&topic.to_be_bytes(), record_key).into()
}

/// The record's key in a key of `latest`.
pub(super) fn record_key(latest_key: &[u8]) -> &[u8] {
    latest_key.get(4..).unwrap_or_default()
}

pub(super) fn encode_topic(topic: &TopicState) -> Vec<u8> {
    let swept_below = topic.swept_below.to_be_bytes();
    [&topic.number.to_be_bytes()[..], topic.id.as_bytes(), &topic.end.to_be_bytes(), &swept_below].concat()
}

pub(super) fn decode_topic(name: &[u8], value: &[u8]) -> Option<TopicState> {
    let (number, rest) = value.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (end, rest) = rest.split_first_chunk()?;
    Some(TopicState {
        name: Arc::from(str::from_utf8(name).ok()?),
        number: u32::from_be_bytes(*number),
        id: Uuid::from_bytes(*id),
        end: u64::from_be_bytes(*end),
        swept_below: u64::from_be_bytes(rest.try_into().ok()?),
    })
}

pub(super) fn encode_record(key: &[u8], value: Option<&[u8]>) -> Slice {
    let mut head = [if value.is_some() { VALUE } else { TOMBSTONE }; 5];
    head[1..].copy_from_slice(&(key.len() as u32).to_be_bytes());
    ByteView::fused(&ByteView::fused(&head, key), value.unwrap_or_default()).into()
}

pub(super) fn decode_record(offset: u64, bytes: &[u8]) -> Option<LogRecord> {
    let (&kind, rest) = bytes.split_first()?;
    let (key_len, rest) = rest.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(u32::from_be_bytes(*key_len) as usize)?;
    let value = match kind {
        TOMBSTONE if value.is_empty() => None,
        VALUE => Some(value.to_vec()),
        _ => return None,
    };
    Some(LogRecord { offset, key: key.to_vec(), value })
}

/// The place of a key's latest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) offset: u64,
    pub(super) is_tombstone: bool,
}

pub(super) fn encode_latest(latest: Latest) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[..8].copy_from_slice(&latest.offset.to_be_bytes());
    bytes[8] = if latest.is_tombstone { TOMBSTONE } else { VALUE };
    bytes
}

pub(super) fn decode_latest(bytes: &[u8]) -> Option<Latest> {
    let (offset, kind) = bytes.split_first_chunk()?;
    let is_tombstone = match kind {
        [TOMBSTONE] => true,
        [VALUE] => false,
        _ => return None,
    };
    Some(Latest { offset: u64::from_be_bytes(*offset), is_tombstone })
}

pub(super) fn encode_tombstone(written_ms: u64, record_key: &[u8]) -> Vec<u8> {
    [&written_ms.to_be_bytes(), record_key].concat()
}

/// When the tombstone was written, and its record's key.
pub(super) fn decode_tombstone(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (written_ms, key) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*written_ms), key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_come_back(key: Vec<u8>, value: Option<Vec<u8>>, offset: u64) {
            let bytes = encode_record(&key, value.as_deref());
            prop_assert_eq!(decode_record(offset, &bytes).unwrap(), LogRecord { offset, key, value });
        }

        #[test]
        fn small_entries_come_back(offset: u64, is_tombstone: bool, ms: u64, key: Vec<u8>, topic: u32) {
            let latest = Latest { offset, is_tombstone };
            prop_assert_eq!(decode_latest(&encode_latest(latest)), Some(latest));
            let tombstone = encode_tombstone(ms, &key);
            prop_assert_eq!(decode_tombstone(&tombstone), Some((ms, key.as_slice())));
            prop_assert_eq!(log_key_offset(&log_key(topic, offset)), Some(offset));
        }

        #[test]
        fn topics_come_back(name: String, number: u32, id: u128, end: u64, swept_below: u64) {
            let topic =
                TopicState { name: name.as_str().into(), number, id: Uuid::from_u128(id), end, swept_below };
            prop_assert_eq!(decode_topic(name.as_bytes(), &encode_topic(&topic)), Some(topic));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = (decode_record(0, &bytes), decode_latest(&bytes), decode_tombstone(&bytes));
            let _ = (decode_topic(&bytes, &bytes), log_key_offset(&bytes));
        }
    }
}
