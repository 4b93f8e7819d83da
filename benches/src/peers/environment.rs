//! A Python environment with the peers that install here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};

/// A virtual environment, and what is not in it.
pub(crate) struct Environment {
    /// Or why there is none.
    python: Result<PathBuf, String>,
    /// Requirements that could not be installed, and why.
    missing: Vec<(String, String)>,
}

impl Environment {
    /// Makes the environment in `folder` unless it is there, and installs each line of the requirements file. Without an environment
    /// everything is missing.
    pub(crate) fn prepare(base_python: &str, folder: &Path, requirements: &Path) -> Result<Self> {
        let text = fs::read_to_string(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let python = make(base_python, folder).map_err(|error| format!("{error:#}"));
        let mut missing = vec![];
        for requirement in lines {
            let installed = python
                .clone()
                .and_then(|python| install(&python, requirement).map_err(|error| format!("{error:#}")));
            if let Err(why) = installed {
                eprintln!("{requirement} does not install: {why}");
                missing.push((requirement.to_owned(), why));
            }
        }
        Ok(Self { python, missing })
    }

    /// Nothing, and why.
    #[cfg(test)]
    pub(crate) fn none(why: &str) -> Self {
        Self { python: Err(why.to_owned()), missing: vec![] }
    }

    /// The interpreter, or why there is none.
    pub(crate) fn python(&self) -> Result<&Path> {
        self.python.as_deref().map_err(|why| anyhow!("{why}"))
    }

    /// Requirements that could not be installed, and why.
    pub(crate) fn missing(&self) -> &[(String, String)] {
        &self.missing
    }
}

/// The environment's interpreter.
fn make(base_python: &str, folder: &Path) -> Result<PathBuf> {
    let python = folder.join("bin/python");
    if !succeeds(Command::new(&python).args(["-m", "pip", "--version"])) {
        eprintln!("making a Python environment in {}", folder.display());
        let made = run(Command::new(base_python).args(["-m", "venv", "--clear"]).arg(folder));
        made.with_context(|| format!("no Python environment in {}", folder.display()))?;
    }
    Ok(python)
}

/// Alone, so that one that fails stops no other.
fn install(python: &Path, requirement: &str) -> Result<()> {
    let Some((package, version)) = requirement.split_once("==") else {
        bail!("no pinned version");
    };
    let check = "import sys, importlib.metadata as m; sys.exit(m.version(sys.argv[1]) != sys.argv[2])";
    if succeeds(Command::new(python).args(["-c", check, package, version])) {
        return Ok(());
    }
    eprintln!("installing {requirement}");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement];
    run(Command::new(python).args(pip))
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a command; if it fails, the error is its last words, and what it said aloud: Debian's venv gives its reason there.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let last = errors.trim().lines().last().unwrap_or_default();
    let words: Vec<_> = last.split_whitespace().chain(said.split_whitespace()).collect();
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, words.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_does_not_install_is_known() {
        let error = install(Path::new("/nonexistent/python"), "numpy==1").unwrap_err();
        assert!(format!("{error:#}").contains("cannot start /nonexistent/python"), "{error:#}");
        assert_eq!(install(Path::new("python3"), "numpy").unwrap_err().to_string(), "no pinned version");
        let script = "echo first >&2; echo last words >&2; echo; echo a; echo reason; exit 3";
        let error = run(Command::new("sh").args(["-c", script])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3): last words a reason");
    }

    #[test]
    fn without_python_everything_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let requirements = dir.path().join("requirements.txt");
        fs::write(&requirements, "# two\nnumpy==1\nscipy==2\n").unwrap();
        let environment = Environment::prepare("/nonexistent/python", dir.path(), &requirements).unwrap();
        let why = "cannot start /nonexistent/python";
        assert!(format!("{:#}", environment.python().unwrap_err()).contains(why));
        assert_eq!(environment.missing().len(), 2);
        assert!(environment.missing().iter().all(|(_, reason)| reason.contains(why)));
    }
}
