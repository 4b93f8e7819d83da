//! Other libraries' exact search, and the kernel of BLAS that faiss is fastest with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
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
    python: PathBuf,
    peers: Vec<Peer>,
    /// The kernel that OpenBLAS is to use; none if its own choice is the fastest.
    blas_kernel: Option<String>,
    /// Packages that cannot be used, and why.
    missing: Vec<(String, String)>,
}

impl Peers {
    /// None of them, for tests of everything else.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { python: PathBuf::new(), peers: vec![], blas_kernel: None, missing: vec![] }
    }

    /// Installs them if need be, and finds out which of OpenBLAS's kernels is the fastest: its own choice is a slow one for
    /// processors that are younger than it. Also says which versions they have. faiss alone if `quick`.
    pub(super) fn prepare(python: &str, cache: &Path, quick: bool) -> Result<(Self, String)> {
        let requirements = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/requirements.txt"));
        let environment = Environment::prepare(python, &cache.join("venv"), requirements)?;
        let of_package = |(requirement, why): &(String, String)| {
            (requirement.split("==").next().unwrap_or_default().to_owned(), why.clone())
        };
        let mut peers = Self {
            python: environment.python().to_owned(),
            peers: vec![FAISS],
            blas_kernel: None,
            missing: environment.missing().iter().map(of_package).collect(),
        };
        let mut about = match peers.choose_kernel() {
            Ok(about) => vec![about],
            Err(error) => {
                peers.missing.push((FAISS.package.to_owned(), format!("{error:#}")));
                vec!["faiss is missing".to_owned()]
            }
        };
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
        if let Some((_, why)) = self.missing.iter().find(|(package, _)| package == peer.package) {
            bail!("{why}");
        }
        let kernel = self.blas_kernel.as_deref().filter(|_| peer.module == FAISS.module);
        let mut worker = Worker::start(&self.python, peer.module, kernel)?;
        let built = worker.build(set, metric, &serde_json::json!({}))?;
        Ok((worker, built))
    }

    fn version(&self, peer: &Peer) -> Result<String> {
        let about = Worker::start(&self.python, peer.module, None)?.about()?;
        Ok(versions(&about.versions))
    }

    fn choose_kernel(&mut self) -> Result<String> {
        let mut tried = vec![];
        let cores = affinity::cores()?;
        for kernel in [None].into_iter().chain(openblas_kernels().map(Some)) {
            let mut worker = Worker::start(&self.python, FAISS.module, kernel)?;
            worker.use_cores(&cores[cores.len() - 1..])?;
            tried.push((worker.sgemm()?, kernel, worker.about()?));
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (speed, kernel, about) = tried.first().context("no kernel was tried")?;
        self.blas_kernel = kernel.map(str::to_owned);
        let others = tried[1..].iter().map(|(speed, kernel, about)| {
            format!(
                "{} {speed:.0}",
                kernel.map_or_else(|| format!("its own choice, {}", about.blas.join(" and ")), str::to_owned)
            )
        });
        Ok(format!(
            "{}, its fastest BLAS: {} ({speed:.0} products/s; {})",
            versions(&about.versions),
            about.blas.join(" and "),
            others.collect::<Vec<_>>().join("; ")
        ))
    }
}

fn versions(versions: &std::collections::BTreeMap<String, String>) -> String {
    let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    versions.join(", ")
}
