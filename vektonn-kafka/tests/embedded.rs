//! What is special to the embedded data source: its directory, and what survives a crash.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use vektonn_core::Position;
use vektonn_kafka::{
    AppendFailure, DataSource, EmbeddedDataSource, EmbeddedOptions, OpenError, RecordOutcome, ResetReason,
};

fn open(dir: &Path) -> EmbeddedDataSource {
    EmbeddedDataSource::open(dir, EmbeddedOptions::default()).unwrap()
}

fn open_error(dir: &Path) -> OpenError {
    match EmbeddedDataSource::open(dir, EmbeddedOptions::default()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path());
    let error = open_error(dir.path());
    assert!(matches!(&error, OpenError::InUse { dir: found } if found == dir.path()), "{error}");
    assert_eq!(
        error.to_string(),
        format!("the data directory {} is in use by another process", dir.path().display())
    );
    drop(source);
    open(dir.path());
}

#[test]
fn a_directory_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("format-version"), "7\n").unwrap();
    let error = open_error(dir.path());
    assert!(matches!(error, OpenError::Newer { found: 7, supported: 1, .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    fs::write(dir.path().join("format-version"), "1\n").unwrap();
    open(dir.path());
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    assert!(matches!(open_error(dir.path()), OpenError::NotADataDirectory { .. }));
    fs::write(dir.path().join("format-version"), "hello").unwrap();
    let error = open_error(dir.path());
    assert!(error.to_string().contains("'format-version' says 'hello'"), "{error}");
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("log.new/keyspaces")).unwrap();
    fs::write(dir.path().join("log.new/0.jnl"), "").unwrap();
    fs::write(dir.path().join("format-version"), "1\n").unwrap();
    let source = open(dir.path());
    append(&source, vec![record(&topic("T", 0), "1", "x")]);
    assert!(!dir.path().join("log.new").exists());
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open_error(&file.path().join("data"));
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_full_queue_refuses_appends() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { queued_bytes_max: 10_000, ..EmbeddedOptions::default() };
    let source = EmbeddedDataSource::open(dir.path(), options).unwrap();
    let a = topic("T", 0);
    // Many at once, faster than any disk syncs.
    let appends: Vec<_> =
        (0..200).map(|i| source.append(vec![record(&a, &i.to_string(), &"x".repeat(5_000))])).collect();
    let results: Vec<_> = appends.into_iter().map(block_on).collect();
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(!refused.is_empty());
    for error in &refused {
        assert!(matches!(error.failure, AppendFailure::TooBusy { queued_bytes_max: 10_000, .. }), "{error}");
        assert_eq!(error.outcomes, [RecordOutcome::Failed]);
    }
    let written = results.len() - refused.len();
    assert_eq!(Reader::of_all(&source, select("T", None)).texts(&a).len(), written);
    // One append alone may be larger than the queue.
    append(&source, vec![record(&a, "large", &"x".repeat(100_000))]);
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { free_bytes_min: u64::MAX, ..EmbeddedOptions::default() };
    let source = EmbeddedDataSource::open(dir.path(), options).unwrap();
    let error = try_append(&source, vec![record(&topic("T", 0), "1", "x")]).unwrap_err();
    assert!(matches!(error.failure, AppendFailure::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    assert_eq!(error.outcomes, [RecordOutcome::Failed]);
    assert!(high_watermarks(&source, &select("T", None)).is_empty());
    assert!(matches!(source.write_failure(), Some(AppendFailure::DiskFull { .. })), "it is told beforehand");
    drop(source);
    let source = open(dir.path());
    assert_eq!(source.write_failure(), None);
    append(&source, vec![record(&topic("T", 0), "1", "x")]);
}

#[test]
fn a_key_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path());
    let a = topic("T", 0);
    let records = vec![record(&a, "1", "x"), record(&a, &"k".repeat(65_001), "x")];
    let error = try_append(&source, records).unwrap_err();
    assert_eq!(error.failure, AppendFailure::KeyTooLong { record: 1, bytes: 65_001, bytes_max: 65_000 });
    assert_eq!(error.outcomes, [RecordOutcome::Failed; 2]);
    append(&source, vec![record(&a, &"k".repeat(65_000), "x")]);
    assert_eq!(Reader::of_all(&source, select("T", None)).texts(&a).len(), 1);
}

#[test]
fn a_large_append_becomes_several_batches() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { batch_bytes_max: 10_000, ..EmbeddedOptions::default() };
    let source = EmbeddedDataSource::open(dir.path(), options).unwrap();
    let a = topic("T", 0);
    // Keys repeat within batches and across them.
    let position =
        append(&source, (0..1_000).map(|i| record(&a, &(i % 300).to_string(), &i.to_string())).collect());
    assert_eq!(position.get(&a).unwrap().next_offset, 1_000);
    let reader = Reader::of_all(&source, select("T", None));
    let expected = (700..1_000).map(|i| ((i % 300).to_string(), i.to_string()));
    assert_eq!(reader.texts(&a), expected.collect::<Vec<_>>());
}

#[test]
fn tombstones_are_swept_by_themselves_and_a_slow_tail_notices() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        EmbeddedOptions { tombstone_retention: Duration::from_millis(200), ..EmbeddedOptions::default() };
    let source = EmbeddedDataSource::open(dir.path(), options).unwrap();
    let a = topic("T", 0);
    append(&source, vec![record(&a, "1", "x"), record(&a, "2", "y")]);
    let mut slow = Reader::of_all(&source, select("T", None));
    let mut fast = Reader::of_all(&source, select("T", None));
    let position = append(&source, vec![tombstone(&a, "1")]);
    fast.read_until(&position);
    assert_eq!(fast.line(&a), "1=x 2=y 1=-");

    eventually("the tombstone is swept", || Reader::of_all(&source, select("T", None)).line(&a) == "2=y");
    slow.read_until_quiet();
    let why = ResetReason::TombstonesSwept { next_offset: 2, swept_below: 3 };
    assert_eq!((&slow.resets[..], slow.line(&a).as_str()), (&[(a.clone(), why)][..], "2=y"));
    fast.read_until_quiet();
    assert_eq!(fast.resets, []);
}

#[test]
fn a_sweep_does_not_disturb_who_reads_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        EmbeddedOptions { tombstone_retention: Duration::from_millis(500), ..EmbeddedOptions::default() };
    let source = EmbeddedDataSource::open(dir.path(), options).unwrap();
    let a = topic("T", 0);
    append(&source, (0..30_000).map(|i| record(&a, &i.to_string(), "x")).collect());
    let position = append(&source, (20_000..21_000).map(|i| tombstone(&a, &i.to_string())).collect());
    let mut reader = Reader::new(&source, select("T", None), Position::new());
    while reader.offsets(&a).is_empty() {
        reader.next(Duration::from_secs(1));
    }
    let swept = || Reader::of_all(&source, select("T", None)).offsets(&a).len() == 29_000;
    eventually("the tombstones are swept", swept);
    assert!(reader.offsets(&a).len() < 20_000, "it is still before them");
    reader.read_until(&position);
    assert_eq!((reader.resets.len(), reader.offsets(&a).len()), (0, 29_000));
}

/// The journal being written.
fn journal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

/// The journal without the zeros at its end.
fn written_len(journal: &Path) -> usize {
    fs::read(journal).unwrap().iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// A data directory with one acknowledged append of three records, and a second one of four that was under
/// way: what of its journal reached the disk is up to the test.
struct Torn {
    dir: tempfile::TempDir,
    acknowledged_len: usize,
    written_len: usize,
}

impl Torn {
    fn new() -> Self {
        let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = open(dir.path());
        let a = topic("T", 0);
        append(&source, (0..3).map(|i| record(&a, &i.to_string(), &"acknowledged".repeat(500))).collect());
        let acknowledged_len = written_len(&journal(dir.path()));
        append(&source, (2..6).map(|i| record(&a, &i.to_string(), &"under way".repeat(700))).collect());
        copy(dir.path(), copied.path());
        let written_len = written_len(&journal(copied.path()));
        assert!(written_len > acknowledged_len + 4 * 9 * 700);
        Self { dir: copied, acknowledged_len, written_len }
    }

    /// Opens a copy whose journal was changed; the number of records of the first and the second append.
    fn reopen(&self, change: impl FnOnce(&mut Vec<u8>)) -> (usize, usize) {
        let copied = tempfile::tempdir().unwrap();
        copy(self.dir.path(), copied.path());
        let journal = journal(copied.path());
        let mut bytes = fs::read(&journal).unwrap();
        change(&mut bytes);
        fs::write(&journal, bytes).unwrap();

        let source = open(copied.path());
        let a = topic("T", 0);
        let count = |source: &EmbeddedDataSource| {
            let texts = Reader::of_all(source, select("T", None)).texts(&a);
            let first = texts.iter().filter(|(_, value)| value.starts_with("ack")).count();
            (first, texts.len() - first)
        };
        let counted = count(&source);
        // It can be written to, and opened once more.
        append(&source, vec![record(&a, "new", "acknowledged")]);
        drop(source);
        assert_eq!(count(&open(copied.path())), (counted.0 + 1, counted.1));
        counted
    }
}

#[test]
fn a_journal_cut_anywhere_after_an_acknowledgement_loses_nothing_acknowledged() {
    let torn = Torn::new();
    assert_eq!(torn.reopen(|_| {}), (2, 4));
    assert_eq!(torn.reopen(|bytes| bytes.truncate(torn.written_len)), (2, 4));
    assert_eq!(torn.reopen(|bytes| bytes.truncate(torn.acknowledged_len)), (3, 0));
    let unsynced = torn.written_len - torn.acknowledged_len;
    let cuts = (0..24).map(|i| unsynced * i / 24).chain([
        1,
        2,
        12,
        13,
        14,
        unsynced - 1,
        unsynced - 12,
        unsynced - 13,
    ]);
    for cut in cuts {
        let cut = torn.acknowledged_len + cut;
        assert_eq!(torn.reopen(|bytes| bytes.truncate(cut)), (3, 0), "cut at {cut}");
        assert_eq!(torn.reopen(|bytes| bytes[cut..].fill(0)), (3, 0), "zeros from {cut}");
    }
}

#[test]
fn missing_pages_after_an_acknowledgement_lose_nothing_acknowledged() {
    let torn = Torn::new();
    // A page that the acknowledged part shares was written with it, and only its new part can be missing.
    let first_page = torn.acknowledged_len / 4096;
    for page in first_page..=torn.written_len / 4096 {
        let missing = (page * 4096).max(torn.acknowledged_len)..((page + 1) * 4096).min(torn.written_len);
        assert_eq!(torn.reopen(|bytes| bytes[missing].fill(0)), (3, 0), "without page {page}");
    }
}

#[test]
fn damage_to_acknowledged_records_is_told() {
    let torn = Torn::new();
    let path = journal(torn.dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[torn.acknowledged_len / 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open_error(torn.dir.path());
    assert!(matches!(&error, OpenError::Damaged { path: found, .. } if *found == path), "{error}");
}

/// Runs one of the ignored tests below in a process of its own, with a data directory as its argument.
fn child(test: &str, dir: &Path, shell: &str) -> Child {
    Command::new("sh")
        .args([
            "-c",
            &format!("{shell} exec \"$0\" \"$@\""),
            std::env::current_exe().unwrap().to_str().unwrap(),
        ])
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("VEKTONN_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn child_dir() -> PathBuf {
    std::env::var_os("VEKTONN_TEST_DIR").expect("only to be run by another test").into()
}

/// Appends for ever, and prints each number when it is acknowledged.
#[test]
#[ignore = "run by a_killed_process_loses_nothing_acknowledged"]
fn child_appends() {
    let source = open(&child_dir());
    let value_bytes: usize = std::env::var("VEKTONN_TEST_VALUE_BYTES").unwrap().parse().unwrap();
    let value = "x".repeat(value_bytes);
    let (a, b) = (topic("T", 0), topic("T", 1));
    let next = high_watermarks(&source, &select("T", None)).get(&a).map_or(0, |at| at.next_offset);
    for number in next.. {
        let text = number.to_string();
        let old = number.saturating_sub(50).to_string();
        append(&source, vec![record(&a, &text, &value), record(&b, "last", &text), tombstone(&b, &old)]);
        println!("\nacknowledged {number}");
    }
}

#[cfg(unix)]
#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (topic("T", 0), topic("T", 1));
    let mut acknowledged = 0;
    for round in 0..8 {
        // Large values for flushes and new journals, small ones for many batches.
        let value_bytes = if round % 2 == 0 { 1_000 } else { 300_000 };
        let mut child =
            child("child_appends", dir.path(), &format!("export VEKTONN_TEST_VALUE_BYTES={value_bytes};"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let numbers = lines.filter_map(|line| {
            line.unwrap().strip_prefix("acknowledged ").map(|n| n.parse::<u64>().unwrap())
        });
        let killer = std::thread::spawn(move || {
            // The first rounds kill it while it opens or creates its directory.
            std::thread::sleep(Duration::from_millis([5, 20, 60, 150, 300, 400, 500, 600][round]));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        acknowledged = numbers.last().unwrap_or(acknowledged);
        killer.join().unwrap();

        let source = open(dir.path());
        let reader = Reader::of_all(&source, select("T", None));
        let count = reader.texts(&a).len() as u64;
        assert!(
            acknowledged == 0 || count > acknowledged,
            "{count} records, {acknowledged} was acknowledged"
        );
        assert_eq!(reader.offsets(&a), (0..count).collect::<Vec<_>>());
        let last = reader.texts(&b).into_iter().find(|(key, _)| key == "last");
        assert_eq!(
            last.map(|(_, value)| value),
            count.checked_sub(1).map(|last| last.to_string()),
            "whole appends"
        );
    }
    assert!(acknowledged > 10, "only {acknowledged} were acknowledged");
}

/// Appends until the system refuses to let a file grow.
#[test]
#[ignore = "run by a_failed_write_stops_writes_but_not_reads"]
fn child_runs_into_a_limit() {
    let source = open(&child_dir());
    let a = topic("T", 0);
    let mut written = 1;
    let error = loop {
        match try_append(&source, vec![record(&a, &written.to_string(), &"x".repeat(20_000))]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("\nfirst error: {error}");
    assert!(matches!(error.failure, AppendFailure::WritesStopped { .. }));
    assert_eq!(error.outcomes, [RecordOutcome::Unknown]);
    let again = try_append(&source, vec![record(&a, "again", "x")]).unwrap_err();
    assert_eq!((&again.failure, again.outcomes), (&error.failure, vec![RecordOutcome::Failed]));
    assert_eq!(source.write_failure(), Some(error.failure));
    // Reading goes on.
    assert_eq!(Reader::of_all(&source, select("T", None)).texts(&a).len(), written);
    println!("\nacknowledged {written}");
}

#[cfg(unix)]
#[test]
fn a_failed_write_stops_writes_but_not_reads() {
    let dir = tempfile::tempdir().unwrap();
    let a = topic("T", 0);
    append(&open(dir.path()), vec![record(&a, "0", "x")]);
    // Opening again ends the space allocated ahead, so that the journal has to grow.
    drop(open(dir.path()));
    let limit = "trap '' XFSZ; ulimit -f 1000;";
    let output = child("child_runs_into_a_limit", dir.path(), limit).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("test result: ok. 1 passed"), "{output}");
    assert!(output.contains("writes are stopped since a write failed"), "{output}");
    let acknowledged = output.lines().find_map(|line| line.strip_prefix("acknowledged ")).unwrap();

    let source = open(dir.path());
    let found = Reader::of_all(&source, select("T", None)).texts(&a).len();
    assert!(found >= acknowledged.parse().unwrap(), "{found} of {acknowledged}");
    append(&source, vec![record(&a, "after a restart", "x")]);
}

#[test]
fn tails_of_a_dropped_data_source_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path());
    let a = topic("T", 0);
    let position = append(&source, vec![record(&a, "1", "x")]);
    let mut reader = Reader::new(&source, select("T", None), Position::new());
    drop(source);
    reader.read_until(&position);
    assert_eq!(reader.line(&a), "1=x");
    drop(reader);
    open(dir.path());
}
