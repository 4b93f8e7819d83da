//! The release binary as a child process on a free port of 127.0.0.1, with an embedded data source.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::http::Client;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
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

/// The files of a configuration directory, as paths in it and text.
pub(crate) type ConfigFiles = [(&'static str, String)];

/// A running server with an empty data directory; dropping it kills it and removes its files.
pub(crate) struct Server {
    child: Child,
    base_url: String,
    dir: TempDir,
}

impl Server {
    /// Starts a server in a new directory within `parent` and waits until it is ready.
    pub(crate) fn start(binary: &Path, config: &ConfigFiles, parent: &Path) -> Result<Self> {
        let dir = tempfile::tempdir_in(parent).context("cannot make a temporary directory")?;
        for (path, text) in config {
            let path = dir.path().join("config").join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, text)?;
        }
        let port = free_port()?;
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(binary)
            .args(["serve", "--port", &port.to_string(), "--config"])
            .arg(dir.path().join("config"))
            .arg("--data")
            .arg(dir.path().join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Self { child, base_url: format!("http://127.0.0.1:{port}"), dir };
        server.wait_ready()?;
        Ok(server)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.base_url)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let client = self.client();
        let deadline = Instant::now() + READY_TIMEOUT;
        while !client.is_ok("/readyz") {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting ({status}): {}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("the server is not ready after {} s: {}", READY_TIMEOUT.as_secs(), self.log_tail());
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

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago; if another process takes it first, the server says so and ends.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
