//! Concurrent uploads whose outcome is remembered per key, and the comparison with what a server holds later.
//!
//! Several uploaders send upserts, updates and deletions, each for keys of its own. Each remembers per key what the
//! server acknowledged and what was on its way: exactly these states are right after a crash or a fault.

mod key;
mod uploader;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::http::Client;
pub(crate) use uploader::Counts;
use uploader::Uploader;
pub(crate) use verify::Findings;

const UPLOADERS: i64 = 4;
const KEYS_PER_UPLOADER: i64 = 400;

/// All uploaders of a check.
pub(crate) struct Uploads {
    uploaders: Vec<Uploader>,
}

impl Uploads {
    /// Uploaders that have sent nothing yet.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let keys = |number| number * KEYS_PER_UPLOADER..(number + 1) * KEYS_PER_UPLOADER;
        Self { uploaders: (0..UPLOADERS).map(|number| Uploader::new(keys(number), rng.fork())).collect() }
    }

    /// Uploads from several threads, calls `kill` after `pause`, and ends when the server has broken off the
    /// connections, which it may do only once `kill` has begun.
    pub(crate) fn until_killed(
        &mut self,
        base_url: &str,
        pause: Duration,
        kill: impl FnOnce() -> Result<()>,
    ) -> Result<Counts> {
        let is_killed = AtomicBool::new(false);
        self.in_parallel(
            |uploader| uploader.until_killed(base_url, &is_killed),
            || {
                std::thread::sleep(pause);
                is_killed.store(true, Ordering::SeqCst);
                kill()
            },
        )
    }

    /// Uploads from several threads until each has been refused with a 5xx; the refusals' messages come along.
    pub(crate) fn until_refused(
        &mut self,
        base_url: &str,
        refuse: impl FnOnce() -> Result<()>,
    ) -> Result<Counts> {
        self.in_parallel(|uploader| uploader.until_refused(base_url), refuse)
    }

    /// Uploads from several threads until `meanwhile` has ended. Uploads may be refused with a 5xx and, if the server
    /// `may_break`, cut off; then they are followed by others.
    pub(crate) fn during(
        &mut self,
        base_url: &str,
        may_break: bool,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Counts> {
        let is_over = AtomicBool::new(false);
        self.in_parallel(
            |uploader| uploader.until_over(base_url, may_break, &is_over),
            || {
                let outcome = meanwhile();
                is_over.store(true, Ordering::SeqCst);
                outcome
            },
        )
    }

    /// One more upload per uploader, whatever the answer.
    pub(crate) fn once(&mut self, base_url: &str) -> Result<Counts> {
        self.in_parallel(|uploader| uploader.once(&Client::new(base_url)), || Ok(()))
    }

    /// After a restart: compares every key in every index, and takes what is there as the truth from now on.
    pub(crate) fn compare(&mut self, client: &Client) -> Result<Findings> {
        verify::compare(client, &mut self.uploaders, |history, observed| history.observe(observed))
    }

    /// Waits until every index has applied what was acknowledged: indices follow their log, they are not the log.
    pub(crate) fn await_applied(&self, client: &Client) -> Result<()> {
        self.uploaders.iter().try_for_each(|uploader| uploader.await_applied(client))
    }

    /// Without a restart: compares, and goes on allowing what was not acknowledged.
    pub(crate) fn allows(&mut self, client: &Client) -> Result<Findings> {
        verify::compare(client, &mut self.uploaders, |_, _| {})
    }

    fn in_parallel(
        &mut self,
        upload: impl Fn(&mut Uploader) -> Result<Counts> + Sync,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Counts> {
        std::thread::scope(|scope| {
            let upload = &upload;
            let threads: Vec<_> =
                self.uploaders.iter_mut().map(|uploader| scope.spawn(move || upload(uploader))).collect();
            meanwhile()?;
            let mut counts = Counts::default();
            for thread in threads {
                match thread.join() {
                    Ok(more) => counts += more?,
                    Err(_) => bail!("an uploader panicked"),
                }
            }
            Ok(counts)
        })
    }
}
