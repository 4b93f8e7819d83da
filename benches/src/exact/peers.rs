//! Other libraries' exact search, and the kernel of BLAS that faiss is fastest with.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use vektonn_index::Metric;

use crate::affinity;
use crate::contest::{Built, Contender};
use crate::datasets::DenseSet;
use crate::peers::{Environment, Worker, openblas_kernels};

/// One library.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// Its file in `benches/peers/`.
    module: &'static str,
    /// Its package on PyPI.
    package: &'static str,
}

pub(super) const FAISS: Peer = Peer { name: "faiss", module: "faiss_flat", package: "faiss-cpu" };
/// They say how fast others are, at some cost of time; no goal means them.
const OTHERS: [Peer; 2] = [
    Peer { name: "hnswlib", module: "hnswlib_flat", package: "hnswlib" },
    Peer { name: "usearch", module: "usearch_flat", package: "usearch" },
];

/// How the libraries are started.
pub(super) struct Peers {
    environment: Environment,
    peers: Vec<Peer>,
    /// The kernel that faiss's OpenBLAS is to use, none if its own choice is the fastest; or why faiss cannot be measured.
    blas_kernel: Result<Option<&'static str>, String>,
}

impl Peers {
    /// None of them, for tests of everything else.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { environment: Environment::none("a test"), peers: vec![], blas_kernel: Ok(None) }
    }

    /// Installs them if need be, and finds out which of OpenBLAS's kernels is the fastest: its own choice is a slow one for
    /// processors that are younger than it. Also says which versions they have. faiss alone if `quick`.
    pub(super) fn prepare(python: &str, cache: &Path, quick: bool) -> Result<(Self, String)> {
        let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements.txt"));
        let environment = Environment::prepare(python, &cache.join("venv"), requirements)?;
        let (blas_kernel, about) = match choose_kernel(&environment) {
            Ok((kernel, about)) => (Ok(kernel), about),
            Err(error) => (Err(format!("{error:#}")), "faiss is missing".to_owned()),
        };
        let mut peers = Self { environment, peers: vec![FAISS], blas_kernel };
        let mut about = vec![about];
        if !quick {
            for peer in OTHERS {
                about.push(peers.version(&peer).unwrap_or_else(|error| format!("{}: {error:#}", peer.name)));
                peers.peers.push(peer);
            }
        }
        Ok((peers, about.join("; ")))
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.peers
    }

    /// A worker with an index of a set.
    pub(super) fn start(&self, peer: &Peer, set: &DenseSet, metric: Metric) -> Result<(Worker, Built)> {
        let missing =
            self.environment.missing().iter().find(|(line, _)| line.split("==").next() == Some(peer.package));
        if let Some((_, why)) = missing {
            bail!("{why}");
        }
        let kernel = if peer.module == FAISS.module {
            self.blas_kernel.clone().map_err(|why| anyhow!("{why}"))?
        } else {
            None
        };
        let mut worker = Worker::start(self.environment.python()?, peer.module, kernel)?;
        let built = worker.build(set, metric, &serde_json::json!({}))?;
        Ok((worker, built))
    }

    fn version(&self, peer: &Peer) -> Result<String> {
        let about = Worker::start(self.environment.python()?, peer.module, None)?.about()?;
        Ok(versions(&about.versions))
    }
}

/// The kernel that is the fastest, none if it is OpenBLAS's own choice; and what was found, in words.
fn choose_kernel(environment: &Environment) -> Result<(Option<&'static str>, String)> {
    let mut tried = vec![];
    let cores = affinity::cores()?;
    for kernel in [None].into_iter().chain(openblas_kernels().map(Some)) {
        let mut worker = Worker::start(environment.python()?, FAISS.module, kernel)?;
        worker.use_cores(&cores[cores.len() - 1..])?;
        tried.push((worker.sgemm()?, kernel, worker.about()?));
    }
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (speed, kernel, about) = tried.first().context("no kernel was tried")?;
    let others = tried[1..].iter().map(|(speed, kernel, about)| {
        format!(
            "{} {speed:.0}",
            kernel.map_or_else(|| format!("its own choice, {}", about.blas.join(" and ")), str::to_owned)
        )
    });
    let found = format!(
        "{}, its fastest BLAS: {} ({speed:.0} products/s; {})",
        versions(&about.versions),
        about.blas.join(" and "),
        others.collect::<Vec<_>>().join("; ")
    );
    Ok((*kernel, found))
}

fn versions(versions: &std::collections::BTreeMap<String, String>) -> String {
    let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}
