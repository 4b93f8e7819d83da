//! Where the points of an index live: slots with lifetimes on a timeline.
//!
//! Every point occupies a slot: its entry (id and payload) and its row (coordinates). A slot has a lifetime
//! `[born, died)` in batches. Applying a batch gives its new slots the next batch number as `born`, the slots
//! it replaces or deletes the same number as `died`, and then publishes that number: the whole batch
//! appears at one instant. A search pins the number that is current when it starts and sees exactly the slots
//! that were alive then, so an update shows either the old or the new version, never both, never neither, and
//! no search waits for a writer.
//!
//! A dead slot is used again once every search that could still see it has ended; [`timeline`] tells when.

pub(crate) mod block;
pub(crate) mod chunks;
pub(crate) mod id_map;
pub(crate) mod mapped;
mod slot_cell;
pub(crate) mod slots;
pub(crate) mod timeline;
