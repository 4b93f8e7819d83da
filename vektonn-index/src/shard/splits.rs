//! The splits of a shard, each a store of its own, found without a lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use vektonn_core::{Attribute, AttributeValue};

use super::PreparedChange;
use super::attributes::{AttributeLayout, Payload, decode_values};
use crate::distance::{DenseKernels, InstructionSet};
use crate::index::IndexSpec;
use crate::index_store::{IndexStore, StoreChange};
use crate::store::slots::IndexFull;
use crate::store::timeline::{Batch, Timeline};

/// A point's index id (encoded) with its payload.
type SplitStore = IndexStore<Box<[u8]>, Payload>;
pub(super) type SplitChange = StoreChange<Box<[u8]>, Payload>;

/// The points of a shard that have the same split attributes.
pub(super) struct Split {
    key: Box<[u8]>,
    /// What the key encodes.
    values: Box<[AttributeValue]>,
    store: SplitStore,
}

/// By key. The whole table is replaced when splits come or go, which is rare.
pub(super) type Table = HashMap<Box<[u8]>, Arc<Split>>;

pub(super) struct Splits {
    spec: IndexSpec,
    kernels: DenseKernels,
    timeline: Arc<Timeline>,
    directory: Arc<Path>,
    table: ArcSwap<Table>,
    /// The keys of splits that a batch has left empty, with its epoch: once no search can see their points, they go. For the
    /// writer.
    emptied: Mutex<HashMap<Box<[u8]>, u64>>,
}

impl Split {
    /// The encoded values of the split attributes; empty if the index has none.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The values of the split attributes.
    pub(super) fn values(&self) -> &[AttributeValue] {
        &self.values
    }

    pub(super) fn store(&self) -> &SplitStore {
        &self.store
    }

    /// Bytes in use, those of ids and payloads included.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize =
            self.store.view().iter().map(|point| point.id.len() + point.payload.bytes().len()).sum();
        self.store.bytes() + entries
    }
}

impl Splits {
    pub(super) fn new(
        spec: IndexSpec,
        kernels: DenseKernels,
        timeline: Arc<Timeline>,
        directory: Arc<Path>,
    ) -> Self {
        Self { spec, kernels, timeline, directory, table: ArcSwap::default(), emptied: Mutex::default() }
    }

    /// Where vectors may be in files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn instruction_set(&self) -> InstructionSet {
        self.kernels.instruction_set()
    }

    pub(super) fn all(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The splits that a filter leaves, largest first: their points soon make the bound tight for the others.
    pub(super) fn matching(&self, layout: &AttributeLayout, filter: &[Attribute]) -> Vec<Arc<Split>> {
        let table = self.table.load();
        if let Some(key) = layout.split_key_of_filter(filter) {
            return table.get(&key).cloned().into_iter().collect();
        }
        let mut splits: Vec<_> =
            table.values().filter(|split| layout.split_matches(split.values(), filter)).cloned().collect();
        // Writers change the sizes meanwhile: each is asked once.
        splits.sort_by_cached_key(|split| Reverse(split.store.len()));
        splits
    }

    /// Applies changes in their order, each to its split.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing has changed then.
    pub(super) fn apply(&self, batch: &Batch<'_>, changes: Vec<PreparedChange>) -> Result<(), IndexFull> {
        let mut by_split: BTreeMap<_, Vec<SplitChange>> = BTreeMap::new();
        for PreparedChange { split, change } in changes {
            by_split.entry(split).or_default().push(change);
        }
        // A deletion makes no split: where there is none, there is nothing to delete.
        let grows = |changes: &[SplitChange]| changes.iter().any(StoreChange::is_upsert);
        self.replace_table(batch, by_split.iter().filter(|(_, changes)| grows(changes)).map(|(key, _)| key));
        let table = self.table.load();
        let split = |(key, changes)| Some((table.get(&key)?, changes));
        let by_split: Vec<(_, Vec<SplitChange>)> = by_split.into_iter().filter_map(split).collect();
        // In all of them before the first change.
        let fits = by_split.iter().try_for_each(|(split, changes)| split.store.reserve(batch, changes));
        for (split, changes) in by_split {
            if fits.is_ok() {
                split.store.apply_reserved(batch, changes);
            }
            if split.store.is_empty() {
                self.emptied.lock().insert(split.key.clone(), batch.epoch());
            }
        }
        fits
    }

    /// Adds splits of these keys, which will be filled, and takes out those that have been empty for so long that no search
    /// can see a point of them.
    fn replace_table<'k>(&self, batch: &Batch<'_>, keys: impl Iterator<Item = &'k Box<[u8]>>) {
        let table = self.table.load();
        let mut emptied = self.emptied.lock();
        let mut missing = Vec::new();
        for key in keys {
            emptied.remove(key);
            if !table.contains_key(key) {
                missing.push(key.clone());
            }
        }
        emptied.retain(|key, _| table.get(key).is_some_and(|split| split.store.is_empty()));
        let gone: Vec<_> = emptied.extract_if(|_, &mut epoch| batch.is_free(epoch)).collect();
        if missing.is_empty() && gone.is_empty() {
            return;
        }
        let mut table = Table::clone(&table);
        gone.iter().for_each(|(key, _)| _ = table.remove(key));
        table.extend(missing.into_iter().map(|key| {
            let timeline = Arc::clone(&self.timeline);
            let store = IndexStore::on_timeline(self.spec, self.kernels, timeline, &self.directory);
            let values = decode_values(&key).into();
            (key.clone(), Arc::new(Split { key, values, store }))
        }));
        self.table.store(Arc::new(table));
    }
}
