//! What belongs to a term in a window?

use crate::prefetch::prefetch;
use crate::store::mapped::Memory;

/// Values by term, in ascending order of terms.
pub(super) struct TermTable<V> {
    entries: Memory<(u32, V)>,
    /// Terms whose upper bits, `term >> shift`, are `i` have the entries `first[i]..first[i + 1]`.
    first: Memory<u32>,
    shift: u32,
}

/// So many terms should share their upper bits.
const TERMS_PER_BUCKET: usize = 4;

impl<V> TermTable<V> {
    /// Terms are strictly ascending.
    pub(super) fn new(entries: Memory<(u32, V)>) -> Self {
        let Some(&(last, _)) = entries.last() else {
            return Self { entries, first: Memory::zeroed(0), shift: 0 };
        };
        let buckets_max = (entries.len() / TERMS_PER_BUCKET).max(1);
        let shift =
            (0..u32::BITS).find(|shift| ((last >> shift) as usize) < buckets_max).unwrap_or(u32::BITS - 1);
        let buckets = (last >> shift) as usize + 1;
        let mut first = Memory::<u32>::zeroed_apart(buckets + 1);
        for (term, _) in &*entries {
            first[(term >> shift) as usize + 1] += 1;
        }
        for i in 0..buckets {
            first[i + 1] += first[i];
        }
        Self { entries, first, shift }
    }

    /// The entry of the term, and that of the next one, if there is any.
    #[inline]
    pub(super) fn find(&self, term: u32) -> Option<(usize, &V, Option<&V>)> {
        let bucket = self.bucket(term)?;
        let place = self.entries[bucket.clone()].binary_search_by_key(&term, |&(other, _)| other).ok()?;
        let place = bucket.start + place;
        Some((place, &self.entries[place].1, self.entries.get(place + 1).map(|(_, value)| value)))
    }

    /// Asks for the memory that [`ask_for_entry`](Self::ask_for_entry) reads.
    #[inline]
    pub(super) fn ask_for_bucket(&self, term: u32) {
        prefetch(
            self.first
                .get((term >> self.shift) as usize..)
                .and_then(|first| first.get(..1))
                .unwrap_or_default(),
        );
    }

    /// Asks for the memory that [`find`](Self::find) reads.
    #[inline]
    pub(super) fn ask_for_entry(&self, term: u32) {
        let bucket = self.bucket(term).unwrap_or_default();
        prefetch(&self.entries[bucket.start..bucket.end.min(bucket.start + 2 * TERMS_PER_BUCKET)]);
    }

    #[inline]
    fn bucket(&self, term: u32) -> Option<std::ops::Range<usize>> {
        let bucket = (term >> self.shift) as usize;
        Some(*self.first.get(bucket)? as usize..*self.first.get(bucket + 1)? as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_any_size_are_found() {
        for last in [701, u32::MAX] {
            let entries = vec![(3, 'a'), (64, 'b'), (700, 'c'), (last, 'd')];
            let table = TermTable::new(entries.into_boxed_slice().into());
            assert_eq!(table.find(64), Some((1, &'b', Some(&'c'))));
            assert_eq!(table.find(last), Some((3, &'d', None)));
            assert!([0, 65, 699, 702, u32::MAX - 1].into_iter().all(|term| table.find(term).is_none()));
            [0, 3, 700, last].into_iter().for_each(|term| table.ask_for_entry(term));
        }
        let empty = TermTable::<()>::new(Memory::zeroed(0));
        empty.ask_for_bucket(0);
        empty.ask_for_entry(0);
        assert_eq!(empty.find(0), None);
    }
}
