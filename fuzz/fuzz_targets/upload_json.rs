//! The body of an upload: any bytes are refused with a message, or every item becomes a record that the log gives
//! back as the same change, and that every index takes.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use vektonn_core::codec::{decode_change, encode_record};
use vektonn_core::validation::validate_upload;
use vektonn_core::{Change, IndexMeta};

use crate::common::dto::{UploadError, parse_upload};

fuzz_target!(|body: &[u8]| {
    for meta in &*common::INDICES {
        let mut changes = vec![];
        let read = parse_upload(body, |item| {
            changes.push(validate_upload(meta.data_source(), item)?);
            Ok(())
        });
        match read {
            Ok(()) => check(meta, changes),
            Err(UploadError::Item(messages)) => assert!(!messages.is_empty()),
            Err(UploadError::Json(error)) => assert!(!error.to_string().is_empty()),
        }
    }
});

fn check(meta: &IndexMeta, changes: Vec<Change>) {
    for change in &changes {
        let record = encode_record(meta.data_source(), change);
        let again = decode_change(meta.data_source(), &record.key, record.value.as_deref());
        assert_eq!(again.as_ref(), Ok(change));
    }
    if !changes.is_empty() {
        let count = changes.len();
        let report = common::shard(meta).apply(changes).expect("the shard is not full");
        assert_eq!((report.applied, report.bad), (count, vec![]));
    }
}
