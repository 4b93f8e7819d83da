//! An API, shards and brokers, each a process that can be killed and started again in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::http::Client;
use crate::kafka::{Cluster, ClusterOptions};
use crate::points;
use crate::server::{Launch, Role, Server, free_port};
use crate::shell::{command, run};

const BROKER_REPLICAS_MAX: u16 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const EVENTUALLY: Duration = Duration::from_secs(60);

/// A process of Vektonn.
pub(super) struct Process {
    pub(super) name: String,
    launch: Launch,
    port: u16,
    server: Option<Server>,
}

impl Process {
    fn new(name: &str, launch: &Launch) -> Result<Self> {
        let port = free_port()?;
        Ok(Self { name: name.to_owned(), launch: launch.on_port(port), port, server: None })
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.base_url())
    }

    /// Starts it, or starts it again, and waits until it is ready.
    pub(super) fn start(&mut self) -> Result<()> {
        self.spawn()?.wait_ready().with_context(|| self.name.clone())
    }

    /// Starts it without waiting.
    pub(super) fn spawn(&mut self) -> Result<&mut Server> {
        Ok(self.server.insert(self.launch.spawn()?))
    }

    pub(super) fn server(&mut self) -> Result<&mut Server> {
        self.server.as_mut().with_context(|| format!("{} does not run", self.name))
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.kill(),
            None => bail!("{} does not run", self.name),
        }
    }
}

/// The indices of `xtask/config`: `Crash.Whole` in two processes, `Crash.Split` in one, with an API before them.
pub(super) struct System {
    pub(super) api: Process,
    pub(super) whole: [Process; 2],
    pub(super) split: Process,
    // Dropped after the processes.
    pub(super) cluster: Cluster,
    pub(super) binary: PathBuf,
    /// The configuration directory of all processes.
    pub(super) config: PathBuf,
    pub(super) dir: TempDir,
}

impl System {
    /// Starts everything and waits until it is ready.
    pub(super) fn start(binary: &Path, brokers: u16) -> Result<Self> {
        let mut system = Self::new(binary, brokers)?;
        let [one, other] = &mut system.whole;
        for process in [one, other, &mut system.split, &mut system.api] {
            process.start()?;
        }
        Ok(system)
    }

    /// Starts the brokers only.
    pub(super) fn new(binary: &Path, brokers: u16) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let config = dir.path().join("config");
        run(command("cp").arg("-r").args([&points::config_dir(), &config]))?;
        let cluster = Cluster::start(&ClusterOptions::on_free_ports(brokers, &dir.path().join("brokers"))?)?;
        let bootstrap_servers = cluster.bootstrap_servers();
        let launch = |name: &str, role| {
            let log = dir.path().join(format!("{name}.log"));
            Process::new(name, &Launch::of(binary, role, &config, &log))
        };
        let replicas = brokers.min(BROKER_REPLICAS_MAX).to_string();
        let role = Role::Api { bootstrap_servers: bootstrap_servers.clone(), replicas };
        let system = Self {
            api: launch("api", role)?,
            whole: [
                launch("whole-0", shard_role(&bootstrap_servers, "Crash.Whole", "1.0"))?,
                launch("whole-1", shard_role(&bootstrap_servers, "Crash.Whole", "1.0"))?,
            ],
            split: launch("split", shard_role(&bootstrap_servers, "Crash.Split", "1.0"))?,
            binary: binary.to_path_buf(),
            cluster,
            config,
            dir,
        };
        system.write_topology(&[])?;
        Ok(system)
    }

    /// One more process for a version of `Crash.Whole`.
    pub(super) fn shard_of_version(&self, version: &str) -> Result<Process> {
        let role = shard_role(&self.cluster.bootstrap_servers(), "Crash.Whole", version);
        let log = self.dir.path().join(format!("whole-{version}.log"));
        Process::new(version, &Launch::of(&self.binary, role, &self.config, &log))
    }

    /// Says where the shards are; more versions of `Crash.Whole` may be told.
    pub(super) fn write_topology(&self, more_versions: &[(&str, &Process)]) -> Result<()> {
        let [one, other] = self.whole.each_ref().map(|process| process.port);
        let mut text = format!("Crash.Split: {{1.0: {{All: \"127.0.0.1:{}\"}}}}\n", self.split.port);
        text += &format!("Crash.Whole:\n  1.0: {{All: [\"127.0.0.1:{one}\", \"127.0.0.1:{other}\"]}}\n");
        for (version, process) in more_versions {
            text += &format!("  {version}: {{All: \"127.0.0.1:{}\"}}\n", process.port);
        }
        self.write_config("index-shards-topology.yaml", &text)
    }

    /// Writes a configuration file as careful people do: whole, or not at all.
    pub(super) fn write_config(&self, file: &str, text: &str) -> Result<()> {
        let (new, file) = (self.dir.path().join("new-file"), self.config.join(file));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Whether every process holds what it should, and what a replay of the log gives.
    pub(super) fn verify(&self) -> Result<()> {
        run(command(&self.binary)
            .args(["verify", &self.api.base_url(), "--kafka-bootstrap-servers"])
            .arg(self.cluster.bootstrap_servers())
            .arg("--config")
            .arg(&self.config)
            .stdout(std::process::Stdio::null()))
        .context("the processes do not hold the same, or not what the log says")
    }
}

fn shard_role(bootstrap_servers: &str, index: &str, version: &str) -> Role {
    Role::IndexShard {
        bootstrap_servers: bootstrap_servers.to_owned(),
        index: (index.to_owned(), version.to_owned()),
        shard: "All".to_owned(),
    }
}

/// Looks until it is so; the last answer otherwise.
pub(super) fn eventually(what: &str, mut look: impl FnMut() -> Result<(), String>) -> Result<()> {
    let deadline = Instant::now() + EVENTUALLY;
    while let Err(why) = look() {
        if Instant::now() > deadline {
            bail!("{what}: not within {} s: {why}", EVENTUALLY.as_secs());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
