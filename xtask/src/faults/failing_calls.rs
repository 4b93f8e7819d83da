//! An fsync or a journal write that fails: nothing that rests on it is acknowledged, searches go on, and nothing
//! acknowledged is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::strace::{self, FailingCalls};
use super::{Bench, require_allowed, require_right};
use crate::server::Server;
use crate::uploads::Uploads;

/// Uploads go well for so long before the calls begin to fail.
const GOOD_TIME: Duration = Duration::from_millis(500);
/// A batch takes several writes: failing from each of these on, the journal ends at different places of one.
const FIRST_FAILING_WRITES: [u32; 3] = [1, 2, 3];

/// Every fsync fails from some moment on.
pub(super) fn check_fsync(bench: &Bench) -> Result<()> {
    check(bench, "failing fsync", |server| {
        FailingCalls::attach(server.id(), "fsync,fdatasync:error=EIO", &[])
    })
}

/// Every write to the data directory's files fails from some write on, as on a disk that is suddenly full.
pub(super) fn check_write(bench: &Bench) -> Result<()> {
    for first in FIRST_FAILING_WRITES {
        let calls = format!("write,writev,pwrite64:error=ENOSPC:when={first}+");
        check(bench, &format!("failing write {first}"), |server| {
            FailingCalls::attach(server.id(), &calls, &open_files(server.id(), &bench.data())?)
        })?;
        fs::remove_dir_all(bench.data())?;
    }
    Ok(())
}

fn check(bench: &Bench, name: &str, attach: impl FnOnce(&Server) -> Result<FailingCalls>) -> Result<()> {
    strace::ensure()?;
    let mut uploads = Uploads::new(&mut bench.rng());
    let server = bench.launch.start()?;
    let mut failing = None;
    let counts = uploads.until_refused(server.base_url(), || {
        std::thread::sleep(GOOD_TIME);
        failing = Some(attach(&server)?);
        Ok(())
    })?;
    ensure!(counts.uploads_acknowledged > 0, "no upload was acknowledged before the fault");
    require_allowed(&mut uploads, server.client(), "while writes are refused")?;

    // Bytes that did not reach the disk once may be missing although the next call succeeds: writes must not begin
    // again where they stopped.
    if let Some(failing) = failing {
        failing.detach()?;
    }
    let after = uploads.once(server.base_url())?;
    ensure!(after.uploads_acknowledged == 0, "an upload was acknowledged after a write had failed");
    require_allowed(&mut uploads, server.client(), "after the fault has gone")?;
    server.kill()?;

    let server = bench.launch.start().context("the restart after the fault")?;
    require_right(uploads.compare(server.client())?, "after the restart")?;
    let again = uploads.once(server.base_url())?;
    ensure!(
        again.refusals.is_empty(),
        "after the restart uploads are refused: {}",
        again.refusals.join("; ")
    );
    server.kill()?;
    println!("    {name}: {counts}; searches went on; after a restart nothing is missing and uploads go on");
    println!("    {name}: the refusal says: {}", counts.refusals.first().map_or("", String::as_str));
    Ok(())
}

/// The files under `data` that the process has open.
fn open_files(process_id: u32, data: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for descriptor in fs::read_dir(format!("/proc/{process_id}/fd")).context("the server's open files")? {
        // A file may be closed in the meantime.
        if let Ok(file) = fs::read_link(descriptor?.path())
            && file.starts_with(data)
        {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "the server has no file of its data directory open");
    Ok(files)
}
