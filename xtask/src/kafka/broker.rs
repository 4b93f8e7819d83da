//! One node of the cluster: broker and controller in one process, with a directory of its own.

use std::fs;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use super::install::Kafka;
use crate::shell::{capture, command, signal, succeeds};

/// Broker `n` listens on `port + n`, its controller on `port + CONTROLLER_PORT_OFFSET + n`.
pub(crate) const CONTROLLER_PORT_OFFSET: u16 = 10;
const LOG_LINES_SHOWN: usize = 8;

/// Who gets the signals of the terminal, and so lives as long as this program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// This program's: Ctrl-C ends the brokers too.
    Shared,
    /// The broker's own: it goes on when this program and its terminal end.
    Own,
}

/// A node, running or not.
pub(super) struct Broker {
    /// Kafka's `node.id`, counted from 0.
    pub(super) id: u16,
    pub(super) port: u16,
    controller_port: u16,
    dir: PathBuf,
    pub(super) child: Option<Child>,
}

impl Broker {
    /// Node `id` of a cluster whose first broker listens on `first_port`, in `cluster_dir`.
    pub(super) fn new(id: u16, first_port: u16, cluster_dir: &Path) -> Self {
        let port = first_port + id;
        let dir = cluster_dir.join(format!("broker-{id}"));
        Self { id, port, controller_port: port + CONTROLLER_PORT_OFFSET, dir, child: None }
    }

    /// Its part of `controller.quorum.voters`.
    pub(super) fn voter(&self) -> String {
        format!("{}@127.0.0.1:{}", self.id, self.controller_port)
    }

    /// The file that Kafka is started with; by its name the process is recognised.
    pub(super) fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    /// Another process on one of the ports would be found out only deep in the broker's log.
    pub(super) fn check_ports(&self) -> Result<()> {
        for (port, role) in [(self.port, "broker"), (self.controller_port, "controller")] {
            TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!(
                    "{role} {} cannot listen on 127.0.0.1:{port}; choose other ports with --port",
                    self.id
                )
            })?;
        }
        Ok(())
    }

    /// Writes the configuration and formats the storage.
    pub(super) fn format(&self, kafka: &Kafka, cluster_id: &str, settings: &str) -> Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        fs::write(self.properties(), format!("{}{settings}", self.own_settings()))
            .with_context(|| format!("cannot write {}", self.properties().display()))?;
        let mut format = kafka.tool("kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", cluster_id, "--config"]).arg(self.properties());
        capture(&mut format).with_context(|| format!("cannot format the storage of broker {}", self.id))?;
        Ok(())
    }

    fn own_settings(&self) -> String {
        let Self { id, port, controller_port, dir, .. } = self;
        format!(
            "node.id={id}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             log.dirs={}/data\n",
            dir.display()
        )
    }

    /// Starts the process and returns its id.
    pub(super) fn spawn(&mut self, kafka: &Kafka, session: Session) -> Result<u32> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("cannot open {}", self.log().display()))?;
        // setsid(1) does not fork here, so the process keeps its id. Systems without it get a process group.
        let is_setsid_there = session == Session::Own && succeeds(command("setsid").arg("--version"));
        let mut process = kafka.broker(is_setsid_there.then_some("setsid"));
        if session == Session::Own && !is_setsid_there {
            process.process_group(0);
        }
        process.arg(self.properties()).current_dir(&self.dir);
        let child = process
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start broker {}", self.id))?;
        Ok(self.child.insert(child).id())
    }

    /// An error if the process has ended by itself.
    pub(super) fn check_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            self.child = None;
            bail!("broker {} ended ({status}); the end of its log: {}", self.id, self.log_tail());
        }
        Ok(())
    }

    /// `kill -9`, then waits for the end of the process; a broker that does not run is left alone.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("cannot kill broker {}", self.id))?;
            child.wait().with_context(|| format!("cannot wait for the end of broker {}", self.id))?;
        }
        Ok(())
    }

    /// Sends a signal to the process.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("broker {} does not run", self.id))?;
        signal(child.id(), name)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// The last lines of the broker's log, joined. Java's stack frames tell little to people without Kafka's source.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("\tat ")).collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ")
    }
}

/// What all nodes have in common: as light as possible, as durable as the number of brokers allows.
pub(super) fn common_settings(voters: &str, brokers: u16) -> String {
    let factor = brokers.min(3);
    let in_sync_min = factor.saturating_sub(1).max(1);
    format!(
        "process.roles=broker,controller\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={factor}\n\
         min.insync.replicas={in_sync_min}\n\
         offsets.topic.replication.factor={factor}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={factor}\n\
         transaction.state.log.min.isr={in_sync_min}\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         background.threads=2\n\
         num.recovery.threads.per.data.dir=1\n\
         log.cleaner.threads=1\n\
         log.cleaner.backoff.ms=500\n\
         log.cleaner.dedupe.buffer.size=16777216\n"
    )
}
