//! From ids to slots, without a second copy of the ids.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// The slot of each id. The ids themselves stand in the slots' entries; `id_of` reads a live slot's id.
#[derive(Default)]
pub(crate) struct IdMap {
    hasher: DefaultHashBuilder,
    table: HashTable<Slot>,
}

/// A slot, and the upper half of its id's hash: the table grows, and tells most ids apart, without reading the ids,
/// each of which would be two misses of the cache.
struct Slot {
    hash: u32,
    slot: u32,
}

impl Slot {
    /// What the table knows of a hash: each bit of the half that is kept decides the place, and the tag, too.
    fn spread(half: u32) -> u64 {
        u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl IdMap {
    /// The number of ids.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes in use, ids not included.
    pub(crate) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }

    fn half_hash<Id: Hash>(&self, id: &Id) -> u32 {
        (self.hasher.hash_one(id) >> 32) as u32
    }

    /// The slot of `id`.
    pub(crate) fn get<'a, Id: Hash + Eq + 'a>(&self, id: &Id, id_of: impl Fn(u32) -> &'a Id) -> Option<u32> {
        let hash = self.half_hash(id);
        let is_it = |at: &Slot| at.hash == hash && id_of(at.slot) == id;
        self.table.find(Slot::spread(hash), is_it).map(|at| at.slot)
    }

    /// Gives `id` a new slot; returns its old one.
    pub(crate) fn insert<'a, Id: Hash + Eq + 'a>(
        &mut self,
        id: &Id,
        slot: u32,
        id_of: impl Fn(u32) -> &'a Id,
    ) -> Option<u32> {
        let hash = self.half_hash(id);
        let is_it = |at: &Slot| at.hash == hash && id_of(at.slot) == id;
        if let Some(old) = self.table.find_mut(Slot::spread(hash), is_it) {
            return Some(std::mem::replace(&mut old.slot, slot));
        }
        self.table.insert_unique(Slot::spread(hash), Slot { hash, slot }, |at| Slot::spread(at.hash));
        None
    }

    /// Forgets `id`; returns the slot it had.
    pub(crate) fn remove<'a, Id: Hash + Eq + 'a>(
        &mut self,
        id: &Id,
        id_of: impl Fn(u32) -> &'a Id,
    ) -> Option<u32> {
        let hash = self.half_hash(id);
        let is_it = |at: &Slot| at.hash == hash && id_of(at.slot) == id;
        let entry = self.table.find_entry(Slot::spread(hash), is_it).ok()?;
        Some(entry.remove().0.slot)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    /// All ids have the same hash.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Same(u32);

    impl Hash for Same {
        fn hash<H: Hasher>(&self, state: &mut H) {
            0.hash(state);
        }
    }

    #[test]
    fn ids_of_the_same_hash_are_told_apart_while_the_table_grows() {
        let mut map = IdMap::default();
        // The id of slot `s` is `s % 100`.
        let ids: Vec<_> = (0..100).map(Same).collect();
        let id_of = |slot: u32| &ids[slot as usize % 100];
        for slot in 0..200 {
            let replaced = map.insert(id_of(slot), slot, id_of);
            assert_eq!(replaced, slot.checked_sub(100));
        }
        for slot in 100..150 {
            assert_eq!(map.remove(id_of(slot), id_of), Some(slot));
        }
        let found: Vec<_> = ids.iter().map(|id| map.get(id, id_of)).collect();
        let expected: Vec<_> = (100..200).map(|slot| (slot >= 150).then_some(slot)).collect();
        assert_eq!((found, map.len()), (expected, 50));
    }
}
