//! Running other programs: every command is printed, every failure is one line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The repository's root directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The build directory, also the place for everything the tests install.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the repository's root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program, in the repository's root.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Prints the command and runs it with its output shown; an exit code other than 0 is an error.
///
/// It is printed to standard error, where cargo tells its progress too: standard output is for answers.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    eprintln!("    $ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs the command and returns what it wrote to standard output; its standard error is shown only on failure.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, errors.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed bytes that are not UTF-8"))
}

/// Whether the command starts and exits with 0; prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Sends a signal to a process. The shell's own `kill`: the program of that name is not everywhere.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let is_sent = succeeds(command("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &pid.to_string()]));
    if !is_sent {
        bail!("cannot send {name} to process {pid}");
    }
    Ok(())
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> bool {
    capture(command("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Installs a Debian package if this program may do so.
pub(crate) fn apt_install(package: &str) -> Result<()> {
    if !is_root() || !succeeds(command("apt-get").arg("--version")) {
        bail!("the package `{package}` is missing; install it (as root: apt-get install {package})");
    }
    run(command("apt-get").args(["-qq", "update"]))?;
    run(command("apt-get").args(["-qq", "install", "-y", package]).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    std::iter::once(program.file_name().unwrap_or(program.as_os_str()))
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
