//! From ids to slots, without a second copy of the ids.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// The slot of each id. The ids themselves stand in the slots' entries; `id_of` reads a live slot's id.
#[derive(Default)]
pub(crate) struct IdMap {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
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

    /// The slot of `id`.
    pub(crate) fn get<'a, Id: Hash + Eq + 'a>(&self, id: &Id, id_of: impl Fn(u32) -> &'a Id) -> Option<u32> {
        self.table.find(self.hasher.hash_one(id), |&slot| id_of(slot) == id).copied()
    }

    /// Gives `id` a new slot; returns its old one.
    pub(crate) fn insert<'a, Id: Hash + Eq + 'a>(
        &mut self,
        id: &Id,
        slot: u32,
        id_of: impl Fn(u32) -> &'a Id,
    ) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        if let Some(old) = self.table.find_mut(hash, |&slot| id_of(slot) == id) {
            return Some(std::mem::replace(old, slot));
        }
        self.table.insert_unique(hash, slot, |&slot| self.hasher.hash_one(id_of(slot)));
        None
    }

    /// Forgets `id`; returns the slot it had.
    pub(crate) fn remove<'a, Id: Hash + Eq + 'a>(
        &mut self,
        id: &Id,
        id_of: impl Fn(u32) -> &'a Id,
    ) -> Option<u32> {
        let entry = self.table.find_entry(self.hasher.hash_one(id), |&slot| id_of(slot) == id).ok()?;
        Some(entry.remove().0)
    }
}
