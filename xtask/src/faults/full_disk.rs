//! A full disk: uploads are refused with a clear error, searches go on, and nothing acknowledged is lost.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Bench, require_allowed, require_right};
use crate::server::Launch;
use crate::shell::{capture, command, is_root, succeeds};
use crate::uploads::Uploads;

/// The server keeps 512 MiB free; so much more is there to be written. Free memory is not taken by a tmpfs.
const DISK_MIB: u32 = 512 + 12;
const GROWN_DISK_MIB: u32 = DISK_MIB + 32;
const FILLER_BYTES: usize = 4 << 10;

pub(super) fn check(bench: &Bench) -> Result<()> {
    let mount_point = bench.path().join("disk");
    fs::create_dir(&mount_point)?;
    let Some(disk) = SmallDisk::mount(&mount_point)? else {
        println!("    full disk: SKIPPED, because mounting a small tmpfs needs root here");
        return Ok(());
    };
    let launch = bench.launch.with_data(&mount_point.join("data"));
    let mut uploads = Uploads::new(&mut bench.rng());
    let server = launch.start()?;
    let base_url = server.base_url().to_owned();

    let counts = uploads.until_refused(&base_url, || Ok(()))?;
    ensure!(counts.uploads_acknowledged > 0, "no upload was acknowledged before the disk was full");
    require_allowed(&mut uploads, server.client(), "while the disk is nearly full")?;

    // With room again the running server may take writes or go on refusing them; either way it must keep its word.
    disk.grow()?;
    let with_room = uploads.once(&base_url)?;
    // Somebody else takes the last byte.
    let filler = disk.fill()?;
    let without_room = uploads.once(&base_url)?;
    ensure!(
        without_room.uploads_acknowledged == 0,
        "an upload was acknowledged on a disk without a free byte"
    );
    require_allowed(&mut uploads, server.client(), "while the disk is full")?;
    server.kill()?;
    start_on_full_disk(&launch)?;
    fs::remove_file(filler)?;

    let server = launch.start().context("the restart after a full disk")?;
    require_right(uploads.compare(server.client())?, "after the restart")?;
    let again = uploads.once(server.base_url())?;
    ensure!(
        again.refusals.is_empty(),
        "after the restart uploads are refused: {}",
        again.refusals.join("; ")
    );
    server.kill()?;
    println!("    full disk: {counts}; searches went on; with room again {with_room}");
    println!("    full disk: after a restart nothing is missing and uploads go on");
    println!("    full disk: the refusal says: {}", counts.refusals.first().map_or("", String::as_str));
    Ok(())
}

/// The server may serve what it has or end with a clear line; it must not break anything or panic.
fn start_on_full_disk(launch: &Launch) -> Result<()> {
    let mut server = launch.spawn()?;
    match server.wait_ready() {
        Ok(()) => println!("    full disk: a start on the full disk serves"),
        Err(error) => {
            ensure!(!server.log_tail().contains("panicked"), "a start on the full disk panics: {error:#}");
            println!("    full disk: a start on the full disk says: {error:#}");
        }
    }
    server.kill()
}

/// A tmpfs of a few MiB; unmounted when dropped.
struct SmallDisk {
    mount_point: PathBuf,
}

impl SmallDisk {
    /// None where this process may not mount.
    fn mount(mount_point: &Path) -> Result<Option<Self>> {
        let options = format!("size={DISK_MIB}m");
        let mut mount = command("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(mount_point);
        if !is_root() || !succeeds(&mut mount) {
            return Ok(None);
        }
        Ok(Some(Self { mount_point: mount_point.to_path_buf() }))
    }

    fn grow(&self) -> Result<()> {
        let options = format!("remount,size={GROWN_DISK_MIB}m");
        capture(command("mount").args(["-o", &options]).arg(&self.mount_point)).map(drop)
    }

    /// Writes a file that takes all the room there is; returns its path.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.mount_point.join("filler");
        let mut filler = File::create(&path)?;
        let page = [0xA5; FILLER_BYTES];
        loop {
            match filler.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(path),
                Err(error) => return Err(error).context("cannot fill the small disk"),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that still runs after a failed check must not keep the mount.
        if !succeeds(command("umount").arg("-l").arg(&self.mount_point)) {
            eprintln!("xtask: cannot unmount {}", self.mount_point.display());
        }
    }
}
