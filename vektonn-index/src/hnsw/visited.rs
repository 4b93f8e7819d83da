//! Which slots a search has seen.

const WORD: usize = u64::BITS as usize;

/// One bit for each slot: the bits of 100,000 slots fit the first cache. What was set is remembered, so that the next
/// search need not clear all.
#[derive(Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    /// The words that are not zero come first, `count` of them. There is always room for one more.
    touched: Vec<u32>,
    count: usize,
}

impl Visited {
    /// Forgets all, and makes room for slots below `end`.
    pub(super) fn reset(&mut self, end: u32) {
        for &word in &self.touched[..self.count] {
            self.words[word as usize] = 0;
        }
        self.count = 0;
        let words = (end as usize).div_ceil(WORD);
        if self.words.len() < words {
            self.words.resize(words, 0);
            self.touched.resize(words + 1, 0);
        }
    }

    /// Whether the slot is seen for the first time. Without a branch, since nobody can foresee it.
    #[inline(always)]
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / WORD, 1 << (slot as usize % WORD));
        let bits = self.words[word];
        self.words[word] = bits | bit;
        self.touched[self.count] = word as u32;
        self.count += usize::from(bits == 0);
        bits & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_new_once_until_reset() {
        let mut visited = Visited::default();
        for _ in 0..3 {
            visited.reset(1000);
            for slot in [0, 63, 64, 999, 5] {
                assert!(visited.insert(slot));
                assert!(!visited.insert(slot));
            }
        }
    }
}
