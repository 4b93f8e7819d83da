//! A Python environment with the peers that install here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A virtual environment, and what is not in it.
pub(crate) struct Environment {
    python: PathBuf,
    /// Requirements that could not be installed, and why.
    missing: Vec<(String, String)>,
}

impl Environment {
    /// Makes the environment in `folder` unless it is there, and installs each line of the requirements file.
    pub(crate) fn prepare(base_python: &str, folder: &Path, requirements: &Path) -> Result<Self> {
        let python = folder.join("bin/python");
        if !succeeds(Command::new(&python).args(["-m", "pip", "--version"])) {
            eprintln!("making a Python environment in {}", folder.display());
            run(Command::new(base_python).args(["-m", "venv", "--clear"]).arg(folder))?;
        }
        let text = fs::read_to_string(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let mut missing = vec![];
        for requirement in
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Err(error) = install(&python, requirement) {
                eprintln!("{requirement} does not install: {error:#}");
                missing.push((requirement.to_owned(), format!("{error:#}")));
            }
        }
        Ok(Self { python, missing })
    }

    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    /// Requirements that could not be installed, and why.
    pub(crate) fn missing(&self) -> &[(String, String)] {
        &self.missing
    }
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

/// Runs a command; if it fails, the error is its last words.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", errors.trim().lines().last().unwrap_or("no reason given"));
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
        let error =
            run(Command::new("sh").args(["-c", "echo first >&2; echo last words >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "last words");
    }
}
