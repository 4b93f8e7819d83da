//! Where Vektonn's data lives, and how index shards follow it.
//!
//! A [`DataSource`] is a set of durable, compacted logs, one per topic: Kafka (`kafka`), the embedded log of this
//! crate (`embedded`), or memory ([`memory`], for tests). All of them mean the same, which one suite of contract
//! tests checks. Topics, keys and values are bytes here; what they say is `vektonn_core::codec`'s business.
//!
//! The [`lifecycle`] follows the topics of an index shard, applies their records to it and says how far it
//! is. It is the only module that knows what an index is.
// Lifted in `kafka/native.rs` alone.
#![deny(unsafe_code)]

mod data_source;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lifecycle;
mod local_tail;
pub mod memory;
mod topic_table;

pub use data_source::{
    AppendError, AppendFailure, BoxFuture, DataSource, LogRecord, RecordOutcome, ResetReason, Tail,
    TailError, TailEvent,
};
#[cfg(feature = "embedded")]
pub use embedded::{EmbeddedDataSource, EmbeddedOptions, OpenError};
#[cfg(feature = "kafka")]
pub use kafka::{KafkaConfigError, KafkaDataSource, KafkaOptions};
pub use memory::MemoryDataSource;
