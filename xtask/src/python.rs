//! The published Python client against the real binary: one process, and several with Kafka.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::kafka::{Cluster, ClusterOptions};
use crate::server::{Launch, Role, Server};
use crate::shell::{self, apt_install, capture, command, root, succeeds, target_dir};

/// The client's dependencies do not install on later Pythons.
const MINOR_VERSIONS: std::ops::RangeInclusive<u32> = 8..=11;

/// Installs the client into `target/python` and runs `tests-python` with it.
pub(crate) fn run(binary: &Path) -> Result<()> {
    let python = environment()?;
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let serve = |name: &str, config: PathBuf| -> Result<Server> {
        let (data, log) = (dir.path().join(name), dir.path().join(format!("{name}.log")));
        Launch::new(binary, &config, &data, &log).start().with_context(|| format!("the server for {name}"))
    };
    let quick_start = serve("quick-start", root().join("examples/quick-start"))?;
    let scenarios = serve("scenarios", root().join("tests-python/config"))?;
    let streets = root().join("tests-python/config-of-shards");
    let one_process = serve("one-process", streets.clone())?;
    let many_processes = ManyProcesses::start(binary, &streets, dir.path())?;
    shell::run(
        command(&python)
            .args(["-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests-python"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("VEKTONN_QUICK_START_URL", quick_start.base_url())
            .env("VEKTONN_URL", scenarios.base_url())
            .env("VEKTONN_ONE_PROCESS_URL", one_process.base_url())
            .env("VEKTONN_MANY_PROCESSES_URL", many_processes.api.base_url()),
    )
}

/// An API, a process for each shard of the index in `tests-python/config-of-shards`, and a broker.
struct ManyProcesses {
    api: Server,
    // Dropped after the API, the broker last.
    _shards: Vec<Server>,
    _broker: Cluster,
}

impl ManyProcesses {
    const INDEX: (&str, &str) = ("Streets.Index", "1.0");
    const SHARDS: [&str; 4] = ["North", "East", "South", "West"];

    fn start(binary: &Path, config: &Path, dir: &Path) -> Result<Self> {
        let broker = Cluster::start(&ClusterOptions::on_free_ports(1, &dir.join("broker"))?)?;
        let bootstrap_servers = broker.bootstrap_servers();
        let (name, version) = Self::INDEX;
        let shard = |shard: &str| {
            let (index, shard) = ((name.to_owned(), version.to_owned()), shard.to_owned());
            let log = dir.join(format!("{shard}.log"));
            let role = Role::IndexShard { bootstrap_servers: bootstrap_servers.clone(), index, shard };
            Launch::of(binary, role, config, &log).start()
        };
        let shards: Vec<Server> = Self::SHARDS.into_iter().map(shard).collect::<Result<_>>()?;
        let config = config_with_topology(config, &shards, dir)?;
        let role = Role::Api { bootstrap_servers, replicas: "1".to_owned() };
        let api = Launch::of(binary, role, &config, &dir.join("api.log")).start()?;
        Ok(Self { api, _shards: shards, _broker: broker })
    }
}

/// A copy of the configuration that says where the shards are.
fn config_with_topology(config: &Path, shards: &[Server], dir: &Path) -> Result<PathBuf> {
    let copy = dir.join("config-of-api");
    shell::run(command("cp").arg("-r").args([config, &copy]))?;
    let (name, version) = ManyProcesses::INDEX;
    let mut topology = format!("{name}:\n  {version}:\n");
    for (id, shard) in ManyProcesses::SHARDS.iter().zip(shards) {
        topology += &format!("    {id}: {}\n", shard.address());
    }
    fs::write(copy.join("index-shards-topology.yaml"), topology).context("cannot write the topology")?;
    Ok(copy)
}

/// The Python of a virtual environment with everything in `tests-python/requirements.txt`.
fn environment() -> Result<PathBuf> {
    let base = suitable_python()?;
    let folder = target_dir().join("python");
    let python = folder.join("bin/python");
    if !succeeds(command(&python).args(["-m", "pip", "--version"])) {
        create_environment(&base, &folder)?;
    }
    install_requirements(&python)?;
    Ok(python)
}

fn create_environment(base: &str, folder: &Path) -> Result<()> {
    let mut create = command(base);
    create.args(["-m", "venv", "--clear"]).arg(folder);
    if succeeds(&mut create) {
        return Ok(());
    }
    // Debian keeps ensurepip in a package of its own.
    apt_install("python3-venv")?;
    shell::run(&mut create)
}

fn install_requirements(python: &Path) -> Result<()> {
    shell::run(
        command(python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg("tests-python/requirements.txt"),
    )
}

fn suitable_python() -> Result<String> {
    let named = MINOR_VERSIONS.rev().map(|minor| format!("python3.{minor}"));
    let candidates: Vec<_> = named.chain(["python3".to_owned()]).collect();
    match candidates.iter().find(|candidate| is_suitable(candidate)) {
        Some(python) => Ok(python.clone()),
        None => bail!(
            "the client vektonn 0.7.1 needs Python 3.8 to 3.11, and none of these is on PATH: {}",
            candidates.join(", ")
        ),
    }
}

fn is_suitable(python: &str) -> bool {
    let version =
        capture(command(python).args(["-c", "import sys; print(sys.version_info[0], sys.version_info[1])"]));
    let Ok(version) = version else { return false };
    let mut numbers = version.split_whitespace().map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(3)), Some(Ok(minor))) if MINOR_VERSIONS.contains(&minor))
}
