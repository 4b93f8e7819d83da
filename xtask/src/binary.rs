//! Choosing and building the `vektonn` binary that the tests start.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::checks::FEATURES;
use crate::shell::{cargo, run, target_dir};

/// With which optimisation the binary under test is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What `cargo test` builds anyway: nothing is compiled twice.
    Dev,
    /// What users run.
    Release,
}

/// Which binary a command tests.
#[derive(clap::Args)]
pub(crate) struct BinaryArgs {
    /// Test the dev binary, which `cargo test` builds anyway, instead of the release one.
    #[arg(long)]
    dev: bool,
    /// Test this binary instead of building one.
    #[arg(long, value_name = "PATH", conflicts_with = "dev")]
    binary: Option<PathBuf>,
}

impl BinaryArgs {
    /// The path of the binary, built if need be.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        match &self.binary {
            Some(binary) => std::path::absolute(binary).context("--binary"),
            None => build(Profile::of(!self.dev)),
        }
    }
}

impl Profile {
    /// The profile that a `--release` flag asks for.
    pub(crate) fn of(release: bool) -> Self {
        if release { Self::Release } else { Self::Dev }
    }
}

/// Builds the binary and returns its path.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--bin", "vektonn"]);
    match profile {
        // The packages and features of `cargo test` in checks.rs, so that its artifacts are taken.
        Profile::Dev => command.args(["--workspace", "--features", FEATURES]),
        Profile::Release => command.arg("--release"),
    };
    run(&mut command)?;
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    Ok(target_dir().join(folder).join("vektonn"))
}
