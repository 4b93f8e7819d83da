//! Which number does a term have in a window?

/// Terms in ascending order, numbered from 0.
#[derive(Default)]
pub(super) struct TermTable {
    terms: Box<[u32]>,
    /// Terms whose upper bits, `term >> shift`, are `i` have the numbers `first[i]..first[i + 1]`.
    first: Box<[u32]>,
    shift: u32,
}

/// So many terms should share their upper bits.
const TERMS_PER_BUCKET: usize = 4;

impl TermTable {
    /// `terms` is strictly ascending.
    pub(super) fn new(terms: Vec<u32>) -> Self {
        let Some(&last) = terms.last() else { return Self::default() };
        let buckets_max = (terms.len() / TERMS_PER_BUCKET).max(1);
        let shift =
            (0..u32::BITS).find(|shift| ((last >> shift) as usize) < buckets_max).unwrap_or(u32::BITS - 1);
        let buckets = (last >> shift) as usize + 1;
        let mut first = vec![0; buckets + 1];
        for term in &terms {
            first[(term >> shift) as usize + 1] += 1;
        }
        for i in 0..buckets {
            first[i + 1] += first[i];
        }
        Self { terms: terms.into(), first: first.into(), shift }
    }

    #[inline]
    pub(super) fn find(&self, term: u32) -> Option<usize> {
        let bucket = (term >> self.shift) as usize;
        let (&first, &end) = (self.first.get(bucket)?, self.first.get(bucket + 1)?);
        let place = self.terms[first as usize..end as usize].binary_search(&term).ok()?;
        Some(first as usize + place)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.terms) + size_of_val(&*self.first)
    }
}
