//! One peer's process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use vektonn_index::Metric;

use crate::contest::{Built, Contender, Elapsed, Search, Turn};
use crate::datasets::DenseSet;
use crate::formats;

/// The longest that a worker may think about a command. The slowest graph of a million vectors takes less.
const PATIENCE: Timespec = Timespec { tv_sec: 3_600, tv_nsec: 0 };

/// What a worker says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct About {
    pub(crate) versions: std::collections::BTreeMap<String, String>,
    /// The kernels of its BLAS libraries.
    pub(crate) blas: Vec<String>,
}

/// A running `worker.py`; dropping it ends it.
pub(crate) struct Worker {
    engine: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Worker {
    /// Starts a worker with the engine of `benches/peers/<engine>.py`. `blas_kernel` is the kernel that OpenBLAS
    /// is to use; without one it chooses for itself.
    pub(crate) fn start(python: &Path, engine: &str, blas_kernel: Option<&str>) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/worker.py");
        let mut command = Command::new(python);
        // Without these a machine's setting decides how fast a peer is.
        command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE");
        if let Some(kernel) = blas_kernel {
            command.env("OPENBLAS_CORETYPE", kernel);
        }
        let mut child = command
            .args([script, engine])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes to the worker");
        };
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        Ok(Self { engine: engine.to_owned(), child, commands, answers: BufReader::new(answers), dir })
    }

    pub(crate) fn about(&mut self) -> Result<About> {
        self.request(json!({"do": "about"}))
    }

    pub(crate) fn build(&mut self, set: &DenseSet, metric: Metric, parameters: &Value) -> Result<Built> {
        self.build_from(&set.base_file, &set.queries_file, metric, parameters)
    }

    /// The same from an fbin or csr file.
    pub(crate) fn build_from(
        &mut self,
        base: &Path,
        queries: &Path,
        metric: Metric,
        parameters: &Value,
    ) -> Result<Built> {
        self.request(json!({
            "do": "build",
            "base": base,
            "queries": queries,
            "metric": format!("{metric:?}"),
            "parameters": parameters,
        }))
    }

    /// Products of 256 queries with 20,000 rows of 128 dimensions per second of processor time.
    pub(crate) fn sgemm(&mut self) -> Result<f64> {
        #[derive(Deserialize)]
        struct Speed {
            per_second: f64,
        }
        Ok(self.request::<Speed>(json!({"do": "sgemm"}))?.per_second)
    }

    fn request<T: DeserializeOwned>(&mut self, command: Value) -> Result<T> {
        let mut request = || -> Result<T> {
            writeln!(self.commands, "{command}")?;
            let answer: Value = serde_json::from_str(&self.answer(&PATIENCE)?)?;
            if let Some(error) = answer.get("error").and_then(Value::as_str) {
                bail!("{error}");
            }
            Ok(serde_json::from_value(answer)?)
        };
        let answer = request();
        answer.with_context(|| format!("the worker {}, asked to {}", self.engine, command["do"]))
    }

    /// The next line. One that thinks for longer is ended, and fails from then on.
    fn answer(&mut self, patience: &Timespec) -> Result<String> {
        // The last answer was read to its end: nothing is in the buffer.
        let mut answers = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
        if poll(&mut answers, Some(patience))? == 0 {
            self.child.kill()?;
            bail!("no answer after {} s: it was ended", patience.tv_sec);
        }
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("it ended ({})", self.child.wait()?);
        }
        Ok(line)
    }
}

impl Contender for Worker {
    fn use_cores(&mut self, cores: &[usize]) -> Result<()> {
        self.request::<Value>(json!({"do": "use_cores", "cores": cores}))?;
        Ok(())
    }

    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
        self.request(turn_command("search", turn))
    }

    fn answers(&mut self, search: &Search) -> Result<Vec<i32>> {
        let file = self.dir.path().join("answers.ibin");
        let Search { k, together, setting } = search;
        self.request::<Value>(
            json!({"do": "answers", "k": k, "together": together, "setting": setting, "file": file}),
        )?;
        Ok(formats::read_ids(&file)?.1)
    }

    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>> {
        #[derive(Deserialize)]
        struct Latencies {
            seconds: Vec<f64>,
        }
        Ok(self.request::<Latencies>(turn_command("latencies", turn))?.seconds)
    }

    fn call_overhead(&mut self, k: usize) -> Result<f64> {
        #[derive(Deserialize)]
        struct Overhead {
            seconds: f64,
        }
        Ok(self.request::<Overhead>(json!({"do": "call_overhead", "k": k}))?.seconds)
    }
}

fn turn_command(command: &str, turn: &Turn<'_>) -> Value {
    let Search { k, together, setting } = turn.search;
    json!({
        "do": command,
        "k": k,
        "together": together,
        "setting": setting,
        "first": turn.first,
        "count": turn.queries,
    })
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_that_hangs_is_ended() {
        // It waits for a line with the script's name.
        let mut worker = Worker::start(Path::new("grep"), "-", None).unwrap();
        let error = worker.answer(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }).unwrap_err().to_string();
        assert_eq!(error, "no answer after 0 s: it was ended");
        assert!(!worker.child.wait().unwrap().success());
        let error = format!("{:#}", worker.about().unwrap_err());
        assert!(error.starts_with("the worker -, asked to \"about\": "), "{error}");
    }
}
