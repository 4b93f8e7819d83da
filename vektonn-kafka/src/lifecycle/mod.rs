//! The life of an index shard: it follows its topics, applies their records, and says how far it is.
//!
//! ```text
//! Starting -> CatchingUp -> Ready -> Stopping
//!                 \           /
//!                  -> Failed <-      and back, when the data source can be read again
//! ```
//!
//! A shard is ready once it has applied everything that was in its topics when it started, and has been at their ends: that
//! is told from positions, never from a particular record arriving, for a compacted log has gaps (`build`). When what was read of
//! a topic no longer holds, a fresh shard is built beside the present one, which serves until both are
//! swapped.
//!
//! Two threads work for each shard: one reads and prepares records (`read_ahead`), the other applies them (`follow`).

mod apply;
mod build;
mod follow;
mod read_ahead;
mod state;

pub use self::apply::{APPLY_SECONDS, BAD_RECORDS};
pub use self::follow::{ShardFollower, WaitError};
pub use self::state::{BadRecord, BadRecords, Lag, ShardState};
