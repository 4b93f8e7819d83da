//! Checks the storage engine's journals before it opens them.
//!
//! A power loss can tear the batch being written: any of its disk pages may be missing, not only its end.
//! That batch was never acknowledged and is cut off here; the engine itself would refuse to open some of
//! these journals. Damage *before* intact batches is something else: acknowledged records would be lost by
//! cutting there, as the engine does silently, so it is an error.
//!
//! The format is fjall's (version 3): a batch is a start entry (tag 1, item count u32, sequence number u64),
//! items (tag 2, see [`item_len`]) or clears (tag 4, keyspace u64), and an end entry (tag 3, xxh3 of the
//! items u64, `FJL\x03`), all little-endian. Files are allocated ahead, so that zeros follow.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::OpenError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

const START_LEN: usize = 1 + 4 + 8;
const CLEAR_LEN: usize = 1 + 8;
/// Tag, value type, compression, keyspace u64, key length u16, value length u32, stored value length u32.
const ITEM_HEAD_LEN: usize = 3 + 8 + 2 + 4 + 4;
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts a torn batch off the last journal in the directory.
pub(super) fn repair(log_dir: &Path) -> Result<(), OpenError> {
    let journals = journals(log_dir)?;
    for (place, path) in journals.iter().enumerate() {
        let bytes = fs::read(path).map_err(|e| OpenError::io("read", path, e))?;
        let end = intact_len(&bytes);
        let rest = &bytes[end..];
        if rest.iter().all(|&byte| byte == 0) {
            continue;
        }
        // Earlier journals were synced as a whole before the next one was begun.
        let is_last = place + 1 == journals.len();
        if !is_last || has_batch(&rest[1..]) {
            let why = format!("the batch at byte {end} is broken, but later ones are intact");
            return Err(OpenError::Damaged { path: path.clone(), why });
        }
        tracing::warn!(journal = %path.display(), at = end, "cutting off a batch that was being written when the machine stopped");
        cut(path, end as u64).map_err(|e| OpenError::io("truncate", path, e))?;
    }
    Ok(())
}

fn cut(path: &Path, len: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// The journals in the order they were written.
fn journals(log_dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let io = |e| OpenError::io("read", log_dir, e);
    let mut journals = Vec::new();
    for entry in fs::read_dir(log_dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let number =
            path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|ext| ext.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// The bytes of the intact batches at the beginning.
fn intact_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(batch) = batch_len(&bytes[len..]) {
        len += batch;
    }
    len
}

/// Whether an intact batch begins anywhere.
fn has_batch(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| bytes[at] == START && batch_len(&bytes[at..]).is_some())
}

/// The length of the intact batch that the bytes begin with.
fn batch_len(bytes: &[u8]) -> Option<usize> {
    let (start, rest) = bytes.split_at_checked(START_LEN)?;
    let (&START, count) = start.split_first()? else { return None };
    let count = u32_at(count, 0)?;
    let mut items_len = 0;
    for _ in 0..count {
        let item = &rest[items_len..];
        items_len += match *item.first()? {
            ITEM => item_len(item)?,
            CLEAR => CLEAR_LEN,
            _ => return None,
        };
        if items_len > rest.len() {
            return None;
        }
    }
    let (items, rest) = rest.split_at(items_len);
    let (&END, rest) = rest.split_first()? else { return None };
    let (checksum, rest) = rest.split_first_chunk()?;
    let intact = rest.starts_with(TRAILER) && xxh3_64(items) == u64::from_le_bytes(*checksum);
    intact.then_some(START_LEN + items_len + 1 + 8 + TRAILER.len())
}

fn item_len(item: &[u8]) -> Option<usize> {
    let key_len = u16::from_le_bytes(*item.get(11..)?.first_chunk()?);
    let stored_value_len = u32_at(item, 17)?;
    Some(ITEM_HEAD_LEN + usize::from(key_len) + stored_value_len as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    use super::*;

    /// A journal of fjall's own making: two batches of three items, then zeros.
    fn journal() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::builder(dir.path()).open().unwrap();
        let items = db.keyspace("items", KeyspaceCreateOptions::default).unwrap();
        for round in 0..2_u8 {
            let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
            for item in 0..3_u8 {
                batch.insert(&items, [item], vec![round + 1; 5_000]);
            }
            batch.commit().unwrap();
        }
        let path = journals(dir.path()).unwrap().pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        (dir, path, bytes)
    }

    #[test]
    fn understands_the_engines_journals() {
        let (_dir, _, bytes) = journal();
        let end = intact_len(&bytes);
        assert!(end > 6 * 5_000 && end < 6 * 5_200, "{end}");
        assert!(bytes[end..].iter().all(|&byte| byte == 0));
        assert!(has_batch(&bytes[1..]));
    }

    #[test]
    fn an_intact_journal_is_left_alone() {
        let (dir, path, bytes) = journal();
        repair(dir.path()).unwrap();
        assert!(fs::read(path).unwrap() == bytes);
    }

    #[test]
    fn a_batch_with_a_missing_page_at_the_end_is_cut_off() {
        let (dir, path, mut bytes) = journal();
        let first = batch_len(&bytes).unwrap();
        bytes[first + 6_000..first + 10_096].fill(0);
        fs::write(&path, &bytes).unwrap();
        repair(dir.path()).unwrap();
        assert!(fs::read(path).unwrap() == bytes[..first]);
    }

    #[test]
    fn damage_before_an_intact_batch_is_an_error() {
        let (dir, path, mut bytes) = journal();
        bytes[100] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = repair(dir.path()).unwrap_err();
        assert!(error.to_string().contains("the batch at byte 0 is broken"), "{error}");
        assert!(fs::read(path).unwrap() == bytes);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let (_dir, _, bytes) = journal();
        let end = intact_len(&bytes);
        for cut in (0..end).step_by(97) {
            assert!(intact_len(&bytes[..cut]) <= cut);
        }
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let _ = (intact_len(&bytes), has_batch(&bytes));
        });
    }
}
