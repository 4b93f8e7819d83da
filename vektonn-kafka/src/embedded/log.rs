//! The storage engine's keyspaces, and reading from them.

use std::path::Path;

use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable};

use super::directory::{DataDirectory, OpenError};
use super::entries::{self, Latest};
use super::{EmbeddedOptions, journal};
use crate::local_tail::{EVENT_BYTES_MAX, EVENT_RECORDS_MAX, LocalLog};
use crate::topic_table::{TopicState, TopicTable};
use crate::{AppendFailure, LogRecord, TailError};

/// Bytes of a block of the log, which is read in long runs.
const LOG_BLOCK_BYTES: u32 = 64 << 10;
/// Bytes of log in memory before they are written as a table. Half or twice as many, smaller blocks, and values
/// kept apart from keys made no difference beyond noise.
const LOG_MEMTABLE_BYTES: u64 = 64 << 20;
/// Bytes of the other keyspaces in memory before they are written as a table.
const SMALL_MEMTABLE_BYTES: u64 = 16 << 20;
/// Bytes of journals: an upper bound of what is read again at start.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// The keyspaces of a log, see [`entries`].
pub(super) struct Storage {
    pub(super) db: Database,
    pub(super) topics: Keyspace,
    pub(super) log: Keyspace,
    pub(super) latest: Keyspace,
    pub(super) tombstones: Keyspace,
}

/// The topics of a data directory, and their records.
///
/// Only the writer changes it. Dropped last, it releases the directory.
pub(super) struct EmbeddedLog {
    pub(super) storage: Storage,
    table: TopicTable,
    /// So much of the disk stays free.
    free_bytes_min: u64,
    // After the storage, so that the lock is released when its files are closed.
    directory: DataDirectory,
}

/// What the storage engine has to say, in words.
pub(super) fn describe(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Poisoned => {
            "the storage engine failed in the background, its log line says why".to_owned()
        }
        other => format!("{other:?}"),
    }
}

impl Storage {
    fn open(log_dir: &Path, options: &EmbeddedOptions) -> fjall::Result<Self> {
        let db = Database::builder(log_dir)
            .cache_size(options.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            // Every batch is synced by its commit.
            .manual_journal_persist(true)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(SMALL_MEMTABLE_BYTES);
        let log = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(LOG_MEMTABLE_BYTES)
                .data_block_size_policy(BlockSizePolicy::all(LOG_BLOCK_BYTES))
                // Nobody asks for a single offset.
                .filter_policy(FilterPolicy::disabled())
        };
        Ok(Self {
            topics: db.keyspace("topics", small)?,
            log: db.keyspace("log", log)?,
            latest: db.keyspace("latest", small)?,
            tombstones: db.keyspace("tombstones", small)?,
            db,
        })
    }

    /// All topics by number. Numbers are given out in order, so that each is the place of its topic.
    fn load_topics(&self) -> Result<Vec<TopicState>, String> {
        let mut topics = Vec::new();
        for entry in self.topics.iter() {
            let (name, value) = entry.into_inner().map_err(|e| describe(&e))?;
            topics.push(entries::decode_topic(&name, &value).ok_or("an entry in 'topics' is unreadable")?);
        }
        topics.sort_unstable_by_key(|topic| topic.number);
        match topics.iter().zip(0..).all(|(topic, place)| topic.number == place) {
            true => Ok(topics),
            false => Err("the topics' numbers have gaps".to_owned()),
        }
    }

    /// The latest record of a key, in the form of [`entries::latest_key`].
    pub(super) fn latest(&self, latest_key: &[u8]) -> Result<Option<Latest>, String> {
        match self.latest.get(latest_key).map_err(|e| describe(&e))? {
            None => Ok(None),
            Some(bytes) => match entries::decode_latest(&bytes) {
                Some(latest) => Ok(Some(latest)),
                None => Err("an entry in 'latest' is unreadable".to_owned()),
            },
        }
    }
}

impl EmbeddedLog {
    pub(super) fn open(dir: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let storage_error = |why: String| OpenError::Storage { dir: dir.to_owned(), why };
        let open = |log_dir: &Path| Storage::open(log_dir, options).map_err(|e| storage_error(describe(&e)));
        let directory = DataDirectory::open(dir, |log_dir| open(log_dir).map(drop))?;
        journal::repair(&directory.log())?;
        let storage = open(&directory.log())?;
        let table = TopicTable::new(storage.load_topics().map_err(storage_error)?);
        Ok(Self { storage, table, free_bytes_min: options.free_bytes_min, directory })
    }

    pub(super) fn table(&self) -> &TopicTable {
        &self.table
    }

    /// The data directory.
    pub(super) fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// Nothing is written unless there is room for it: the storage engine does not survive a full disk.
    pub(super) fn check_room(&self) -> Result<(), AppendFailure> {
        let free_bytes = match rustix::fs::statvfs(self.dir()) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                tracing::debug!(%error, "cannot ask for the free space of the data directory");
                return Ok(());
            }
        };
        if free_bytes >= self.free_bytes_min {
            return Ok(());
        }
        let (dir, free_bytes_min) = (self.dir().to_owned(), self.free_bytes_min);
        Err(AppendFailure::DiskFull { dir, free_bytes, free_bytes_min })
    }
}

impl LocalLog for EmbeddedLog {
    fn topics(&self) -> &TopicTable {
        &self.table
    }

    fn read(&self, topic: &TopicState, from: u64) -> Result<(Vec<LogRecord>, u64), TailError> {
        let damaged = |offset, why| TailError::Damaged { topic: topic.name.to_string(), offset, why };
        let range = entries::log_key(topic.number, from)..entries::log_key(topic.number, topic.end);
        let mut records: Vec<LogRecord> = Vec::new();
        let mut bytes = 0;
        // A snapshot, because a batch must be seen whole or not at all.
        for entry in self.storage.db.snapshot().range(&self.storage.log, range) {
            let (key, value) = entry.into_inner().map_err(|e| TailError::Storage { why: describe(&e) })?;
            let offset = entries::log_key_offset(&key).ok_or_else(|| damaged(from, "unreadable key"))?;
            if records.len() == EVENT_RECORDS_MAX || bytes > EVENT_BYTES_MAX {
                return Ok((records, offset));
            }
            let record =
                entries::decode_record(offset, &value).ok_or_else(|| damaged(offset, "unreadable record"))?;
            bytes += record.bytes();
            records.push(record);
        }
        Ok((records, topic.end))
    }
}
