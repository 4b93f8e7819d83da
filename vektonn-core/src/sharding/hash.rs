//! FarmHash, by which attribute values are sharded.
//!
//! [`hash64`] is `Hash64` of Google's FarmHash in the form named `farmhashxo` there, written anew from the published
//! algorithm (<https://github.com/google/farmhash>, MIT licence): the `farmhash` crate gives other values for some
//! lengths. An input is hashed in one of five ways, by its length in bytes:
//!
//! | length | how |
//! |---|---|
//! | 0-16, 17-32 | a few overlapping reads, mixed once (`farmhashna`) |
//! | 33-64, 65-96 | two or three blocks of 32 bytes, combined (`farmhashxo`) |
//! | 97-256 | blocks of 64 bytes over 7 words of state (`farmhashna`) |
//! | from 257 | blocks of 64 bytes over 8 words of state (`farmhashuo`) |

use std::mem::swap;
use std::num::NonZeroU16;

use crate::AttributeValue;

// Primes between 2^63 and 2^64, of FarmHash.
const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const SEED: u64 = 81;

/// The hash of an attribute value. A Bool is not hashed: it is 0 or 1.
///
/// ```
/// use vektonn_core::sharding::hash_attribute;
///
/// assert_eq!(hash_attribute(&"xyz".into()), 1989124643368747521);
/// assert_eq!(hash_attribute(&true.into()), 1);
/// ```
pub fn hash_attribute(value: &AttributeValue) -> u64 {
    match value {
        AttributeValue::Bool(value) => u64::from(*value),
        AttributeValue::String(value) => {
            let utf16: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
            hash64(&utf16)
        }
        AttributeValue::Guid(value) => hash64(&value.to_bytes_le()),
        AttributeValue::Int64(value) => hash64(&value.to_le_bytes()),
        AttributeValue::Float64(value) => hash64(&value.to_le_bytes()),
        AttributeValue::DateTime(value) => hash64(&value.ticks().to_le_bytes()),
    }
}

/// The shard of an attribute value among a number of shards: its hash modulo that number.
///
/// ```
/// use std::num::NonZeroU16;
/// use vektonn_core::sharding::shard_of;
///
/// assert_eq!(shard_of(&42.into(), NonZeroU16::MIN), 0);
/// assert_eq!(NonZeroU16::new(7).map(|seven| shard_of(&42.into(), seven)), Some(4));
/// ```
pub fn shard_of(value: &AttributeValue, number_of_shards: NonZeroU16) -> u16 {
    // The remainder is below a u16.
    (hash_attribute(value) % u64::from(number_of_shards.get())) as u16
}

/// FarmHash `Hash64` of some bytes.
///
/// ```
/// assert_eq!(vektonn_core::sharding::hash64(b""), 11160318154034397263);
/// ```
pub fn hash64(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=16 => short(bytes),
        17..=32 => medium(bytes),
        33..=64 => two_blocks(bytes),
        65..=96 => three_blocks(bytes),
        97..=256 => seven_words(bytes),
        _ => eight_words(bytes),
    }
}

/// The little-endian word at an offset.
fn word(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

/// The little-endian half word at an offset.
fn half_word(bytes: &[u8], offset: usize) -> u64 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[offset..offset + 4]);
    u64::from(u32::from_le_bytes(half))
}

fn add(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |sum, &term| sum.wrapping_add(term))
}

fn mul(a: u64, b: u64) -> u64 {
    a.wrapping_mul(b)
}

fn shift_mix(x: u64) -> u64 {
    x ^ (x >> 47)
}

/// Mixes two words into one (`HashLen16`).
fn mix(u: u64, v: u64, by: u64) -> u64 {
    let a = shift_mix(mul(u ^ v, by));
    let b = shift_mix(mul(v ^ a, by));
    mul(b, by)
}

/// K2, plus twice the length.
fn k2_plus(len: usize) -> u64 {
    add(&[K2, 2 * len as u64])
}

/// 0 to 16 bytes.
fn short(s: &[u8]) -> u64 {
    let len = s.len();
    let by = k2_plus(len);
    match len {
        0 => K2,
        1..=3 => {
            let y = u64::from(s[0]) + (u64::from(s[len / 2]) << 8);
            let z = len as u64 + (u64::from(s[len - 1]) << 2);
            mul(shift_mix(mul(y, K2) ^ mul(z, K0)), K2)
        }
        4..=7 => mix(len as u64 + (half_word(s, 0) << 3), half_word(s, len - 4), by),
        _ => {
            let a = add(&[word(s, 0), K2]);
            let b = word(s, len - 8);
            let c = add(&[mul(b.rotate_right(37), by), a]);
            let d = mul(add(&[a.rotate_right(25), b]), by);
            mix(c, d, by)
        }
    }
}

/// The first and the last 16 bytes of 16 or more, as two words: what 17 to 32 bytes and blocks of 32 have in common.
fn ends(s: &[u8], by: u64) -> (u64, u64) {
    let a = mul(word(s, 0), K1);
    let b = word(s, 8);
    let c = mul(word(s, s.len() - 8), by);
    let d = mul(word(s, s.len() - 16), K2);
    let u = add(&[add(&[a, b]).rotate_right(43), c.rotate_right(30), d]);
    let v = add(&[a, add(&[b, K2]).rotate_right(18), c]);
    (u, v)
}

/// 17 to 32 bytes.
fn medium(s: &[u8]) -> u64 {
    let by = k2_plus(s.len());
    let (u, v) = ends(s, by);
    mix(u, v, by)
}

/// A block of 32 bytes (`H32`).
fn block(s: &[u8], by: u64, seeds: (u64, u64)) -> u64 {
    let (u, v) = ends(s, by);
    let (u, v) = (add(&[u, seeds.0]), add(&[v, seeds.1]));
    let a = shift_mix(mul(u ^ v, by));
    shift_mix(mul(v ^ a, by))
}

/// 33 to 64 bytes: the first and the last 32.
fn two_blocks(s: &[u8]) -> u64 {
    let (by0, by1) = (K2.wrapping_sub(30), k2_plus(s.len()).wrapping_sub(30));
    let h0 = block(&s[..32], by0, (0, 0));
    let h1 = block(&s[s.len() - 32..], by1, (0, 0));
    mul(add(&[mul(h1, by1), h0]), by1)
}

/// 65 to 96 bytes: the first, the second and the last 32.
fn three_blocks(s: &[u8]) -> u64 {
    let (by0, by1) = (K2.wrapping_sub(114), k2_plus(s.len()).wrapping_sub(114));
    let h0 = block(&s[..32], by0, (0, 0));
    let h1 = block(&s[32..64], by1, (0, 0));
    let h2 = block(&s[s.len() - 32..], by1, (h0, h1));
    mul(add(&[mul(h2, 9), h0 >> 17, h1 >> 21]), by1)
}

/// 32 bytes, mixed with two seeds (`WeakHashLen32WithSeeds`).
fn weak(s: &[u8], a: u64, b: u64) -> (u64, u64) {
    let (w, x, y, z) = (word(s, 0), word(s, 8), word(s, 16), word(s, 24));
    let a = add(&[a, w]);
    let b = add(&[b, a, z]).rotate_right(21);
    let sum = add(&[a, x, y]);
    (add(&[sum, z]), add(&[b, sum.rotate_right(44), a]))
}

/// The blocks of 64 bytes without the last one, and the last 64 bytes, which overlap the block before unless the
/// length is a multiple of 64.
fn blocks_of_64(s: &[u8]) -> (std::slice::ChunksExact<'_, u8>, &[u8], u64) {
    let rest = (s.len() - 1) % 64;
    (s[..s.len() - 1 - rest].chunks_exact(64), &s[s.len() - 64..], rest as u64)
}

/// 65 bytes or more, of which FarmHash uses 97 to 256 (`farmhashna::Hash64`).
fn seven_words(s: &[u8]) -> u64 {
    let mut x = add(&[mul(SEED, K2), word(s, 0)]);
    let mut y = add(&[mul(SEED, K1), 113]);
    let mut z = mul(shift_mix(add(&[mul(y, K2), 113])), K2);
    let (mut v, mut w) = ((0, 0), (0, 0));
    let (blocks, last, rest) = blocks_of_64(s);
    for s in blocks {
        x = mul(add(&[x, y, v.0, word(s, 8)]).rotate_right(37), K1);
        y = mul(add(&[y, v.1, word(s, 48)]).rotate_right(42), K1);
        x ^= w.1;
        y = add(&[y, v.0, word(s, 40)]);
        z = mul(add(&[z, w.0]).rotate_right(33), K1);
        v = weak(s, mul(v.1, K1), add(&[x, w.0]));
        w = weak(&s[32..], add(&[z, w.1]), add(&[y, word(s, 16)]));
        swap(&mut z, &mut x);
    }
    let by = add(&[K1, (z & 0xff) << 1]);
    w.0 = add(&[w.0, rest]);
    v.0 = add(&[v.0, w.0]);
    w.0 = add(&[w.0, v.0]);
    x = mul(add(&[x, y, v.0, word(last, 8)]).rotate_right(37), by);
    y = mul(add(&[y, v.1, word(last, 48)]).rotate_right(42), by);
    x ^= mul(w.1, 9);
    y = add(&[y, mul(v.0, 9), word(last, 40)]);
    z = mul(add(&[z, w.0]).rotate_right(33), by);
    v = weak(last, mul(v.1, by), add(&[x, w.0]));
    w = weak(&last[32..], add(&[z, w.1]), add(&[y, word(last, 16)]));
    swap(&mut z, &mut x);
    let left = add(&[mix(v.0, w.0, by), mul(shift_mix(y), K0), z]);
    let right = add(&[mix(v.1, w.1, by), x]);
    mix(left, right, by)
}

/// The state of [`eight_words`].
struct Words {
    x: u64,
    y: u64,
    z: u64,
    u: u64,
    v: (u64, u64),
    w: (u64, u64),
    by: u64,
}

impl Words {
    fn new() -> Self {
        let y: u64 = 113;
        let z = mul(shift_mix(mul(y, K2)), K2);
        let u = SEED.wrapping_sub(z);
        Self { x: mul(SEED, K2), y, z, u, v: (SEED, 0), w: (0, 0), by: add(&[K2, u & 0x82]) }
    }

    fn take_block(&mut self, s: &[u8]) {
        let Self { x, y, z, u, v, w, by } = self;
        let a: [u64; 8] = std::array::from_fn(|i| word(s, 8 * i));
        *x = mul(add(&[*x, a[0], a[1]]).rotate_right(26), 9);
        *y = add(&[*y, a[2]]).rotate_right(29);
        *z = mul(add(&[*z, a[3]]), *by);
        v.0 = add(&[v.0, a[4]]).rotate_right(33);
        v.1 = add(&[v.1, a[5], a[1]]).rotate_right(30);
        w.0 = mul(add(&[w.0, a[6]]) ^ *x, 9);
        w.1 = add(&[w.1, a[7]]);
        *z = add(&[z.rotate_right(32), w.1]);
        w.1 = add(&[w.1, *z]);
        *z = mul(*z, 9);
        swap(u, y);

        *z = add(&[*z, a[0], a[6]]);
        v.0 = add(&[v.0, a[2]]);
        v.1 = add(&[v.1, a[3]]);
        w.0 = add(&[w.0, a[4]]);
        w.1 = add(&[w.1, a[5], a[6]]);
        *x = add(&[*x, a[1]]);
        *y = add(&[*y, a[7], v.0]);
        v.0 = add(&[v.0, x.wrapping_sub(*y)]);
        v.1 = add(&[v.1, w.0]);
        w.0 = add(&[w.0, v.1]);
        w.1 = add(&[w.1, x.wrapping_sub(*y)]);
        *x = add(&[*x, w.1]);
        w.1 = w.1.rotate_right(34);
        swap(u, z);
    }

    fn finish(self, last: &[u8], rest: u64) -> u64 {
        let Self { x, y, z, u, v, w, by } = self;
        let u = add(&[mul(u, 9), y]);
        let y = add(&[y, u]);
        let (v0, v1) = (v.0.rotate_right(20), v.1.rotate_right(28));
        let w0 = add(&[w.0, rest]);
        let x = mul(add(&[y.wrapping_sub(x), v0, word(last, 8)]).rotate_right(37), by) ^ mul(w.1, 9);
        let y = mul((y ^ v1 ^ word(last, 48)).rotate_right(42), by);
        let y = add(&[y, v0, word(last, 40)]);
        let z = mul(add(&[z, w0]).rotate_right(33), by);
        let v = weak(last, mul(v1, by), add(&[x, w0]));
        let w = weak(&last[32..], add(&[z, w.1]), add(&[y, word(last, 16)]));
        let left = add(&[mix(add(&[v.0, x]), w.0 ^ y, by), z.wrapping_sub(u)]);
        let right = final_mix(add(&[v.1, y]), add(&[w.1, z]), K2, 30) ^ x;
        final_mix(left, right, K2, 31)
    }
}

/// `H` of `farmhashuo`.
fn final_mix(x: u64, y: u64, by: u64, rotation: u32) -> u64 {
    let a = shift_mix(mul(x ^ y, by));
    mul(mul(y ^ a, by).rotate_right(rotation), by)
}

/// 257 bytes or more (`farmhashuo::Hash64`).
fn eight_words(s: &[u8]) -> u64 {
    let (blocks, last, rest) = blocks_of_64(s);
    let mut words = Words::new();
    for block in blocks {
        words.take_block(block);
    }
    words.finish(last, rest)
}
