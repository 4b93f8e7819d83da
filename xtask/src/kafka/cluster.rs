//! Brokers as child processes: started, killed and started again by index.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::broker::{Broker, CONTROLLER_PORT_OFFSET, Session, common_settings};
use super::install::{Kafka, delete};
use super::metadata;
use super::record::{Process, Record};

/// On two cores one broker serves 5 s after the start of formatting, and three after 12 to 20 s.
const SERVING_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Below the ports that Linux hands out by itself, so that nobody takes one between the check and the start.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;
const FREE_PORT_ATTEMPTS: u32 = 100;

/// How many brokers, and where.
#[derive(Debug, Clone)]
pub(crate) struct ClusterOptions {
    /// 1 to `BROKERS_MAX`. With three or more, topics have 3 replicas of which 2 must be in sync.
    pub(crate) brokers: u16,
    /// Broker `n` listens on `port + n`, controller `n` on `port + 10 + n`, all on 127.0.0.1.
    pub(crate) port: u16,
    /// Configuration, data and logs; what a previous cluster left there is deleted.
    pub(crate) dir: PathBuf,
}

impl ClusterOptions {
    /// More would need another `CONTROLLER_PORT_OFFSET`.
    pub(crate) const BROKERS_MAX: u16 = CONTROLLER_PORT_OFFSET - 1;

    /// A cluster on ports that were free a moment ago.
    pub(crate) fn on_free_ports(brokers: u16, dir: &Path) -> Result<Self> {
        for _ in 0..FREE_PORT_ATTEMPTS {
            let options = Self { brokers, port: fastrand::u16(FREE_PORTS), dir: dir.to_path_buf() };
            if options.nodes().iter().all(|broker| broker.check_ports().is_ok()) {
                return Ok(options);
            }
        }
        bail!(
            "no {brokers} free ports in a row on 127.0.0.1 between {} and {}",
            FREE_PORTS.start,
            FREE_PORTS.end
        )
    }

    fn check(&self) -> Result<()> {
        let Self { brokers, port, .. } = self;
        ensure!(
            (1..=Self::BROKERS_MAX).contains(brokers),
            "1 to {} brokers, not {brokers}",
            Self::BROKERS_MAX
        );
        let port_max = u16::MAX - CONTROLLER_PORT_OFFSET - Self::BROKERS_MAX;
        ensure!((1..=port_max).contains(port), "the port must be between 1 and {port_max}, not {port}");
        Ok(())
    }

    fn nodes(&self) -> Vec<Broker> {
        (0..self.brokers).map(|id| Broker::new(id, self.port, &self.dir)).collect()
    }
}

/// A running cluster; dropping it kills its brokers and keeps their logs.
pub(crate) struct Cluster {
    kafka: Kafka,
    dir: PathBuf,
    brokers: Vec<Broker>,
    record: Record,
    session: Session,
}

impl Cluster {
    /// Starts a cluster that lives as long as the returned value, and waits until every broker serves.
    pub(crate) fn start(options: &ClusterOptions) -> Result<Self> {
        Self::start_in(options, Session::Shared)
    }

    /// Starts a cluster that `Record::stop` ends, and waits until every broker serves.
    pub(super) fn start_and_leave(options: &ClusterOptions) -> Result<()> {
        let mut cluster = Self::start_in(options, Session::Own)?;
        // Nothing left to kill for `drop`.
        cluster.brokers.clear();
        Ok(())
    }

    fn start_in(options: &ClusterOptions, session: Session) -> Result<Self> {
        options.check()?;
        let dir = std::path::absolute(&options.dir).context("the brokers' directory")?;
        let options = ClusterOptions { dir: dir.clone(), ..*options };
        clear(&dir)?;
        let brokers = options.nodes();
        brokers.iter().try_for_each(Broker::check_ports)?;
        let kafka = Kafka::install()?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        format_all(&brokers, &kafka)?;
        let record = Record { first_port: options.port, processes: vec![] };
        let mut cluster = Self { kafka, dir, brokers, record, session };
        (0..cluster.brokers.len()).try_for_each(|index| cluster.spawn(index))?;
        cluster.wait_until_serving()?;
        Ok(cluster)
    }

    /// All brokers, such as `127.0.0.1:9092,127.0.0.1:9093`.
    pub(crate) fn bootstrap_servers(&self) -> String {
        bootstrap_servers(self.brokers.iter().map(|broker| broker.port))
    }

    /// `kill -9` of one broker, counted from 0. The others notice after `broker.session.timeout.ms`, 9 s.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        self.broker(index)?.kill()
    }

    /// Starts a killed broker again on its old data and waits until all running brokers know it.
    ///
    /// The controller lets a broker in only after its predecessor's session has run out: this takes up to 9 s.
    pub(crate) fn restart(&mut self, index: usize) -> Result<()> {
        self.kill(index)?;
        self.spawn(index)?;
        self.wait_until_serving()
    }

    /// Stops a broker where it stands, as if its machine had hung: connections stay, answers do not come.
    pub(crate) fn pause(&mut self, index: usize) -> Result<()> {
        self.broker(index)?.signal("STOP")
    }

    /// Lets a paused broker go on.
    pub(crate) fn go_on(&mut self, index: usize) -> Result<()> {
        self.broker(index)?.signal("CONT")
    }

    /// The brokers that serve, as broker `index` knows.
    pub(crate) fn live_brokers(&self, index: usize) -> Result<BTreeSet<u16>> {
        let broker = self.brokers.get(index).with_context(|| format!("there is no broker {index}"))?;
        metadata::live_brokers(broker.port)
    }

    /// Kills all brokers and deletes their data and logs.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.brokers.iter_mut().try_for_each(Broker::kill)?;
        delete(&self.dir)
    }

    fn broker(&mut self, index: usize) -> Result<&mut Broker> {
        self.brokers.get_mut(index).with_context(|| format!("there is no broker {index}"))
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let (kafka, session) = (self.kafka.clone(), self.session);
        let broker = self.broker(index)?;
        let pid = broker.spawn(&kafka, session)?;
        let process = Process { broker_id: broker.id, pid, properties: broker.properties() };
        self.record.add(process, &self.dir)
    }

    fn wait_until_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + SERVING_TIMEOUT;
        loop {
            self.brokers.iter_mut().try_for_each(Broker::check_runs)?;
            let running: Vec<_> = self.brokers.iter().filter(|broker| broker.child.is_some()).collect();
            let Err(why) = all_serve(running.iter().map(|broker| (broker.id, broker.port))) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let logs: Vec<_> = running.iter().map(|broker| broker.log_tail()).collect();
                bail!(
                    "{why:#} after {} s; the ends of the logs: {}",
                    SERVING_TIMEOUT.as_secs(),
                    logs.join(" || ")
                );
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for broker in &mut self.brokers {
            // Fails only where the process has ended already.
            let _ = broker.kill();
        }
    }
}

/// Whether each of these brokers (id, port) answers and knows all of them as serving.
pub(super) fn all_serve(brokers: impl Iterator<Item = (u16, u16)> + Clone) -> Result<()> {
    let expected: BTreeSet<u16> = brokers.clone().map(|(id, _)| id).collect();
    for (id, port) in brokers {
        let known = metadata::live_brokers(port).with_context(|| format!("broker {id} does not serve"))?;
        ensure!(known.is_superset(&expected), "broker {id} knows brokers {known:?} of {expected:?}");
    }
    Ok(())
}

/// `127.0.0.1:9092,127.0.0.1:9093`.
pub(super) fn bootstrap_servers(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

/// Stops what an earlier, killed run may have left in this directory, and deletes it.
pub(super) fn clear(dir: &Path) -> Result<()> {
    if let Some(record) = Record::read(dir)? {
        record.stop()?;
    }
    delete(dir)
}

/// Formats the storage of all brokers at once: each is a second of Java's start.
fn format_all(brokers: &[Broker], kafka: &Kafka) -> Result<()> {
    let voters: Vec<_> = brokers.iter().map(Broker::voter).collect();
    let settings = common_settings(&voters.join(","), brokers.len() as u16);
    let cluster_id = random_cluster_id();
    std::thread::scope(|scope| {
        let format = |broker: &'_ Broker| broker.format(kafka, &cluster_id, &settings);
        let threads: Vec<_> = brokers.iter().map(|broker| scope.spawn(move || format(broker))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// 16 bytes in base 64. Every cluster has its own, so that brokers of two clusters never take each other for theirs.
fn random_cluster_id() -> String {
    // The last character holds 2 bits only; alphanumeric ones before it need no care with dashes.
    (0..21).map(|_| fastrand::alphanumeric()).chain(['A']).collect()
}
