//! Find nearest neighbours in process: dense and sparse vectors, with updates and deletes while searches run.
//!
//! What it is: an in-memory index over your own ids and payloads, and the shards that the Vektonn server is
//! made of. What it is not: storage. Nothing here outlives the process; the log in `vektonn-kafka` does.
//!
//! ```
//! use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};
//!
//! let store = IndexStore::dense(Metric::L2, 2)?;
//! store.apply([
//!     StoreChange::upsert("origin", [0.0, 0.0].try_into()?, ()),
//!     StoreChange::upsert("north", [0.0, 2.0].try_into()?, ()),
//! ])?;
//! store.apply([StoreChange::delete("origin")])?;
//!
//! let nearest = store.search(&[-0.5, 0.0], &SearchOptions::new(10))?;
//! assert_eq!((nearest[0].id, nearest[0].distance), ("north", 4.25));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Distances are smaller for nearer points, everywhere in this crate's [`IndexStore`]: an inner product is
//! negated. Searches never wait for writers, and see each batch of changes whole or not at all.
//!
//! Distances are computed with the best [`InstructionSet`] of the processor, or with the one that the environment variable
//! `VEKTONN_INSTRUCTION_SET` names when an index is made: all give the same bits.
//!
//! It runs on Unix only: vectors may be in mapped files, in a way that other systems do not know. It is tested on Linux.
//!
//! Feature `serde`: results can be serialized.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod collector;
#[cfg(all(test, not(loom)))]
mod conformance;
mod dense_rows;
mod distance;
mod flat;
mod hnsw;
mod index;
mod index_store;
mod inverted;
mod neighbor;
mod options;
mod part;
mod prefetch;
mod query;
pub mod shard;
mod store;
mod sync;
mod top_k;
mod view;
mod workers;

pub use distance::{InstructionSet, InstructionSetError};
pub use index::{IndexSpec, SpecError};
pub use index_store::{ApplyError, IndexStore, StoreChange};
pub use inverted::{sparse_from_sprs, sparse_to_sprs};
pub use neighbor::Neighbor;
pub use options::{BatchSearchError, SearchError, SearchOptions};
pub use query::Query;
pub use store::slots::IndexFull;
pub use vektonn_core::{
    DenseVector, HnswParams, HnswParamsError, IndexKind, MemoryMode, Metric, SparseVector, StoredVector,
    VectorError, VectorKind,
};
pub use view::{Hit, Point, View};
// Batches of queries are matrices of these.
pub use {faer, sprs};
