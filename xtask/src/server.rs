//! The server as a child process: started on a free port of 127.0.0.1, ended by its own process id.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::Client;
use crate::shell::signal;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const LOG_LINES_SHOWN: usize = 5;

/// What a process does, and where its data source is.
#[derive(Clone)]
pub(crate) enum Role {
    /// Everything, with an embedded data source in this directory.
    Serve { data: PathBuf },
    /// Uploads to Kafka, in topics of so many replicas, and searches in other processes.
    Api { bootstrap_servers: String, replicas: String },
    /// Holds a shard of an index, by name and version of the index and id of the shard.
    IndexShard { bootstrap_servers: String, index: (String, String), shard: String },
}

/// How to start a server; may be used again for a restart.
#[derive(Clone)]
pub(crate) struct Launch {
    binary: PathBuf,
    config: PathBuf,
    role: Role,
    log: PathBuf,
    /// A program and its arguments that start the server, such as strace.
    wrapper: Vec<OsString>,
    /// Where it listens; without it, on any free port.
    port: Option<u16>,
}

impl Launch {
    /// `config` is a configuration directory, `data` the embedded data source's; the log is appended to `log`.
    pub(crate) fn new(binary: &Path, config: &Path, data: &Path, log: &Path) -> Self {
        Self::of(binary, Role::Serve { data: data.to_path_buf() }, config, log)
    }

    /// The same for any role.
    pub(crate) fn of(binary: &Path, role: Role, config: &Path, log: &Path) -> Self {
        let path = Path::to_path_buf;
        Self { binary: path(binary), config: path(config), role, log: path(log), wrapper: vec![], port: None }
    }

    /// The same, started through another program.
    pub(crate) fn through<I>(&self, wrapper: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        Self { wrapper: wrapper.into_iter().map(Into::into).collect(), ..self.clone() }
    }

    /// The same on another data directory.
    pub(crate) fn with_data(&self, data: &Path) -> Self {
        Self { role: Role::Serve { data: data.to_path_buf() }, ..self.clone() }
    }

    /// The same on a certain port.
    pub(crate) fn on_port(&self, port: u16) -> Self {
        Self { port: Some(port), ..self.clone() }
    }

    /// Starts the server and waits until `/readyz` answers 200.
    pub(crate) fn start(&self) -> Result<Server> {
        let mut server = self.spawn()?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts the server without waiting for anything.
    pub(crate) fn spawn(&self) -> Result<Server> {
        let port = self.port.map_or_else(free_port, Ok)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("cannot open the server's log")?;
        let child = self
            .command(port)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let base_url = format!("http://127.0.0.1:{port}");
        Ok(Server { child, client: Client::new(&base_url), base_url, log: self.log.clone() })
    }

    fn command(&self, port: u16) -> Command {
        let mut words = self.wrapper.iter().cloned().chain([OsString::from(&self.binary)]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(self.role.arguments()).arg("--config").arg(&self.config);
        // Nothing but this machine reaches what tests start.
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command
    }
}

impl Role {
    /// The subcommand and its options.
    fn arguments(&self) -> Vec<&OsStr> {
        const KAFKA: &str = "--kafka-bootstrap-servers";
        match self {
            Self::Serve { data } => vec!["serve".as_ref(), "--data".as_ref(), data.as_ref()],
            Self::Api { bootstrap_servers, replicas } => {
                let options = ["api", KAFKA, bootstrap_servers, "--kafka-topic-replication-factor", replicas];
                options.into_iter().map(OsStr::new).collect()
            }
            Self::IndexShard { bootstrap_servers, index: (name, version), shard } => {
                let options = [
                    (KAFKA, bootstrap_servers),
                    ("--index-name", name),
                    ("--index-version", version),
                    ("--shard-id", shard),
                ];
                let options = options.into_iter().flat_map(|(option, value)| [option, value.as_str()]);
                ["index-shard"].into_iter().chain(options).map(OsStr::new).collect()
            }
        }
    }
}

/// A running server; dropping it kills it.
pub(crate) struct Server {
    child: Child,
    client: Client,
    base_url: String,
    log: PathBuf,
}

impl Server {
    /// Such as `http://127.0.0.1:40123`.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Such as `127.0.0.1:40123`.
    pub(crate) fn address(&self) -> &str {
        self.base_url.trim_start_matches("http://")
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until every shard has caught up.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting ({status}): {}", self.log_tail());
            }
            if self.client.get("/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server is not ready after {} s: {}", READY_TIMEOUT.as_secs(), self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// `kill -9`, then waits for the end of the process.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill the server")?;
        self.child.wait().context("cannot wait for the server")?;
        Ok(())
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Stops the process where it stands, as if its machine had hung.
    pub(crate) fn pause(&self) -> Result<()> {
        signal(self.id(), "STOP")
    }

    /// Lets a paused process go on.
    pub(crate) fn go_on(&self) -> Result<()> {
        signal(self.id(), "CONT")
    }

    /// Everything the server has logged.
    pub(crate) fn log_text(&self) -> String {
        File::open(&self.log).and_then(std::io::read_to_string).unwrap_or_default()
    }

    /// The last lines of the server's log, joined.
    pub(crate) fn log_tail(&self) -> String {
        let text = self.log_text();
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
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
