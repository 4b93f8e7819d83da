//! One shard of an index: the part of its data points that one process holds, in splits.
//!
//! A shard takes the changes of a data source in their order, keeps those that its sharding rules give it, and
//! searches one, some or all of its splits. All splits share one timeline: a batch of changes appears in all of
//! them at one instant, and a search sees all of them at one point in time.

mod attributes;
mod digest;
mod search;
mod splits;

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use vektonn_core::{
    Attribute, Change, IndexMeta, IndexShardMeta, StoredVector, Vector, VectorError, VectorKind,
};

use attributes::AttributeLayout;
pub use attributes::MissingAttribute;
pub use digest::{Digest, Snapshot};
use splits::{SplitChange, Splits};

use crate::distance::{DenseKernels, InstructionSet};
use crate::index::{IndexSpec, SpecError};
use crate::index_store::StoreChange;
use crate::store::slots::IndexFull;
use crate::store::timeline::Timeline;

/// Batches of at least this many changes are prepared on all cores.
const PARALLEL_CHANGES_MIN: usize = 128;

/// One shard of an index.
///
/// Searches and [`apply`](Self::apply) may run at the same time from any number of threads.
pub struct Shard {
    meta: Arc<IndexMeta>,
    shard_id: String,
    rules: IndexShardMeta,
    spec: IndexSpec,
    layout: AttributeLayout,
    timeline: Arc<Timeline>,
    splits: Splits,
}

/// Why there is no such shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The index has no shard of this id.
    #[error("index {index} has no shard '{shard_id}'")]
    Unknown {
        /// The index.
        index: String,
        /// The id asked for.
        shard_id: String,
    },
    /// There is no index for this algorithm.
    // Not named `source`: the message is whole, and a chain would repeat the end of it.
    #[error("index {index}: {error}")]
    Spec {
        /// The index.
        index: String,
        /// What is wrong.
        error: SpecError,
    },
}

/// Why a change cannot be applied. Such a change is skipped; the others of its batch are applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    /// An attribute that decides where the point belongs is missing.
    #[error(transparent)]
    Attribute(#[from] MissingAttribute),
    /// The vector does not fit the data source.
    #[error(transparent)]
    Vector(#[from] VectorError),
}

impl BadChange {
    /// A short, stable name of the reason, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Attribute(_) => "wrong_attribute",
            Self::Vector(_) => "wrong_vector",
        }
    }
}

/// What became of a batch of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyReport {
    /// How many changes were applied.
    pub applied: usize,
    /// How many belong to other shards of the index.
    pub elsewhere: usize,
    /// The changes that were skipped, by their place in the batch.
    pub bad: Vec<(usize, BadChange)>,
}

/// The size of a shard.
#[derive(Clone, Debug)]
pub struct ShardStats {
    /// Live points in all splits.
    pub points: usize,
    /// Bytes of memory in use by all splits.
    pub bytes: usize,
    /// Bytes of all splits in files that are mapped into memory.
    pub mapped_bytes: usize,
    /// The splits, largest first.
    pub splits: Vec<SplitStats>,
    /// What the distances are computed with.
    pub instruction_set: InstructionSet,
}

/// The size of a split.
#[derive(Clone, Debug)]
pub struct SplitStats {
    /// The split attributes that all its points have, ordered by key.
    pub attributes: Vec<Attribute>,
    /// Live points.
    pub points: usize,
    /// Bytes of memory in use.
    pub bytes: usize,
    /// Bytes in files that are mapped into memory.
    pub mapped_bytes: usize,
}

/// A change, ready to be applied to its split.
#[derive(Debug)]
pub struct PreparedChange {
    split: Box<[u8]>,
    change: SplitChange,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, splits) = (self.meta.id(), self.splits.all().len());
        let mut shard = f.debug_struct("Shard");
        shard.field("index", index).field("shard_id", &self.shard_id).field("spec", &self.spec);
        shard.field("splits", &splits).finish_non_exhaustive()
    }
}

impl Shard {
    /// An empty shard of an index. If its vectors are to be in files, those are in the system's directory for temporary
    /// ones.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn new(meta: Arc<IndexMeta>, shard_id: &str) -> Result<Self, ShardError> {
        Self::new_in(meta, shard_id, &std::env::temp_dir())
    }

    /// An empty shard like this one.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn fresh(&self) -> Result<Self, ShardError> {
        Self::new_in(Arc::clone(&self.meta), &self.shard_id, self.splits.directory())
    }

    /// An empty shard of an index. If its vectors are to be in files, those are in the directory, without names.
    ///
    /// # Errors
    /// [`ShardError`].
    pub fn new_in(meta: Arc<IndexMeta>, shard_id: &str, directory: &Path) -> Result<Self, ShardError> {
        let unknown = || ShardError::Unknown { index: meta.id().to_string(), shard_id: shard_id.to_owned() };
        let rules = meta.shards().get(shard_id).ok_or_else(unknown)?.clone();
        let algorithm = meta.algorithm();
        let spec = IndexSpec {
            metric: algorithm.metric(),
            dimension: meta.data_source().dimension(),
            kind: algorithm.kind(),
        };
        let refused = |error| ShardError::Spec { index: meta.id().to_string(), error };
        spec.check().map_err(refused)?;
        let instruction_set = InstructionSet::detect().map_err(|error| refused(error.into()))?;
        let layout = AttributeLayout::of(&meta);
        let timeline = Arc::new(Timeline::new());
        let splits =
            Splits::new(spec, DenseKernels::new(instruction_set), Arc::clone(&timeline), directory.into());
        Ok(Self { shard_id: shard_id.to_owned(), rules, spec, layout, timeline, splits, meta })
    }

    /// The index this is a shard of.
    pub fn meta(&self) -> &Arc<IndexMeta> {
        &self.meta
    }

    /// The shard's id in its index.
    pub fn shard_id(&self) -> &str {
        &self.shard_id
    }

    /// The number of live points.
    pub fn len(&self) -> usize {
        self.splits.all().values().map(|split| split.store().len()).sum()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the shard and of its splits. Looks at every point, and waits for batches that are being applied.
    pub fn stats(&self) -> ShardStats {
        let mut splits: Vec<SplitStats> = self
            .splits
            .all()
            .values()
            .map(|split| SplitStats {
                attributes: self.layout.split_attributes(split.values()),
                points: split.store().len(),
                bytes: split.bytes(),
                mapped_bytes: split.store().mapped_bytes(),
            })
            .collect();
        splits.sort_by_key(|split| Reverse(split.points));
        ShardStats {
            points: splits.iter().map(|split| split.points).sum(),
            bytes: splits.iter().map(|split| split.bytes).sum(),
            mapped_bytes: splits.iter().map(|split| split.mapped_bytes).sum(),
            splits,
            instruction_set: self.splits.instruction_set(),
        }
    }

    /// Applies a batch of changes in their order: of several changes of one point the last one wins. Searches see
    /// the batch whole or not at all. Changes that belong to other shards, or that are not valid, are skipped.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing has changed then.
    ///
    /// # Panics
    /// As [`apply_prepared`](Self::apply_prepared).
    pub fn apply(&self, changes: Vec<Change>) -> Result<ApplyReport, IndexFull> {
        let prepared: Vec<_> = if changes.len() < PARALLEL_CHANGES_MIN {
            changes.into_iter().map(|change| self.prepare(change)).collect()
        } else {
            changes.into_par_iter().map(|change| self.prepare(change)).collect()
        };
        let mut mine = Vec::with_capacity(prepared.len());
        let (mut elsewhere, mut bad) = (0, vec![]);
        for (position, prepared) in prepared.into_iter().enumerate() {
            match prepared {
                Ok(Some(prepared)) => mine.push(prepared),
                Ok(None) => elsewhere += 1,
                Err(error) => bad.push((position, error)),
            }
        }
        let applied = mine.len();
        self.apply_prepared(mine)?;
        Ok(ApplyReport { applied, elsewhere, bad })
    }

    /// The part of [`apply`](Self::apply) that can be done ahead, on any thread, while other changes are applied:
    /// narrows and encodes a change. `None` if it belongs to another shard of the index.
    ///
    /// # Errors
    /// [`BadChange`].
    pub fn prepare(&self, change: Change) -> Result<Option<PreparedChange>, BadChange> {
        if !self.rules.takes(change.attributes()) {
            return Ok(None);
        }
        let id = self.layout.encode_id(change.attributes())?;
        let split = self.layout.encode_split(change.attributes())?;
        let change = match change {
            Change::Upsert(point) => {
                let payload = self.layout.encode_payload(&point.attributes);
                StoreChange::Upsert { id, vector: self.narrow(&point.vector)?, payload }
            }
            Change::Delete(_) => StoreChange::Delete { id },
        };
        Ok(Some(PreparedChange { split, change }))
    }

    /// The rest of [`apply`](Self::apply): applies a batch of changes that this shard has prepared, in their order.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing has changed then.
    ///
    /// # Panics
    /// If an earlier batch has panicked. Searches go on, and do not see it.
    pub fn apply_prepared(&self, changes: Vec<PreparedChange>) -> Result<(), IndexFull> {
        self.splits.apply(&self.timeline.write(), changes)
    }

    fn narrow(&self, vector: &Vector) -> Result<StoredVector, VectorError> {
        let dimension = self.spec.dimension;
        match self.spec.kind.vector_kind() {
            VectorKind::Dense => vector.to_dense(dimension).map(StoredVector::Dense),
            VectorKind::Sparse => vector.to_sparse(dimension).map(StoredVector::Sparse),
        }
    }
}
