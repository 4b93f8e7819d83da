//! The hash against the reference's values.
#![allow(clippy::unwrap_used)]

use vektonn_core::sharding::{hash_attribute, hash64};
use vektonn_core::{AttributeValue, DateTime};

/// `length, hash` of the C++ reference; byte i of the input is `(31 i + 7) mod 251`.
const REFERENCE: &str = include_str!("../../testdata/farmhash64.tsv");

#[test]
fn all_lengths_up_to_1100_hash_as_the_reference_does() {
    let input: Vec<u8> = (0..1101).map(|i| ((31 * i + 7) % 251) as u8).collect();
    let mut lengths = 0;
    for line in REFERENCE.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let (length, hash) = line.split_once('\t').unwrap();
        let (length, hash): (usize, u64) = (length.parse().unwrap(), hash.parse().unwrap());
        assert_eq!(hash64(&input[..length]), hash, "length {length}");
        lengths += 1;
    }
    assert_eq!(lengths, 1101);
}

#[test]
fn attribute_values_hash_as_published() {
    let guid = |text: &str| AttributeValue::Guid(text.parse().unwrap());
    let digits = |n: usize| AttributeValue::String("0123456789abcdef".chars().cycle().take(n).collect());
    let instant: DateTime = "2021-07-31T13:52:59Z".parse().unwrap();
    for (value, hash) in [
        (false.into(), 0),
        (true.into(), 1),
        (guid("00000000-0000-0000-0000-000000000000"), 3_499_346_722_691_045_397),
        (guid("e8edb009-dd41-43a5-8d64-63458ebd0341"), 8_057_476_853_770_941_118),
        ("".into(), 11_160_318_154_034_397_263),
        ("x".into(), 2_238_803_048_373_571_102),
        ("xy".into(), 13_837_061_459_715_779_799),
        ("xyz".into(), 1_989_124_643_368_747_521),
        ("Русские буквы".into(), 13_999_472_007_608_230_140),
        (digits(64), 10_086_280_063_273_682_065),
        (digits(96), 5_921_142_027_260_144_890),
        (digits(160), 8_473_994_596_031_138_013),
        (0.into(), 1_457_330_246_272_086_660),
        (1.into(), 5_925_585_971_146_611_297),
        ((-1).into(), 3_458_737_730_936_475_989),
        (42.into(), 15_591_584_478_111_741_110),
        (i64::MAX.into(), 16_359_246_543_468_789_202),
        (i64::MIN.into(), 7_578_918_962_206_252_314),
        (1.0.into(), 12_277_520_569_804_993_523),
        ((-1.0).into(), 4_272_473_773_845_466_057),
        (3.1415926.into(), 3_625_877_603_776_526_340),
        (instant.into(), 11_262_061_747_148_714_790),
    ] {
        let value: AttributeValue = value;
        assert_eq!(hash_attribute(&value), hash, "{value}");
    }
}
