//! What a shard holds, in a few bytes: to tell whether two shards hold the same.

use std::fmt;
use std::hash::Hasher;

use vektonn_core::StoredVector;
use xxhash_rust::xxh3::Xxh3;

use super::Shard;
use super::splits::Table;
use crate::store::timeline::Pin;

/// A digest of a shard's points: their ids, splits, payloads and vectors, whatever the order in which they came.
///
/// The sum of a 128-bit hash of each point. It finds differences that happen; it does not withstand an attacker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many points there are.
    pub points: u64,
    /// The sum of their hashes.
    pub sum: u128,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

/// A shard as it was at one moment, whatever happens to it meanwhile. Drop it soon, as a
/// [`View`](crate::View).
pub struct Snapshot<'s> {
    pin: Pin<'s>,
    splits: std::sync::Arc<Table>,
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (batch, splits) = (self.pin.batch(), self.splits.len());
        f.debug_struct("Snapshot").field("batch", &batch).field("splits", &splits).finish()
    }
}

impl Shard {
    /// The shard as it is now.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let pin = self.timeline.pin();
        // After the pin: every split with a point that the pin sees is among them.
        Snapshot { splits: self.splits.all(), pin }
    }
}

impl Snapshot<'_> {
    /// Looks at every point.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        for split in self.splits.values() {
            split.store().at(&self.pin).into_points().for_each(|point| {
                let mut hash = Xxh3::new();
                for part in [point.id, split.key(), point.payload.bytes()] {
                    hash.write_u64(part.len() as u64);
                    hash.update(part);
                }
                update(&mut hash, &point.vector());
                digest.points += 1;
                digest.sum = digest.sum.wrapping_add(hash.digest128());
            });
        }
        digest
    }
}

fn update(hash: &mut Xxh3, vector: &StoredVector) {
    let values = match vector {
        StoredVector::Dense(vector) => vector.as_slice(),
        StoredVector::Sparse(vector) => {
            vector.indices().iter().for_each(|index| hash.update(&index.to_le_bytes()));
            vector.values()
        }
    };
    values.iter().for_each(|value| hash.update(&value.to_le_bytes()));
}
