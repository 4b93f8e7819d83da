//! Every acknowledgement comes after an fsync that began when all its bytes were written.
//!
//! The server runs under strace with several clients. In the trace, the upload's text is found in the request, in a
//! write to a file, and the answer on the request's connection: between the end of that write and the beginning of
//! the answer a whole fsync of that file must lie. From the same trace follows how long the journal was when that
//! fsync began; `cut_journal` starts servers on journals cut there.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use super::strace::{self, Call};
use super::{Bench, cut_journal};
use crate::http::Client;
use crate::points::{self, Change};

const CLIENTS: i64 = 4;
const UPLOADS_PER_CLIENT: i64 = 60;
const ITEMS_PER_UPLOAD_MAX: usize = 6;
const KEYS_PER_CLIENT: i64 = 100;

/// An upload that was answered with 200.
#[derive(Debug, PartialEq)]
pub(super) struct Acknowledged {
    pub(super) changes: Vec<Change>,
    /// How many bytes of the journal were synced before the answer began.
    pub(super) journal_bytes: u64,
}

/// What a traced run shows.
#[derive(Debug)]
pub(super) struct TracedRun {
    /// The one file that the uploads were written to.
    pub(super) journal: String,
    /// In the order of their answers.
    pub(super) acknowledged: Vec<Acknowledged>,
    /// How many bytes were written to the journal in the end.
    pub(super) journal_bytes: u64,
    syncs: usize,
}

pub(super) fn check(bench: &Bench) -> Result<()> {
    strace::ensure()?;
    let trace = bench.path().join("trace");
    let server = bench.launch.through(strace::wrapper(&trace)).start()?;
    let base_url = server.base_url().to_owned();
    std::thread::scope(|scope| {
        let base_url = &base_url;
        let threads: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || upload(base_url, number))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a client panicked"),
        })
    })?;
    server.kill()?;
    let run = TracedRun::read(&strace::read(&trace)?)?;
    let expected = (CLIENTS * UPLOADS_PER_CLIENT) as usize;
    ensure!(
        run.acknowledged.len() == expected,
        "{} of {expected} uploads are in the trace",
        run.acknowledged.len()
    );
    println!(
        "    fsync: each of {} acknowledgements came after an fsync that began after its bytes were written ({} fsyncs)",
        run.acknowledged.len(),
        run.syncs
    );
    cut_journal::check(bench, &run).context("journal cut after the last fsync")
}

/// The first item of every upload is an upsert: a deletion leaves no text in the journal to be found by.
fn upload(base_url: &str, number: i64) -> Result<()> {
    let client = Client::new(base_url);
    let mut rng = Rng::with_seed(number as u64);
    let keys = number * KEYS_PER_CLIENT..(number + 1) * KEYS_PER_CLIENT;
    for version in 1..=UPLOADS_PER_CLIENT {
        let count = rng.usize(1..=ITEMS_PER_UPLOAD_MAX);
        let chosen = rng.choose_multiple(keys.clone(), count);
        let items = chosen.iter().enumerate().map(|(place, &key)| {
            if place > 0 && rng.u32(..4) == 0 { points::delete(key) } else { points::upsert(key, version) }
        });
        let answer = points::upload(&client, items.collect())?;
        ensure!(answer.status == 200, "an upload answers {}: {}", answer.status, answer.body);
    }
    Ok(())
}

impl TracedRun {
    #[cfg(test)]
    pub(super) fn of(acknowledged: Vec<Acknowledged>) -> Self {
        Self { journal: String::new(), acknowledged, journal_bytes: 0, syncs: 0 }
    }

    /// Fails at the first acknowledgement whose bytes were not synced.
    pub(super) fn read(calls: &[Call]) -> Result<Self> {
        let mut files = Files::default();
        let mut requests: HashMap<&str, String> = HashMap::new();
        let mut answers = vec![];
        for call in calls {
            let is_connection = call.file.starts_with("TCP");
            match call.name.as_str() {
                "read" | "readv" | "recvfrom" | "recvmsg" if is_connection => {
                    requests.entry(&call.file).or_default().push_str(&call.text);
                }
                "write" | "writev" | "sendto" | "sendmsg" if is_connection => {
                    let request = requests.remove(call.file.as_str()).unwrap_or_default();
                    if call.text.contains("HTTP/1.1 200") && request.contains("POST /api/v1/upload/") {
                        answers.push((call.begin, points::changes_in(&request)));
                    }
                }
                "write" | "writev" | "pwrite64" => files.written(call),
                "fsync" | "fdatasync" => files.synced(call),
                _ => {}
            }
        }
        files.into_run(answers)
    }
}

/// What happened to each file, in the order of the trace.
#[derive(Default)]
struct Files<'a> {
    writes: HashMap<&'a str, Vec<Write>>,
    syncs: HashMap<&'a str, Vec<Sync>>,
    /// Where each upserted point was written first.
    places: HashMap<Change, (&'a str, usize)>,
}

struct Write {
    end: usize,
    bytes: u64,
}

struct Sync {
    begin: usize,
    end: usize,
}

impl<'a> Files<'a> {
    fn written(&mut self, call: &'a Call) {
        let (Some(end), Some(bytes)) = (call.end, call.result.and_then(|bytes| u64::try_from(bytes).ok()))
        else {
            return;
        };
        self.writes.entry(&call.file).or_default().push(Write { end, bytes });
        for change in points::changes_in(&call.text) {
            self.places.entry(change).or_insert((&call.file, end));
        }
    }

    fn synced(&mut self, call: &'a Call) {
        if let (Some(end), Some(0)) = (call.end, call.result) {
            self.syncs.entry(&call.file).or_default().push(Sync { begin: call.begin, end });
        }
    }

    fn into_run(self, answers: Vec<(usize, Vec<Change>)>) -> Result<TracedRun> {
        let mut journals: Vec<_> = self.places.values().map(|(file, _)| *file).collect();
        journals.sort_unstable();
        journals.dedup();
        let [journal] = journals[..] else {
            bail!("the uploads were written to {} files, not to one journal: {journals:?}", journals.len());
        };
        let (writes, syncs) = (&self.writes[journal], self.syncs.get(journal).map_or(&[][..], Vec::as_slice));
        let acknowledged = answers
            .into_iter()
            .map(|(answer, changes)| {
                self.require_synced(answer, &changes, syncs)?;
                Ok(Acknowledged { changes, journal_bytes: synced_bytes(answer, writes, syncs) })
            })
            .collect::<Result<_>>()?;
        Ok(TracedRun {
            journal: journal.to_owned(),
            acknowledged,
            journal_bytes: writes.iter().map(|write| write.bytes).sum(),
            syncs: syncs.len(),
        })
    }

    fn require_synced(&self, answer: usize, changes: &[Change], syncs: &[Sync]) -> Result<()> {
        for change in changes.iter().filter(|change| change.is_upsert()) {
            let Some((_, written)) = self.places.get(change) else {
                bail!("{change:?} was acknowledged (trace line {answer}) and never written to a file");
            };
            if !syncs.iter().any(|sync| sync.begin > *written && sync.end < answer) {
                bail!(
                    "{change:?} was written at trace line {written} and acknowledged at line {answer} \
                     without an fsync in between"
                );
            }
        }
        Ok(())
    }
}

/// The bytes written before the beginning of the last fsync that ended before the answer.
fn synced_bytes(answer: usize, writes: &[Write], syncs: &[Sync]) -> u64 {
    let last = syncs.iter().filter(|sync| sync.end < answer).map(|sync| sync.begin).max();
    let is_covered = |write: &&Write| last.is_some_and(|begin| write.end < begin);
    writes.iter().filter(is_covered).map(|write| write.bytes).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const REQUEST: &str = r#"7 recvfrom(9<TCP:[a->b]>, "POST /api/v1/upload/S/1 ... <point 5 version 2> <point 6 version 0>") = 90"#;
    const WRITE: &str = r#"8 write(5</d/0.jnl>, "..<point 5 version 2>..", 70) = 70"#;
    const SYNC: &str = "8 fsync(5</d/0.jnl>) = 0";
    const FAILED_SYNC: &str = "8 fsync(5</d/0.jnl>) = -1 EIO (Input/output error)";
    const OTHER_SYNC: &str = "8 fsync(6</d/1.sst>) = 0";
    const ANSWER: &str = r#"7 writev(9<TCP:[a->b]>, [{iov_base="HTTP/1.1 200 OK\r\n", iov_len=17}], 1) = 17"#;

    fn run(lines: &[&str]) -> Result<TracedRun> {
        TracedRun::read(&strace::parse(&lines.join("\n")).unwrap())
    }

    #[test]
    fn a_synced_upload_is_accepted() {
        let run = run(&[REQUEST, WRITE, SYNC, WRITE, ANSWER]).unwrap();
        let changes = vec![Change { key: 5, version: Some(2) }, Change { key: 6, version: None }];
        assert_eq!(run.acknowledged, [Acknowledged { changes, journal_bytes: 70 }]);
        assert_eq!((run.journal.as_str(), run.journal_bytes), ("/d/0.jnl", 140));
    }

    #[test]
    fn an_upload_that_is_not_synced_is_found_out() {
        for sync_at in [&[REQUEST, SYNC, WRITE, ANSWER][..], &[REQUEST, WRITE, ANSWER, SYNC]] {
            assert!(run(sync_at).unwrap_err().to_string().contains("without an fsync"));
        }
        for sync in [FAILED_SYNC, OTHER_SYNC] {
            assert!(
                run(&[REQUEST, WRITE, sync, ANSWER]).unwrap_err().to_string().contains("without an fsync")
            );
        }
    }

    #[test]
    fn an_fsync_that_began_before_the_write_ended_does_not_count() {
        let [begin, end] = ["8 fsync(5</d/0.jnl> <unfinished ...>", "8 <... fsync resumed>) = 0"];
        let write = WRITE.replace("8 write", "6 write");
        assert!(run(&[REQUEST, begin, &write, end, ANSWER]).is_err());
        assert!(run(&[REQUEST, &write, begin, end, ANSWER]).is_ok());
        assert!(run(&[REQUEST, &write, begin, ANSWER, end]).is_err());
    }
}
