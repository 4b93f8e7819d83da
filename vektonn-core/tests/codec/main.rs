//! The log's bytes: round trips, foreign but legal encodings, and bytes that are wrong.
#![allow(clippy::unwrap_used)]

mod derived;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;
use vektonn_core::codec::{
    DecodeError, Record, decode_change, decode_data_point, decode_key, encode_data_point, encode_key,
    encode_record,
};
use vektonn_core::{
    Attribute, AttributeType, AttributeValue, Change, DataPoint, DataSourceId, DataSourceMeta, DateTime,
    Tombstone, Vector, VectorError,
};

fn meta(sparse: bool) -> DataSourceMeta {
    let text = format!(
        "{{vectorDimension: 3, vectorsAreSparse: {sparse}, permanentAttributes: [b, A], shardersByAttributeKey: \
         {{b: {{numberOfShards: 2}}}}, attributeValueTypes: {{b: Int64, A: Bool, note: String}}}}"
    );
    DataSourceMeta::from_yaml(DataSourceId::new("Source", "1.0"), &text).unwrap()
}

fn attributes() -> Vec<Attribute> {
    vec![Attribute::new("note", "hi"), Attribute::new("b", 42), Attribute::new("A", true)]
}

fn upsert(attributes: Vec<Attribute>, vector: Vector) -> Change {
    Change::Upsert(DataPoint { attributes, vector })
}

fn good() -> Change {
    upsert(attributes(), Vector::dense([1.0, 2.0, 3.0]))
}

fn decode(record: &Record) -> Result<Change, DecodeError> {
    decode_change(&meta(false), &record.key, record.value.as_deref())
}

/// The good record with another data point as its value.
fn with_value(attributes: Vec<Attribute>, vector: Vector) -> Record {
    let value = encode_data_point(&DataPoint { attributes, vector });
    Record { value: Some(value), ..encode_record(&meta(false), &good()) }
}

#[test]
fn records_have_the_topic_and_the_key_of_their_permanent_attributes() {
    let record = encode_record(&meta(false), &good());
    assert_eq!(record.topic, "Vektonn.Source-1_0.b-0");
    assert_eq!(record.key, encode_key(&[true.into(), 42.into()]));
    assert_eq!(decode(&record), Ok(good()));

    let permanent_attributes = vec![Attribute::new("A", true), Attribute::new("b", 42)];
    let deletion = Change::Delete(Tombstone { permanent_attributes });
    let tombstone = encode_record(&meta(false), &deletion);
    assert_eq!(tombstone, Record { value: None, ..record });
    assert_eq!(decode(&tombstone), Ok(deletion));
}

#[test]
fn keys_that_are_not_the_data_sources() {
    let record = encode_record(&meta(false), &good());
    let tombstone = |key: Vec<u8>| decode(&Record { key, value: None, ..record.clone() }).unwrap_err();
    let upsert = |key: Vec<u8>| decode(&Record { key, ..record.clone() }).unwrap_err();
    for decode in [&tombstone as &dyn Fn(Vec<u8>) -> DecodeError, &upsert] {
        let error = decode(encode_key(&[true.into()]));
        assert_eq!(error, DecodeError::KeyLength { expected: 2, got: 1 });
        assert_eq!(error.reason(), "wrong_key");
        let error = decode(encode_key(&[true.into(), "42".into()]));
        let (expected, got) = (AttributeType::Int64, AttributeType::String);
        assert_eq!(error, DecodeError::KeyType { attribute: "b".to_owned(), expected, got });
        assert_eq!(decode(b"\x0a\x05".to_vec()).reason(), "undecodable");
    }
    let error = upsert(encode_key(&[true.into(), 43.into()]));
    assert_eq!(error, DecodeError::KeyMismatch { attribute: "b".to_owned() });
    assert_eq!(error.to_string(), "attribute 'b' is another one in the key than in the value");
}

#[test]
fn keys_are_compared_as_values() {
    let record = encode_record(&meta(false), &good());
    // true as 18 01, 42 as a varint of two bytes
    let key = b"\x0a\x02\x18\x01\x0a\x03\x20\xaa\x00".to_vec();
    assert_ne!(key, record.key);
    assert_eq!(decode(&Record { key, ..record }), Ok(good()));
}

#[test]
fn attributes_that_are_not_the_data_sources() {
    let vector = || Vector::dense([1.0, 2.0, 3.0]);
    let error = decode(&with_value(attributes()[..2].to_vec(), vector())).unwrap_err();
    assert_eq!(error, DecodeError::MissingAttribute { attribute: "A".to_owned() });
    assert_eq!(error.reason(), "wrong_attribute");

    let mut wrong = attributes();
    wrong[0].value = 7.into();
    let error = decode(&with_value(wrong, vector())).unwrap_err();
    assert_eq!(error.to_string(), "attribute 'note' must be of type String, got Int64");
    assert_eq!(error.reason(), "wrong_attribute");

    let without_payload = attributes()[1..].to_vec();
    assert_eq!(decode(&with_value(without_payload.clone(), vector())), Ok(upsert(without_payload, vector())));
    let more = [attributes(), vec![Attribute::new("new", 1.5)]].concat();
    assert_eq!(decode(&with_value(more, vector())), Ok(upsert(attributes(), vector())));
}

#[test]
fn vectors_that_do_not_fit() {
    let error = |vector| decode(&with_value(attributes(), vector)).unwrap_err();
    let wrong = error(Vector::dense([1.0]));
    assert_eq!(wrong, DecodeError::Vector(VectorError::Dimension { dimension: 3 }));
    assert_eq!(wrong.reason(), "wrong_vector");
    assert_eq!(error(Vector::sparse([1.0], [0])), DecodeError::Vector(VectorError::MustBeDense));
    assert_eq!(error(Vector::dense([1.0, f64::NAN, 0.0])), DecodeError::Vector(VectorError::NotFinite));

    let sparse = |vector: Vector| {
        let record = with_value(attributes(), vector);
        decode_change(&meta(true), &record.key, record.value.as_deref())
    };
    assert!(sparse(Vector::sparse([1.0, 2.0], [2, 0])).is_ok());
    assert_eq!(sparse(Vector::sparse([1.0], [3])), Err(VectorError::Dimension { dimension: 3 }.into()));
    assert_eq!(sparse(Vector::sparse([1.0, 2.0], [1, 1])), Err(VectorError::Indices.into()));
    assert_eq!(sparse(Vector::sparse([1.0, 2.0], [1])), Err(VectorError::Indices.into()));
    assert_eq!(sparse(Vector::dense([1.0])), Err(VectorError::MustBeSparse.into()));
    assert_eq!(sparse(Vector::dense([])), Err(VectorError::MustBeSparse.into()));
}

#[test]
fn values_that_are_no_data_points() {
    let record = encode_record(&meta(false), &good());
    for garbage in [&b"\xff"[..], b"\x0a\xff\xff\xff\xff\x0f", b"{\"json\": 1}", b"\x11\x00", b"\x08\x01\x0b"]
    {
        let error = decode(&Record { value: Some(garbage.to_vec()), ..record.clone() }).unwrap_err();
        assert_eq!(error.reason(), "undecodable", "{garbage:x?} {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let empty = decode(&Record { value: Some(vec![]), ..record }).unwrap_err();
    assert_eq!(empty, DecodeError::MissingAttribute { attribute: "A".to_owned() });
}

#[test]
fn attribute_values_that_are_wrong() {
    assert_eq!(decode_key(b"\x0a\x00"), Err(DecodeError::NoValue));
    assert_eq!(decode_data_point(b"\x0a\x03\x0a\x01a"), Err(DecodeError::NoValue));
    assert_eq!(decode_key(b"\x0a\x03\x12\x01x"), Err(DecodeError::GuidLength { got: 1 }));
    assert_eq!(decode_key(b"\x0a\x02\x12\x00"), Ok(vec![Uuid::nil().into()]));
    assert_eq!(decode_key(b"\x0a\x04\x0a\x02\xff\xfe").unwrap_err().reason(), "undecodable");

    // date_time = {}: 1970. date_time = {nanos: 199}: cut off to 100 ns. {nanos: 1_000_000_000}, {nanos: -1}
    let epoch = DateTime::from_unix(0, 0).unwrap();
    assert_eq!(decode_key(b"\x0a\x02\x32\x00"), Ok(vec![epoch.into()]));
    assert_eq!(
        decode_key(b"\x0a\x05\x32\x03\x10\xc7\x01"),
        Ok(vec![DateTime::from_unix(0, 100).unwrap().into()])
    );
    let second = decode_key(b"\x0a\x08\x32\x06\x10\x80\x94\xeb\xdc\x03");
    assert_eq!(second, Err(DecodeError::DateTime { seconds: 0, nanos: 1_000_000_000 }));
    let negative = decode_key(b"\x0a\x0d\x32\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert_eq!(negative, Err(DecodeError::DateTime { seconds: 0, nanos: -1 }));
    // seconds: 253_402_300_800, the first of the year 10000
    let too_late = decode_key(b"\x0a\x09\x32\x07\x08\x80\x83\xd1\xff\xaf\x07").unwrap_err();
    assert_eq!(too_late.reason(), "undecodable");
    for instant in [DateTime::MIN, DateTime::MAX] {
        assert_eq!(decode_key(&encode_key([&instant.into()])), Ok(vec![instant.into()]));
    }
}

#[test]
fn packed_numbers_and_unknown_fields_are_read() {
    let packed = [
        &b"\x12\x10"[..],
        &1.5f64.to_le_bytes(),
        &(-2.0f64).to_le_bytes(),
        b"\x1a\x02\x07\x0d",
        b"\x78\x01",
        b"\x11",
        &0.25f64.to_le_bytes(),
        b"\x18\x1b",
    ];
    let expected = DataPoint { attributes: vec![], vector: Vector::sparse([1.5, -2.0, 0.25], [7, 13, 27]) };
    assert_eq!(decode_data_point(&packed.concat()), Ok(expected));
}

#[test]
fn of_a_repeated_attribute_the_last_value_counts() {
    let attributes =
        |n: usize| -> Vec<Attribute> { (0..n as i64).map(|i| Attribute::new(i.to_string(), i)).collect() };
    for n in [2, 40, 100_000] {
        let twice = [attributes(n), vec![Attribute::new("1", -1)]].concat();
        let bytes = encode_data_point(&DataPoint { attributes: twice, vector: Vector::dense([]) });
        let mut expected = attributes(n);
        expected[1].value = (-1).into();
        assert_eq!(decode_data_point(&bytes).unwrap().attributes, expected);
    }
}

/// Our reading of a data point's bytes is that of the derived message.
fn reads_as_derived(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = decode_data_point(bytes).ok().map(|point| format!("{point:?}"));
    let derived = derived::Point::decode(bytes).ok().and_then(derived::Point::data_point);
    prop_assert_eq!(ours, derived.map(|point| format!("{point:?}")));
    Ok(())
}

fn data_point() -> impl Strategy<Value = DataPoint> {
    (btree_map(".{0,8}", attribute_value(), 0..6), vector()).prop_map(|(values, vector)| {
        let attributes = values.into_iter().map(|(key, value)| Attribute { key, value }).collect();
        DataPoint { attributes, vector }
    })
}

#[test]
fn messages_given_twice_are_merged() {
    let expected = DataPoint { attributes: vec![Attribute::new("a", 7)], vector: Vector::dense([]) };
    for entry in
        [&b"\x0a\x09\x0a\x01a\x12\x00\x12\x02\x20\x07"[..], b"\x0a\x09\x12\x02\x20\x07\x12\x00\x0a\x01a"]
    {
        assert_eq!(decode_data_point(entry).as_ref(), Ok(&expected));
    }
}

#[test]
fn of_several_members_only_the_last_one_must_be_right() {
    let guid_then_bool = b"\x0a\x06\x12\x02\x0a\x00\x18\x01";
    assert_eq!(decode_key(guid_then_bool), Ok(vec![true.into()]));
    assert!(decode_key(b"\x0a\x06\x18\x01\x12\x02\x0a\x00").is_err());
    // Nanoseconds beyond a second, put right by the message that is merged into it.
    let date_times = b"\x0a\x0e\x32\x08\x08\x07\x10\x80\x94\xeb\xdc\x03\x32\x02\x10\x05";
    assert_eq!(decode_key(date_times), Ok(vec![DateTime::from_unix(7, 5).unwrap().into()]));
}

fn attribute_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<String>().prop_map(AttributeValue::from),
        prop_oneof![Just(0), any::<u128>()].prop_map(|bits| Uuid::from_u128(bits).into()),
        any::<bool>().prop_map(AttributeValue::from),
        any::<i64>().prop_map(AttributeValue::from),
        any::<u64>().prop_map(|bits| f64::from_bits(bits).into()),
        (0..=DateTime::MAX.ticks()).prop_map(|ticks| DateTime::from_ticks(ticks).unwrap().into()),
    ]
}

fn vector() -> impl Strategy<Value = Vector> {
    prop_oneof![
        vec(any::<f64>(), 0..20).prop_map(Vector::dense),
        btree_map(any::<i32>(), any::<f64>(), 1..20).prop_map(|pairs| {
            let (indices, coordinates): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            Vector::sparse(coordinates, indices)
        }),
    ]
}

proptest! {
    #[test]
    fn keys_read_back(values in vec(attribute_value(), 0..6)) {
        prop_assert_eq!(decode_key(&encode_key(&values)), Ok(values));
    }

    #[test]
    fn different_keys_have_different_bytes(a in vec(attribute_value(), 0..3), b in vec(attribute_value(), 0..3)) {
        prop_assert_eq!(a == b, encode_key(&a) == encode_key(&b));
    }

    #[test]
    fn data_points_read_back(data_point in data_point()) {
        prop_assert_eq!(decode_data_point(&encode_data_point(&data_point)), Ok(data_point));
    }

    #[test]
    fn bytes_are_those_of_derived_messages(values in vec(attribute_value(), 0..6), data_point in data_point()) {
        prop_assert_eq!(encode_key(&values), derived::Key::of(&values).encode_to_vec());
        prop_assert_eq!(encode_data_point(&data_point), derived::Point::of(&data_point).encode_to_vec());
    }

    #[test]
    fn any_bytes_are_read_as_derived_messages_read_them(bytes in vec(any::<u8>(), 0..40)) {
        let derived = derived::Key::decode(bytes.as_slice()).ok().and_then(derived::Key::values);
        prop_assert_eq!(decode_key(&bytes).ok(), derived);
        reads_as_derived(&bytes)?;
        let _ = decode_change(&meta(false), &bytes, Some(&bytes));
        let _ = decode_change(&meta(true), &bytes, None);
    }

    #[test]
    fn damaged_bytes_are_read_as_derived_messages_read_them(
        data_point in data_point(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![0u8..0x40, any::<u8>()],
        cut in any::<bool>(),
    ) {
        let mut bytes = encode_data_point(&data_point);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(if cut { at + 1 } else { bytes.len() });
        }
        reads_as_derived(&bytes)?;
    }
}
