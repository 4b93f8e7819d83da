//! Fields of protobuf messages, read from and written to slices.
//!
//! A shard decodes millions of records when it starts. Messages made by prost's derive take more than twice as long
//! for one, because every coordinate is a field of its own with a tag to dispatch on, and every Guid a vector. So
//! messages are put together here by hand, from prost's own primitives; tests hold them against derived messages.

use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_varint, encoded_len_varint,
    skip_field,
};

use crate::codec::DecodeError;

/// The fields of a message, from first to last.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// The start of a field: its value is to be taken or skipped before the next one.
pub(super) struct Field<'f, 'a> {
    pub(super) tag: u32,
    wire_type: WireType,
    rest: &'f mut &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn next(&mut self) -> Result<Option<Field<'_, 'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (tag, wire_type) = decode_key(&mut self.rest)?;
        Ok(Some(Field { tag, wire_type, rest: &mut self.rest }))
    }
}

impl<'a> Field<'_, 'a> {
    fn take_bytes(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or(DecodeError::Truncated { expected: len, got: self.rest.len() })?;
        *self.rest = rest;
        Ok(bytes)
    }

    /// A string, bytes or a message.
    pub(super) fn delimited(mut self) -> Result<&'a [u8], DecodeError> {
        check_wire_type(WireType::LengthDelimited, self.wire_type)?;
        let len = decode_varint(self.rest)?;
        self.take_bytes(len)
    }

    /// An integer or a bool.
    pub(super) fn varint(self) -> Result<u64, DecodeError> {
        check_wire_type(WireType::Varint, self.wire_type)?;
        Ok(decode_varint(self.rest)?)
    }

    /// A string.
    pub(super) fn text(self) -> Result<String, DecodeError> {
        Ok(std::str::from_utf8(self.delimited()?)?.to_owned())
    }

    /// A double.
    pub(super) fn double(mut self) -> Result<f64, DecodeError> {
        check_wire_type(WireType::SixtyFourBit, self.wire_type)?;
        self.take_double()
    }

    fn take_double(&mut self) -> Result<f64, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take_bytes(8)?);
        Ok(f64::from_le_bytes(bytes))
    }

    /// Adds the doubles of a repeated field, packed or not, and those of the fields of the same tag that follow it.
    pub(super) fn doubles(mut self, doubles: &mut Vec<f64>) -> Result<(), DecodeError> {
        if self.wire_type == WireType::LengthDelimited {
            let (numbers, odd) = self.delimited()?.as_chunks();
            doubles.extend(numbers.iter().map(|&number| f64::from_le_bytes(number)));
            return if odd.is_empty() {
                Ok(())
            } else {
                Err(DecodeError::Truncated { expected: 8, got: odd.len() })
            };
        }
        check_wire_type(WireType::SixtyFourBit, self.wire_type)?;
        doubles.reserve(self.rest.len() / DOUBLE_LEN + 1);
        let key = key(self.tag, WireType::SixtyFourBit);
        loop {
            doubles.push(self.take_double()?);
            match self.rest.split_first() {
                Some((next, rest)) if *next == key => *self.rest = rest,
                _ => return Ok(()),
            }
        }
    }

    /// Adds the integers of a repeated field, packed or not.
    pub(super) fn int32s(self, numbers: &mut Vec<i32>) -> Result<(), DecodeError> {
        if self.wire_type != WireType::LengthDelimited {
            numbers.push(self.varint()? as i32);
            return Ok(());
        }
        let mut packed = self.delimited()?;
        while !packed.is_empty() {
            numbers.push(decode_varint(&mut packed)? as i32);
        }
        Ok(())
    }

    /// Skips a field of an unknown tag.
    pub(super) fn skip(self) -> Result<(), DecodeError> {
        Ok(skip_field(self.wire_type, self.tag, self.rest, DecodeContext::default())?)
    }
}

/// The byte that a field starts with. Tags are below 16.
pub(super) const fn key(tag: u32, wire_type: WireType) -> u8 {
    (tag << 3) as u8 | wire_type as u8
}

/// Writes a string, bytes or a message of known length; its bytes are to follow.
pub(super) fn put_delimited(tag: u32, len: usize, buffer: &mut Vec<u8>) {
    buffer.push(key(tag, WireType::LengthDelimited));
    encode_varint(len as u64, buffer);
}

/// Writes an integer or a bool.
pub(super) fn put_varint(tag: u32, number: u64, buffer: &mut Vec<u8>) {
    buffer.push(key(tag, WireType::Varint));
    encode_varint(number, buffer);
}

/// Writes doubles, a field for each.
pub(super) fn put_doubles(tag: u32, numbers: &[f64], buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.resize(start + DOUBLE_LEN * numbers.len(), key(tag, WireType::SixtyFourBit));
    let (fields, _) = buffer[start..].as_chunks_mut::<DOUBLE_LEN>();
    for (field, number) in fields.iter_mut().zip(numbers) {
        field[1..].copy_from_slice(&number.to_le_bytes());
    }
}

/// The length of a string, bytes or a message, with its tag and length.
pub(super) fn delimited_len(len: usize) -> usize {
    varint_len(len as u64) + len
}

/// The length of an integer with its tag.
pub(super) fn varint_len(number: u64) -> usize {
    1 + encoded_len_varint(number)
}

/// The length of a double with its tag.
pub(super) const DOUBLE_LEN: usize = 9;
