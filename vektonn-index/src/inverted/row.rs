//! A stored sparse vector, in 6 bytes per coordinate.

use vektonn_core::SparseVector;

use crate::prefetch::prefetch;

/// A sparse vector. Neighbouring indices of most vectors differ by less than 2^16, so what is kept is the
/// gap between them, in 16 bits.
///
/// Layout in 16-bit words, low ones first: the number of coordinates, the bits of each value (2 words each), and for each
/// index how much it exceeds the smallest one that could follow. The number and these gaps take one word, or [`WIDE`]
/// and two words.
pub(crate) struct SparseRow {
    words: Box<[u16]>,
}

/// Announces a number that does not fit into one word.
const WIDE: u16 = u16::MAX;

/// The coordinates of a row, by ascending index.
pub(super) struct Coordinates<'r> {
    values: std::slice::Iter<'r, [u16; 2]>,
    gaps: std::slice::Iter<'r, u16>,
    /// The smallest index that can follow.
    next: u32,
}

impl SparseRow {
    pub(crate) fn new(vector: &SparseVector) -> Self {
        let (indices, values) = (vector.indices(), vector.values());
        let mut words = Vec::with_capacity(1 + values.len() * 3);
        push(&mut words, values.len() as u32);
        words.extend(values.iter().flat_map(|value| halves(value.to_bits())));
        let mut next = 0;
        for &index in indices {
            push(&mut words, index - next);
            next = index.wrapping_add(1);
        }
        Self { words: words.into() }
    }

    /// The number of coordinates, explicit zeros included.
    pub(super) fn len(&self) -> usize {
        next(&mut self.words.iter()).unwrap_or_default() as usize
    }

    /// The number of coordinates that are not zero.
    pub(super) fn size(&self) -> usize {
        self.coordinates().values.filter(|value| f32::from_bits(joined(**value)) != 0.0).count()
    }

    #[inline]
    pub(super) fn coordinates(&self) -> Coordinates<'_> {
        let mut words = self.words.iter();
        let len = next(&mut words).unwrap_or_default() as usize;
        let (values, gaps) = words.as_slice().split_at(len * 2);
        Coordinates { values: values.as_chunks().0.iter(), gaps: gaps.iter(), next: 0 }
    }

    /// The coordinates that are not zero.
    pub(super) fn non_zeros(&self) -> impl Iterator<Item = (u32, f32)> {
        self.coordinates().filter(|&(_, value)| value != 0.0)
    }

    pub(crate) fn to_vector(&self) -> SparseVector {
        let (indices, values): (Vec<u32>, Vec<f32>) = self.coordinates().unzip();
        SparseVector::new(&indices, &values, usize::MAX).expect("it was made from such a vector")
    }

    /// Asks for its memory, which will be read soon.
    pub(super) fn prefetch(&self) {
        prefetch(&self.words);
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

impl Iterator for Coordinates<'_> {
    type Item = (u32, f32);

    #[inline]
    fn next(&mut self) -> Option<(u32, f32)> {
        let value = f32::from_bits(joined(*self.values.next()?));
        let index = self.next + next(&mut self.gaps)?;
        self.next = index.wrapping_add(1);
        Some((index, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

/// Adds a number, in one word or three.
fn push(words: &mut Vec<u16>, number: u32) {
    match u16::try_from(number) {
        Ok(number) if number != WIDE => words.push(number),
        _ => words.extend([WIDE].into_iter().chain(halves(number))),
    }
}

/// Reads such a number.
#[inline]
fn next(words: &mut std::slice::Iter<'_, u16>) -> Option<u32> {
    Some(match *words.next()? {
        WIDE => joined([*words.next()?, *words.next()?]),
        number => u32::from(number),
    })
}

fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

#[inline]
fn joined([low, high]: [u16; 2]) -> u32 {
    u32::from(low) | u32::from(high) << 16
}
