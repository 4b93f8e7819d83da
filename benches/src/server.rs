//! The release binary as child processes on free ports of 127.0.0.1: one that does everything, or several on Kafka.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::catalog::{Catalog, ConfigFiles};
use crate::http::Client;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Each question takes time of the cores that the server works on: asked every 5 ms, it took a twentieth of them.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const LOG_LINES_SHOWN: usize = 5;

/// Builds the release binary, unless one is given, and returns its path.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return std::path::absolute(path).context("--binary");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--release", "--quiet", "--bin", "vektonn"]).status();
    ensure!(status.context("cannot run cargo")?.success(), "cannot build the vektonn binary");
    // This program was built with --release too.
    let folder = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let binary = folder.join("vektonn");
    ensure!(binary.exists(), "there is no {}: run this with cargo run --release", binary.display());
    Ok(binary)
}

/// What a process is to be.
pub(crate) struct Launch<'a> {
    pub(crate) binary: &'a Path,
    /// Its own directory is made in this one.
    pub(crate) parent: &'a Path,
    pub(crate) config: &'a ConfigFiles,
    pub(crate) port: u16,
    pub(crate) role: Role<'a>,
}

/// The part that a process plays.
pub(crate) enum Role<'a> {
    /// Everything, with an embedded data source: in this directory, or a new one in the process's own.
    Whole { data: Option<&'a Path> },
    /// Uploads to these Kafka servers, and searches of shards in other processes.
    Api { servers: &'a str },
    /// One shard, from these Kafka servers.
    Shard { servers: &'a str, catalog: &'a Catalog, shard_id: &'a str },
}

/// A running process with a directory of its own; dropping it kills it and removes that.
pub(crate) struct Server {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Server {
    /// Starts a server with an embedded data source, and waits until it is ready.
    pub(crate) fn start(binary: &Path, config: &ConfigFiles, parent: &Path) -> Result<Self> {
        let launch = Launch { binary, parent, config, port: free_port()?, role: Role::Whole { data: None } };
        let mut server = Self::spawn(&launch)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts a process, without waiting for anything.
    pub(crate) fn spawn(launch: &Launch<'_>) -> Result<Self> {
        let dir = tempfile::tempdir_in(launch.parent).context("cannot make a temporary directory")?;
        for (path, text) in launch.config {
            let path = dir.path().join("config").join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, text)?;
        }
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(launch.binary)
            .args(launch.role.arguments(dir.path()))
            .args(["--host", "127.0.0.1", "--port", &launch.port.to_string(), "--config"])
            .arg(dir.path().join("config"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.binary.display()))?;
        Ok(Self { child, address: format!("127.0.0.1:{}", launch.port), dir })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    /// Where it listens, as `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        self.wait_ready_for(READY_TIMEOUT)
    }

    /// The same where more time may be needed.
    pub(crate) fn wait_ready_for(&mut self, timeout: Duration) -> Result<()> {
        let client = self.client();
        let deadline = Instant::now() + timeout;
        while !client.is_ok("/readyz") {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting ({status}): {}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("the server is not ready after {} s: {}", timeout.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ")
    }
}

impl Role<'_> {
    fn arguments(&self, dir: &Path) -> Vec<String> {
        let own = |arguments: &[&str]| arguments.iter().map(|&argument| argument.to_owned()).collect();
        match self {
            Self::Whole { data } => {
                let data = data.map_or_else(|| dir.join("data"), Path::to_path_buf);
                own(&["serve", "--data", &data.to_string_lossy()])
            }
            Self::Api { servers } => own(&["api", "--kafka-bootstrap-servers", servers]),
            Self::Shard { servers, catalog, shard_id } => own(&[
                "index-shard",
                "--kafka-bootstrap-servers",
                servers,
                "--index-name",
                catalog.index_name(),
                "--index-version",
                catalog.index_version(),
                "--shard-id",
                shard_id,
            ]),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago; if another process takes it first, the server says so and ends.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
