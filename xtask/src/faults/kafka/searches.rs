//! Searches beside faults: each must be right, or refused with a message.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::http::Client;
use crate::points::{self, INDICES};

const KEYS: i64 = 1_600;
/// Steps through all keys, for it has no divisor in common with their number.
const STEP: i64 = 37;

/// What became of the searches.
#[derive(Default)]
pub(super) struct Searches {
    pub(super) right: u64,
    /// The messages of those that were refused.
    pub(super) refusals: Vec<String>,
}

impl fmt::Display for Searches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} searches right, {} refused", self.right, self.refusals.len())
    }
}

/// Searches in a thread of its own while `meanwhile` goes on. A connection may break only if the API `may_break`.
pub(super) fn during<T>(
    base_url: &str,
    may_break: bool,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<(T, Searches)> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searching = scope.spawn(|| search_until(base_url, may_break, &is_over));
        let outcome = meanwhile();
        is_over.store(true, Ordering::SeqCst);
        let Ok(searches) = searching.join() else { bail!("the searching thread panicked") };
        Ok((outcome?, searches.context("searching meanwhile")?))
    })
}

fn search_until(base_url: &str, may_break: bool, is_over: &AtomicBool) -> Result<Searches> {
    let client = Client::new(base_url);
    let mut searches = Searches::default();
    let mut key = 0;
    while !is_over.load(Ordering::SeqCst) {
        key = (key + STEP) % KEYS;
        let index = INDICES[key as usize % INDICES.len()];
        match points::search_near(&client, index, "1.0", key) {
            Ok(answer) if answer.status == 200 => {
                points::check_near(&answer, key).with_context(|| format!("a search in {index}"))?;
                searches.right += 1;
            }
            Ok(answer) => {
                ensure!(
                    [503, 504].contains(&answer.status),
                    "a search in {index} answers {}: {}",
                    answer.status,
                    answer.body
                );
                searches.refusals.push(format!("{} {}", answer.status, answer.error_messages()?));
            }
            Err(error) if may_break && error.is::<ureq::Error>() => {}
            Err(error) => return Err(error.context(format!("a search in {index}"))),
        }
    }
    Ok(searches)
}
