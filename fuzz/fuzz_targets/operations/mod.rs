//! Where both targets of operations on an index take these from: the input, and numbers by chance.

/// What is left of the input; zeros follow.
pub struct Bytes<'i>(pub &'i [u8]);

impl Bytes<'_> {
    pub fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }
}

/// Xorshift (Marsaglia: Xorshift RNGs, 2003). Not of zero.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
