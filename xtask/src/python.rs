//! The published Python client against the real binary.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::server::{Launch, Server};
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
    shell::run(
        command(&python)
            .args(["-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests-python"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("VEKTONN_QUICK_START_URL", quick_start.base_url())
            .env("VEKTONN_URL", scenarios.base_url()),
    )
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
