//! Faults of the distributed system: real processes, a real broker. What topics may look like is shown by the tests
//! of `vektonn-kafka`, which `cargo xtask test` runs against a real broker too.

pub(super) mod kills;
pub(super) mod lost_tail;
pub(super) mod no_broker;
mod searches;
pub(super) mod stopped_shard;
mod system;
pub(super) mod version_switch;
