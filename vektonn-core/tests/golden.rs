//! Every value that the contract gives: hashes, sizes and bytes.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU16;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;
use vektonn_core::codec::{decode_data_point, decode_key, encode_data_point, encode_key};
use vektonn_core::sharding::{hash_attribute, hash64, shard_of};
use vektonn_core::{Attribute, AttributeValue, DataPoint, DateTime, Vector};

fn guid(text: &str) -> AttributeValue {
    text.parse::<Uuid>().unwrap().into()
}

fn instant() -> AttributeValue {
    "2021-07-31T13:52:59Z".parse::<DateTime>().unwrap().into()
}

// The contract's number is not meant to be pi.
#[allow(clippy::approx_constant)]
#[test]
fn hashes_of_attribute_values() {
    let golden: [(AttributeValue, u64); 19] = [
        (false.into(), 0),
        (true.into(), 1),
        (guid("00000000-0000-0000-0000-000000000000"), 3499346722691045397),
        (guid("e8edb009-dd41-43a5-8d64-63458ebd0341"), 8057476853770941118),
        ("".into(), 11160318154034397263),
        ("x".into(), 2238803048373571102),
        ("xy".into(), 13837061459715779799),
        ("xyz".into(), 1989124643368747521),
        ("Русские буквы".into(), 13999472007608230140),
        (0.into(), 1457330246272086660),
        (1.into(), 5925585971146611297),
        ((-1).into(), 3458737730936475989),
        (42.into(), 15591584478111741110),
        (i64::MAX.into(), 16359246543468789202),
        (i64::MIN.into(), 7578918962206252314),
        (1.0.into(), 12277520569804993523),
        ((-1.0).into(), 4272473773845466057),
        (3.1415926.into(), 3625877603776526340),
        (instant(), 11262061747148714790),
    ];
    for (value, hash) in golden {
        assert_eq!(hash_attribute(&value), hash, "{value}");
        for number in [1, 2, 7, 1000, u16::MAX] {
            let shard = shard_of(&value, NonZeroU16::new(number).unwrap());
            assert_eq!(u64::from(shard), hash % u64::from(number), "{value} among {number}");
        }
    }
}

#[test]
fn hashes_of_strings_whose_bytes_fill_blocks() {
    for (units, hash) in [(64, 10086280063273682065), (96, 5921142027260144890), (160, 8473994596031138013)] {
        let text: String = "0123456789abcdef".chars().cycle().take(units).collect();
        assert_eq!(hash_attribute(&text.into()), hash, "{units} UTF-16 units");
    }
}

#[test]
fn hashes_of_every_length_of_the_reference() {
    let bytes: Vec<u8> = (0..1_100usize).map(|i| ((31 * i + 7) % 251) as u8).collect();
    let reference = include_str!("../../testdata/farmhash64.tsv");
    let rows: Vec<(usize, u64)> = reference
        .lines()
        .map(|line| {
            line.split_once('\t').map(|(len, hash)| (len.parse().unwrap(), hash.parse().unwrap())).unwrap()
        })
        .collect();
    assert_eq!(rows.len(), 1_101);
    assert_eq!(rows.last().unwrap().0, 1_100);
    for (len, hash) in rows {
        assert_eq!(hash64(&bytes[..len]), hash, "{len} bytes");
    }
}

#[test]
fn sizes_of_keys() {
    let random = || guid("e8edb009-dd41-43a5-8d64-63458ebd0341");
    let golden: [(Vec<AttributeValue>, usize); 16] = [
        (vec![], 0),
        (vec![false.into()], 4),
        (vec![true.into()], 4),
        (vec!["x".into()], 5),
        (vec![random()], 20),
        (vec![Uuid::nil().into()], 4),
        (vec![0.into()], 4),
        (vec![255.into()], 5),
        (vec![i64::from(i32::MAX).into()], 8),
        (vec![i64::MAX.into()], 12),
        (vec![i64::MIN.into()], 13),
        (vec![0.0.into()], 11),
        (vec![f64::MIN.into()], 11),
        (vec![instant()], 10),
        (vec![random(), random()], 40),
        (vec![random(), "la-la-la".into()], 32),
    ];
    for (values, size) in golden {
        let key = encode_key(&values);
        assert_eq!(key.len(), size, "{values:?}");
        assert_eq!(decode_key(&key).unwrap(), values);
    }
}

#[test]
fn defaults_are_written() {
    let golden: [(AttributeValue, &[u8]); 4] = [
        (false.into(), b"\x0a\x02\x18\x00"),
        (0.into(), b"\x0a\x02\x20\x00"),
        ("".into(), b"\x0a\x02\x0a\x00"),
        (Uuid::nil().into(), b"\x0a\x02\x12\x00"),
    ];
    for (value, bytes) in golden {
        assert_eq!(encode_key([&value]), bytes, "{value:?}");
        assert_eq!(decode_key(bytes).unwrap(), [value]);
    }
}

#[test]
fn bytes_of_a_data_point() {
    let golden = "ChEKA3N0chIKCghsYS1sYS1sYQoaCgRndWlkEhISEDmxRuyYA0t+qjXzVQrA5e0KCgoEYm9vbBICGAEKEwoFaW50NjQSCiD/////\
                  /////38KFAoHZmxvYXQ2NBIJKf///////+//ChUKCWRhdGVfdGltZRIIMgYIu6uViAYRMzMzMzMz8z8RMzMzMzMzC0ARZmZmZmZm\
                  FsAYBxgNGBs=";
    let golden = BASE64_STANDARD.decode(golden).unwrap();
    assert_eq!(golden.len(), 158);
    let data_point = DataPoint {
        attributes: vec![
            Attribute::new("str", "la-la-la"),
            Attribute::new("guid", guid("39b146ec-9803-4b7e-aa35-f3550ac0e5ed")),
            Attribute::new("bool", true),
            Attribute::new("int64", i64::MAX),
            Attribute::new("float64", f64::MIN),
            Attribute::new("date_time", instant()),
        ],
        vector: Vector::sparse([1.2, 3.4, -5.6], [7, 13, 27]),
    };
    assert_eq!(encode_data_point(&data_point), golden);
    assert_eq!(decode_data_point(&golden).unwrap(), data_point);
}
