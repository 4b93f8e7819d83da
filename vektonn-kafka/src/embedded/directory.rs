//! The data directory: its lock, its format version, its creation.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The layout this version reads and writes.
const FORMAT_VERSION: u32 = 1;
/// How long to wait for the lock: a process that is just ending may hold it still, and so may one that is
/// being started by the last owner and has not closed its inherited files yet.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it, or this one has it open already.
    #[error("the data directory {} is in use by another process", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// A newer version wrote it.
    #[error("the data directory {} has format version {found}, this program reads up to {supported}: use a newer program", dir.display())]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version understood.
        supported: u32,
    },
    /// It holds something else.
    #[error("{} is not a data directory: {why}", dir.display())]
    NotADataDirectory {
        /// The directory.
        dir: PathBuf,
        /// What is missing or unexpected.
        why: String,
    },
    /// Its content is damaged, and opening it would lose acknowledged records.
    #[error("the log is damaged: {}: {why}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An operation on its files failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The storage engine does not open it.
    #[error("cannot open the log in {}: {why}", dir.display())]
    Storage {
        /// The data directory.
        dir: PathBuf,
        /// The storage engine's error.
        why: String,
    },
}

impl OpenError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}

/// A data directory, locked for this process until dropped.
pub(super) struct DataDirectory {
    dir: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Locks the directory and checks its format; creates what is missing.
    ///
    /// `create_log` fills a directory with an empty log.
    pub(super) fn open(
        dir: &Path,
        create_log: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(|e| OpenError::io("create the data directory", dir, e))?;
        let this = Self { dir: dir.to_owned(), _lock: lock(dir)? };
        this.check_format()?;
        if !this.exists(&this.log())? {
            this.create_log(create_log)?;
        }
        Ok(this)
    }

    /// The data directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The storage engine's directory.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.dir.join("format-version");
        let not_ours = |why: String| OpenError::NotADataDirectory { dir: self.dir.clone(), why };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if self.exists(&self.log())? {
                    return Err(not_ours("it has a log but no file 'format-version'".to_owned()));
                }
                return write_durably(&path, &format!("{FORMAT_VERSION}\n"));
            }
            Err(e) => return Err(OpenError::io("read", &path, e)),
        };
        match text.trim().parse::<u32>() {
            Ok(FORMAT_VERSION) => Ok(()),
            Ok(found) if found > FORMAT_VERSION => {
                Err(OpenError::Newer { dir: self.dir.clone(), found, supported: FORMAT_VERSION })
            }
            _ => Err(not_ours(format!("its file 'format-version' says '{}'", text.trim()))),
        }
    }

    /// Builds the log elsewhere and then moves it into place, so that no half-made log is ever opened.
    fn create_log(&self, create: impl FnOnce(&Path) -> Result<(), OpenError>) -> Result<(), OpenError> {
        let unfinished = self.dir.join("log.new");
        if self.exists(&unfinished)? {
            fs::remove_dir_all(&unfinished).map_err(|e| OpenError::io("remove", &unfinished, e))?;
        }
        create(&unfinished)?;
        fs::rename(&unfinished, self.log()).map_err(|e| OpenError::io("rename", &unfinished, e))?;
        sync_directory(&self.dir)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenError> {
        path.try_exists().map_err(|e| OpenError::io("read", path, e))
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| OpenError::io("open", &path, e))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(OpenError::io("lock", &path, e)),
        }
    }
}

fn write_durably(path: &Path, text: &str) -> Result<(), OpenError> {
    let io = |e| OpenError::io("write", path, e);
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&unfinished, path).map_err(io)?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(dir: &Path) -> Result<(), OpenError> {
    // Only Unix can, and needs to, sync a directory.
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| OpenError::io("sync", dir, e))?;
    }
    Ok(())
}
