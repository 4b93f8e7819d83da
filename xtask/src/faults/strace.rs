//! Running strace and reading what it wrote.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell::{apt_install, capture, command, succeeds};

const TRACED: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync";
/// Longer than any request or journal write of a check: every byte must be seen.
const STRING_BYTES_MAX: usize = 1 << 20;
const TRACE_END_TIMEOUT: Duration = Duration::from_secs(30);

/// One system call. Its places are line numbers of the trace: strace sees one call's beginning or end at a time.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) begin: usize,
    /// None: the process ended before the call did.
    pub(super) end: Option<usize>,
    pub(super) name: String,
    /// What the first argument's file descriptor stands for: a path, or `TCP:[from->to]`.
    pub(super) file: String,
    /// All arguments as strace prints them.
    pub(super) text: String,
    pub(super) result: Option<i64>,
}

/// Installs strace where it is missing and tries whether it may trace.
pub(super) fn ensure() -> Result<()> {
    if !succeeds(command("strace").arg("-V")) {
        apt_install("strace")?;
    }
    if !succeeds(command("strace").args(["-f", "-o", "/dev/null", "true"])) {
        bail!("strace may not trace here (run as root, or allow ptrace)");
    }
    Ok(())
}

/// The words that start a program under strace; the program stays the direct child, strace runs aside.
pub(super) fn wrapper(trace: &Path) -> Vec<OsString> {
    let string_bytes_max = STRING_BYTES_MAX.to_string();
    let mut words: Vec<OsString> =
        ["strace", "-D", "-f", "--seccomp-bpf", "-yy", "-s", &string_bytes_max, "-e", TRACED]
            .map(OsString::from)
            .into();
    words.extend(["-o".into(), trace.into()]);
    words
}

/// Waits until strace has written the end of the process, and reads all calls.
pub(super) fn read(trace: &Path) -> Result<Vec<Call>> {
    let deadline = Instant::now() + TRACE_END_TIMEOUT;
    loop {
        let text = std::fs::read(trace).context("cannot read the trace")?;
        let text = String::from_utf8_lossy(&text);
        if text
            .lines()
            .next_back()
            .is_some_and(|line| line.contains("+++ killed by") || line.contains("+++ exited"))
        {
            return parse(&text);
        }
        if Instant::now() > deadline {
            bail!("strace has not finished writing its trace");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads the lines of `strace -f -yy`.
pub(super) fn parse(trace: &str) -> Result<Vec<Call>> {
    let mut calls: Vec<Call> = vec![];
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(index) = unfinished.remove(thread) else { continue };
            let call = &mut calls[index];
            call.end = Some(place);
            call.text.push_str(resumed.split_once(" resumed>").map_or("", |(_, text)| text));
            call.result = result(resumed);
        } else if let Some(call) = begun(place, rest) {
            if rest.ends_with("<unfinished ...>") {
                unfinished.insert(thread, calls.len());
            }
            calls.push(call);
        }
    }
    if calls.is_empty() {
        bail!("the trace holds no system call");
    }
    Ok(calls)
}

fn begun(place: usize, text: &str) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let is_finished = !text.ends_with("<unfinished ...>");
    Some(Call {
        begin: place,
        end: is_finished.then_some(place),
        name: name.to_owned(),
        file: described_file(arguments).to_owned(),
        text: arguments.to_owned(),
        result: if is_finished { result(text) } else { None },
    })
}

/// `15</data/0.jnl>, ...` gives `/data/0.jnl`; the arrow inside `<TCP:[a->b]>` does not end it.
fn described_file(arguments: &str) -> &str {
    let Some((descriptor, rest)) = arguments.split_once('<') else { return "" };
    if descriptor.is_empty() || !descriptor.bytes().all(|byte| byte.is_ascii_digit()) {
        return "";
    }
    let end = [">,", ">)", "> <unfinished"].iter().filter_map(|end| rest.find(end)).min();
    end.map_or("", |end| &rest[..end])
}

fn result(text: &str) -> Option<i64> {
    let (_, result) = text.rsplit_once(" = ")?;
    let digits = result.split(|c: char| !c.is_ascii_digit() && c != '-').next()?;
    digits.parse().ok()
}

/// strace attached to a running process, letting system calls fail; ends when dropped.
pub(super) struct FailingCalls {
    strace: Child,
    /// Kept open: strace tells of each new thread of the process, and would end by SIGPIPE if nobody could hear it.
    _messages: BufReader<ChildStderr>,
}

impl FailingCalls {
    /// Returns when strace has attached to every thread. `calls` as in `fsync:error=EIO`; only calls on `files`,
    /// unless there are none.
    pub(super) fn attach(process_id: u32, calls: &str, files: &[PathBuf]) -> Result<Self> {
        let mut strace = command("strace")
            .args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}"), "-p", &process_id.to_string()])
            .args(files.iter().flat_map(|file| [OsStr::new("-P"), file.as_os_str()]))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start strace")?;
        let mut messages = BufReader::new(strace.stderr.take().context("strace has no standard error")?);
        let mut line = String::new();
        messages.read_line(&mut line)?;
        let attached = Self { strace, _messages: messages };
        if !line.contains("attached") {
            bail!("strace cannot attach to the server: {}", line.trim());
        }
        Ok(attached)
    }

    /// Lets the calls work again.
    pub(super) fn detach(mut self) -> Result<()> {
        capture(command("sh").args(["-c", &format!("kill -TERM {}", self.strace.id())]))?;
        self.strace.wait().context("cannot wait for strace")?;
        Ok(())
    }
}

impl Drop for FailingCalls {
    fn drop(&mut self) {
        // Both fail only where strace has ended already.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whole_and_interrupted_calls() {
        let calls = parse(
            "7 write(15</data/0.jnl>, \"a = 5\", 5) = 5\n\
             7 fsync(15</data/0.jnl> <unfinished ...>\n\
             8 sendto(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"HTTP\", 4, 0, NULL, 0) = 4\n\
             7 <... fsync resumed>) = -1 EIO (Input/output error) (INJECTED)\n\
             8 --- SIGTERM {si_signo=SIGTERM} ---\n\
             8 read(9<TCP:[127.0.0.1:1->127.0.0.1:2]>,  <unfinished ...>\n\
             8 +++ killed by SIGKILL +++\n",
        )
        .unwrap();
        let brief: Vec<_> =
            calls.iter().map(|c| (c.name.as_str(), c.file.as_str(), c.begin, c.end, c.result)).collect();
        let connection = "TCP:[127.0.0.1:1->127.0.0.1:2]";
        assert_eq!(
            brief,
            [
                ("write", "/data/0.jnl", 0, Some(0), Some(5)),
                ("fsync", "/data/0.jnl", 1, Some(3), Some(-1)),
                ("sendto", connection, 2, Some(2), Some(4)),
                ("read", connection, 5, None, None),
            ]
        );
    }
}
