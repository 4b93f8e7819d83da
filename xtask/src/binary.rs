//! Building the `vektonn` binary that the tests start.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell::{cargo, run, target_dir};

/// With which optimisation the binary under test is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What `cargo test` builds anyway: nothing is compiled twice.
    Dev,
    /// What users run.
    Release,
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
        Profile::Dev => command.args(["--workspace", "--all-features"]),
        Profile::Release => command.arg("--release"),
    };
    run(&mut command)?;
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    Ok(target_dir().join(folder).join("vektonn"))
}
