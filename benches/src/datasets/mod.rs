//! What is searched: real vectors, vectors made from real text, and synthetic ones.
//!
//! What must be computed is kept in a cache folder, under a name that changes with the way it is made.

pub(crate) mod sparse;
mod svd;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use vektonn_index::Metric;
use xxhash_rust::xxh3::Xxh3;

pub(crate) use self::sparse::SparseSet;
use self::synthetic::Synthetic;
use crate::formats::{self, bin, csr, hdf5};
use crate::matrix::Matrix;

const QUERIES: usize = 1_000;

/// Embeddings as a text model makes them: many clusters of very different sizes in a space of few dimensions.
const SYNTH768: Synthetic =
    Synthetic { rows: 100_000, dimension: 768, clusters: 1_000, latent: 64, seed: 768 };
const SYNTH1M: Synthetic =
    Synthetic { rows: 1_000_000, dimension: 128, clusters: 10_000, latent: 32, seed: 128 };
/// The hardest case, which no real data comes near: nothing but independent noise.
const GAUSS768: Synthetic = Synthetic { rows: 100_000, dimension: 768, clusters: 0, latent: 0, seed: 769 };

/// Where files are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Folders {
    /// The folder with sift-base.u8bin, text-base.csr and so on.
    #[arg(long, value_name = "DIR", default_value_os_t = crate::default_data())]
    pub(crate) data: PathBuf,
    /// Where computed vectors and neighbours, and the peers' Python environment, are kept.
    #[arg(long, value_name = "DIR", default_value_os_t = default_cache())]
    pub(crate) cache: PathBuf,
}

fn default_cache() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))).join("bench")
}

/// Dense vectors and queries.
pub(crate) struct DenseSet {
    pub(crate) name: String,
    /// What it is and how it was made, in a few words.
    pub(crate) origin: String,
    pub(crate) base: Matrix,
    pub(crate) queries: Matrix,
    /// Nearest neighbours that somebody else found.
    pub(crate) known: Option<KnownNeighbors>,
    /// The same vectors as files for other programs.
    pub(crate) base_file: PathBuf,
    pub(crate) queries_file: PathBuf,
    /// Tells one content from another.
    pub(crate) fingerprint: u64,
}

/// The rows of each query's nearest neighbours, `k` of each.
pub(crate) struct KnownNeighbors {
    pub(crate) metric: Metric,
    pub(crate) k: usize,
    pub(crate) ids: Vec<i32>,
}

impl DenseSet {
    /// One of `sift`, `svd384`, `synth768`, `gauss768`, `synth1m`, `digits`, or the path of an HDF5 file of ann-benchmarks.
    pub(crate) fn load(name: &str, folders: &Folders) -> Result<Self> {
        let from_data = |file: &str| formats::read_dense(&folders.data.join(file));
        match name {
            "sift" => {
                let vectors = (from_data("sift-base.u8bin")?, from_data("sift-query.u8bin")?);
                let mut set = Self::new(name, "SIFT descriptors of photographs", vectors, folders)?;
                let truth = folders.data.join("sift-groundtruth.bin");
                if truth.exists() {
                    set = set.with_truth(&truth, Metric::L2)?;
                }
                Ok(set)
            }
            "svd384" => {
                let made = cached(folders, "svd384-1", || {
                    let [base, queries] =
                        ["text-base.csr", "text-query.csr"].map(|file| folders.data.join(file));
                    svd::project(&csr::read(&base)?, &csr::read(&queries)?, 384)
                })?;
                let origin = "TF-IDF of package descriptions, projected by truncated SVD, not normalised";
                Self::with_files(name, origin, made)
            }
            "digits" => {
                let base = digits()?;
                Self::new(name, "handwritten digits; each is a query", (base.clone(), base), folders)
            }
            "synth768" => Self::synthetic(name, &SYNTH768, folders),
            "synth1m" => Self::synthetic(name, &SYNTH1M, folders),
            "gauss768" => Self::synthetic(name, &GAUSS768, folders),
            path if path.ends_with(".hdf5") => {
                let file = hdf5::read(Path::new(path))?;
                let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
                let origin = format!("ann-benchmarks, distance {}", file.distance);
                let mut set = Self::new(&name, origin, (file.base, file.queries), folders)?;
                set.known = file.known;
                Ok(set)
            }
            _ => bail!(
                "unknown set `{name}`: not sift, svd384, synth768, gauss768, synth1m, digits or a .hdf5 file"
            ),
        }
    }

    /// From two files in any format that `formats::read_dense` reads.
    pub(crate) fn from_files(base: &Path, queries: &Path, folders: &Folders) -> Result<Self> {
        let name = base.file_stem().unwrap_or_default().to_string_lossy();
        let vectors = (formats::read_dense(base)?, formats::read_dense(queries)?);
        Self::new(&name, "given files", vectors, folders)
    }

    /// The same with the nearest neighbours of a file that `formats::read_ids` reads.
    pub(crate) fn with_truth(mut self, path: &Path, metric: Metric) -> Result<Self> {
        let (k, ids) = formats::read_ids(path)?;
        self.known = Some(KnownNeighbors { metric, k, ids });
        Ok(self)
    }

    /// The first rows only, if there are more, and all queries.
    pub(crate) fn first_rows(self, rows_max: usize, folders: &Folders) -> Result<Self> {
        if self.base.len() <= rows_max {
            return Ok(self);
        }
        let name = format!("{}-{rows_max}", self.name);
        let origin = format!("the first of {}", self.origin);
        Self::new(&name, origin, (self.base.truncated(rows_max), self.queries), folders)
    }

    fn synthetic(name: &str, synthetic: &Synthetic, folders: &Folders) -> Result<Self> {
        let key = format!("{name}-1-{}", synthetic.seed);
        let made = cached(folders, &key, || synthetic.generate(QUERIES))?;
        Self::with_files(name, synthetic.to_string(), made)
    }

    /// Writes the vectors into the cache, for other programs.
    fn new(
        name: &str,
        origin: impl Into<String>,
        (base, queries): (Matrix, Matrix),
        folders: &Folders,
    ) -> Result<Self> {
        let key = format!("{name}-{:016x}", fingerprint(&base, &queries));
        Self::with_files(name, origin, cached(folders, &key, || Ok((base, queries)))?)
    }

    fn with_files(name: &str, origin: impl Into<String>, cached: Cached) -> Result<Self> {
        let Cached { base: (base_file, base), queries: (queries_file, queries) } = cached;
        ensure!(
            base.dimension() == queries.dimension(),
            "{name}: vectors of dimension {}, queries of {}",
            base.dimension(),
            queries.dimension()
        );
        let fingerprint = fingerprint(&base, &queries);
        let (name, origin) = (name.to_owned(), origin.into());
        Ok(Self { name, origin, base, queries, known: None, base_file, queries_file, fingerprint })
    }

    /// Such as `sift: 100,000 x 128, SIFT descriptors of photographs`.
    pub(crate) fn description(&self) -> String {
        format!("{}: {} x {}, {}", self.name, self.base.len(), self.base.dimension(), self.origin)
    }
}

/// Vectors and the files they are in.
struct Cached {
    base: (PathBuf, Matrix),
    queries: (PathBuf, Matrix),
}

/// From the cache, or made and put there.
fn cached(folders: &Folders, key: &str, make: impl FnOnce() -> Result<(Matrix, Matrix)>) -> Result<Cached> {
    let [base, queries] =
        ["base", "queries"].map(|what| folders.cache.join("data").join(format!("{key}-{what}.fbin")));
    // Written last: if it is there, both are whole.
    if !queries.exists() {
        eprintln!("making {key}");
        let made = make()?;
        fs::create_dir_all(base.parent().unwrap_or(&base))
            .with_context(|| format!("cannot make {}", folders.cache.display()))?;
        bin::write_fbin(&base, &made.0)?;
        bin::write_fbin(&queries, &made.1)?;
    }
    let read = |path: PathBuf| -> Result<_> { Ok((path.clone(), formats::read_dense(&path)?)) };
    Ok(Cached { base: read(base)?, queries: read(queries)? })
}

fn fingerprint(base: &Matrix, queries: &Matrix) -> u64 {
    let mut hasher = Xxh3::new();
    for x in [base, queries].into_iter().flat_map(Matrix::values) {
        hasher.update(&x.to_le_bytes());
    }
    hasher.digest()
}

/// The 8 x 8 pixels of the bundled data; the last column is the label.
fn digits() -> Result<Matrix> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/demo/digits.csv.gz"));
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(file))?;
    let mut values = vec![];
    for line in text.lines() {
        let row: Vec<f32> = line.split(',').map(str::parse).collect::<Result<_, _>>().context("a digit")?;
        values.extend_from_slice(row.get(..64).context("a digit with fewer than 64 pixels")?);
    }
    Matrix::new(64, values)
}
