//! Keys, values and records of the log: any bytes are decoded or refused, as messages derived by prost would be, and
//! what is decoded comes back the same from the bytes that we would write.
#![no_main]

// The oracle of the codec's own tests.
#[path = "../../vektonn-core/tests/codec/derived.rs"]
mod derived;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use vektonn_core::codec::{
    Record, decode_change, decode_data_point, decode_key, encode_data_point, encode_key, encode_record,
};
use vektonn_core::{DataSourceId, DataSourceMeta};

/// One data source of each vector kind; both with attributes of all types.
static META: LazyLock<[DataSourceMeta; 2]> = LazyLock::new(|| {
    ["false", "true"].map(|sparse| {
        let text = format!(
            "{{vectorDimension: 3, vectorsAreSparse: {sparse}, permanentAttributes: [i, s], \
             shardersByAttributeKey: {{s: {{numberOfShards: 7}}}}, attributeValueTypes: \
             {{s: String, g: Guid, b: Bool, i: Int64, f: Float64, d: DateTime}}}}"
        );
        DataSourceMeta::from_yaml(DataSourceId::new("Fuzz", "1.0"), &text).expect("the data source is valid")
    })
});

fuzz_target!(|bytes: &[u8]| {
    key(bytes);
    data_point(bytes);
    if let Some((&key_len, rest)) = bytes.split_first() {
        let (key, value) = rest.split_at(rest.len().min(key_len.into()));
        META.iter().for_each(|meta| record(meta, key, (!value.is_empty()).then_some(value)));
    }
});

fn key(bytes: &[u8]) {
    let derived = derived::Key::decode(bytes).ok().and_then(derived::Key::values);
    assert_eq!(decode_key(bytes).ok(), derived);
    if let Some(values) = derived {
        assert_eq!(encode_key(&values), derived::Key::of(&values).encode_to_vec());
        assert_eq!(decode_key(&encode_key(&values)), Ok(values));
    }
}

/// Compared as text and as bytes, because coordinates may be NaN.
fn data_point(bytes: &[u8]) {
    let ours = decode_data_point(bytes).ok();
    let derived = derived::Point::decode(bytes).ok().and_then(derived::Point::data_point);
    assert_eq!(format!("{ours:?}"), format!("{derived:?}"));
    if let Some(point) = ours {
        let written = encode_data_point(&point);
        assert_eq!(written, derived::Point::of(&point).encode_to_vec());
        let again = decode_data_point(&written).expect("what was written is readable");
        assert_eq!(again.attributes, point.attributes);
        assert_eq!(encode_data_point(&again), written);
    }
}

fn record(meta: &DataSourceMeta, key: &[u8], value: Option<&[u8]>) {
    match decode_change(meta, key, value) {
        Ok(change) => {
            let Record { key, value, .. } = encode_record(meta, &change);
            assert_eq!(decode_change(meta, &key, value.as_deref()), Ok(change));
        }
        Err(error) => assert!(!error.reason().is_empty() && !error.to_string().is_empty()),
    }
}
