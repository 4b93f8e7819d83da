//! Which processes belong to a cluster, written down so that a later `down` stops exactly them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::shell::{capture, command, signal};

const FILE_NAME: &str = "cluster.json";
const END_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A cluster's brokers as they were started last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) first_port: u16,
    pub(super) processes: Vec<Process>,
}

/// A broker's process. The operating system may have given its id to another program since.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) broker_id: u16,
    pub(super) pid: u32,
    /// The file in its command line, by which it is recognised.
    pub(super) properties: PathBuf,
}

impl Record {
    /// What is recorded in this directory; none if no cluster was started there.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let record = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a record of brokers", path.display()))?;
        Ok(Some(record))
    }

    /// Adds a process, replacing the broker's earlier one, and writes the record.
    pub(super) fn add(&mut self, process: Process, dir: &Path) -> Result<()> {
        self.processes.retain(|other| other.broker_id != process.broker_id);
        self.processes.push(process);
        let path = dir.join(FILE_NAME);
        // Renamed into place: a reader never sees half of it.
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The processes that still are what they were.
    pub(super) fn running(&self) -> Vec<&Process> {
        self.processes.iter().filter(|process| process.is_running()).collect()
    }

    /// `kill -9` of all that still run; their data is not needed any more, so they need not tidy up.
    pub(super) fn stop(&self) -> Result<()> {
        for process in self.running() {
            let killed = signal(process.pid, "KILL");
            ensure!(
                killed.is_ok() || !process.is_running(),
                "cannot kill broker {} (pid {})",
                process.broker_id,
                process.pid
            );
        }
        let deadline = Instant::now() + END_TIMEOUT;
        while let Some(process) = self.processes.iter().find(|process| !process.has_ended()) {
            let Process { broker_id, pid, .. } = process;
            let seconds = END_TIMEOUT.as_secs();
            ensure!(
                Instant::now() < deadline,
                "broker {broker_id} (pid {pid}) still runs {seconds} s after kill -9"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Process {
    /// Whether the process with this id is this broker: its configuration file is one of the arguments.
    fn is_running(&self) -> bool {
        let properties = self.properties.to_string_lossy();
        match self.command_line() {
            Ok(line) => line.split(|&byte| byte == 0).any(|argument| argument == properties.as_bytes()),
            Err(_) if Path::new("/proc/self/cmdline").exists() => false,
            // Systems without /proc.
            Err(_) => capture(command("ps").args(["-ww", "-o", "command=", "-p", &self.pid.to_string()]))
                .is_ok_and(|line| line.contains(properties.as_ref())),
        }
    }

    /// Whether the process is gone and its ports with it.
    ///
    /// A dying process loses its command line first and its sockets later. When they are closed, what is left of it is at
    /// most one thread that waits to be reaped, for ever where the container's first process does not do that.
    fn has_ended(&self) -> bool {
        if self.is_running() {
            return false;
        }
        let is_dying = self.command_line().is_ok_and(|line| line.is_empty());
        !is_dying || (self.is_zombie() && self.threads() <= 1)
    }

    fn command_line(&self) -> std::io::Result<Vec<u8>> {
        fs::read(format!("/proc/{}/cmdline", self.pid))
    }

    /// `pid (name) state ...`; the name may hold anything.
    fn is_zombie(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count)
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, Record};

    #[test]
    fn record_survives_and_foreign_processes_are_not_ours() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(Record::read(dir.path()).expect("no record").is_none());
        let properties = dir.path().join("server.properties");
        let process = |pid| Process { broker_id: 0, pid, properties: properties.clone() };
        let mut record = Record { first_port: 9092, processes: vec![] };
        record.add(process(1), dir.path()).expect("the first process");
        record.add(process(std::process::id()), dir.path()).expect("its successor");
        let read = Record::read(dir.path()).expect("a readable record").expect("a record");
        assert_eq!(read.first_port, 9092);
        assert_eq!(read.processes.len(), 1);
        // This test's own process: there, but not a broker. It outlives the stop.
        assert_eq!(read.processes[0].pid, std::process::id());
        assert!(read.running().is_empty());
        read.stop().expect("nothing to stop");
    }
}
