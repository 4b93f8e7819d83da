//! Sparse vectors: real text, and skewed synthetic ones.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use vektonn_core::SparseVector;
use xxhash_rust::xxh3::Xxh3;

use super::Folders;
use crate::formats::csr::{self, SparseRows};

/// Terms of a topic: so many times as many as a point has.
const TOPIC_TERMS: usize = 8;
/// Points per topic.
const TOPIC_POINTS: usize = 100;
/// The first term's rank, so that no term is in nearly all points (Mandelbrot's law).
const RANK_OFFSET: f64 = 10.0;

/// Sparse vectors and queries.
pub(crate) struct SparseSet {
    pub(crate) name: String,
    pub(crate) origin: String,
    pub(crate) base: SparseRows,
    pub(crate) queries: SparseRows,
    /// The same as files for other programs.
    pub(crate) base_file: PathBuf,
    pub(crate) queries_file: PathBuf,
    pub(crate) fingerprint: u64,
}

impl SparseSet {
    /// `text`, or `skew12`, `skew30`, `skew120` with so many non-zeros per point; `queries_max` queries at most.
    pub(crate) fn load(name: &str, rows: usize, queries_max: usize, folders: &Folders) -> Result<Self> {
        let (dimension, non_zeros) = match name {
            "text" => {
                let [base, queries] = ["text-base.csr", "text-query.csr"].map(|file| folders.data.join(file));
                let origin = "TF-IDF of package descriptions, of length 1";
                let made = (csr::read(&base)?, csr::read(&queries)?);
                return Self::with_files(name, origin.to_owned(), made, base, queries_max, folders);
            }
            "skew12" => (1_000_000, 12),
            "skew30" => (100_000, 30),
            "skew120" => (30_000, 120),
            _ => bail!("unknown set `{name}`: not text, skew12, skew30 or skew120"),
        };
        let skewed = Skewed { rows, dimension, non_zeros, seed: 1 };
        let file = |what: &str| folders.cache.join("data").join(format!("{name}-1-{rows}-{what}.csr"));
        let [base, queries] = ["base", "queries"].map(file);
        if !queries.exists() {
            eprintln!("making {name}, {rows} rows");
            let (made, of_queries) = skewed.generate(1_000)?;
            fs::create_dir_all(folders.cache.join("data")).context("cannot make the cache")?;
            csr::write(&base, &made)?;
            // Written last: if it is there, both are whole.
            csr::write(&queries, &of_queries)?;
        }
        let origin = format!(
            "synthetic: {non_zeros} terms of {dimension} by Zipf's law, half of them from the point's topic of {TOPIC_POINTS} \
             points, log-normal weights times the logarithm of rarity"
        );
        Self::with_files(name, origin, (csr::read(&base)?, csr::read(&queries)?), base, queries_max, folders)
    }

    fn with_files(
        name: &str,
        origin: String,
        (base, queries): (SparseRows, SparseRows),
        base_file: PathBuf,
        queries_max: usize,
        folders: &Folders,
    ) -> Result<Self> {
        ensure!(
            base.cols() == queries.cols(),
            "{name}: {} columns, queries of {}",
            base.cols(),
            queries.cols()
        );
        ensure!(
            base.rows() > 0 && queries.rows() > 0,
            "{name}: {} rows and {} queries, where at least one of each is needed",
            base.rows(),
            queries.rows()
        );
        let queries = queries.slice_outer(0..queries.rows().min(queries_max)).to_owned();
        let fingerprint = fingerprint(&base, &queries);
        // Only as many queries as are asked for, for the peers too.
        let queries_file = folders.cache.join("data").join(format!("{name}-{fingerprint:016x}-queries.csr"));
        if !queries_file.exists() {
            fs::create_dir_all(folders.cache.join("data")).context("cannot make the cache")?;
            csr::write(&queries_file, &queries)?;
        }
        Ok(Self { name: name.to_owned(), origin, base, queries, base_file, queries_file, fingerprint })
    }

    /// Such as `text: 60,753 x 39,980, 42 non-zeros each, TF-IDF ...`.
    pub(crate) fn description(&self) -> String {
        let mean = self.base.nnz() as f64 / self.base.rows() as f64;
        let (rows, columns) = self.base.shape();
        format!(
            "{}: {rows} x {columns}, {mean:.1} non-zeros each, {} queries, {}",
            self.name,
            self.queries.rows(),
            self.origin
        )
    }
}

/// A row as the index takes it.
pub(crate) fn row(rows: &SparseRows, row: usize) -> Result<SparseVector> {
    let view = rows.outer_view(row).with_context(|| format!("no row {row}"))?;
    Ok(SparseVector::new(view.indices(), view.data(), rows.cols())?)
}

fn fingerprint(base: &SparseRows, queries: &SparseRows) -> u64 {
    let mut hasher = Xxh3::new();
    for rows in [base, queries] {
        rows.indices().iter().for_each(|index| hasher.update(&index.to_le_bytes()));
        rows.data().iter().for_each(|value| hasher.update(&value.to_le_bytes()));
    }
    hasher.digest()
}

/// Points whose terms follow Zipf's law, in topics.
struct Skewed {
    rows: usize,
    dimension: usize,
    non_zeros: usize,
    seed: u64,
}

impl Skewed {
    fn generate(&self, queries: usize) -> Result<(SparseRows, SparseRows)> {
        let mut random = Rng::with_seed(self.seed);
        let ends = zipf_ends(self.dimension);
        let topic_ends = zipf_ends(self.non_zeros * TOPIC_TERMS);
        let topics: Vec<Vec<u32>> = (0..self.rows.div_ceil(TOPIC_POINTS))
            .map(|_| (0..self.non_zeros * TOPIC_TERMS).map(|_| draw(&mut random, &ends) as u32).collect())
            .collect();
        let mut rows = |count: usize| -> Result<SparseRows> {
            let (mut starts, mut indices, mut values) = (vec![0], vec![], vec![]);
            for _ in 0..count {
                let topic = &topics[random.usize(..topics.len())];
                let mut terms: Vec<u32> = (0..self.non_zeros)
                    .map(|i| {
                        if i % 2 == 0 {
                            topic[draw(&mut random, &topic_ends)]
                        } else {
                            draw(&mut random, &ends) as u32
                        }
                    })
                    .collect();
                terms.sort_unstable();
                terms.dedup();
                for term in terms {
                    indices.push(term);
                    values.push(weight(&mut random, term, self.dimension));
                }
                starts.push(indices.len());
            }
            let made = SparseRows::try_new((count, self.dimension), starts, indices, values);
            made.map_err(|(.., error)| anyhow::anyhow!("{error}"))
        };
        Ok((rows(self.rows)?, rows(queries)?))
    }
}

/// Where each rank's share of the probability ends.
fn zipf_ends(ranks: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut end = |rank: usize| {
        sum += 1.0 / (rank as f64 + RANK_OFFSET);
        sum
    };
    (0..ranks).map(&mut end).collect()
}

fn draw(random: &mut Rng, ends: &[f64]) -> usize {
    let at = random.f64() * ends.last().copied().unwrap_or_default();
    ends.partition_point(|&end| end <= at).min(ends.len() - 1)
}

/// Log-normal, times the logarithm of how rare the term is.
fn weight(random: &mut Rng, term: u32, dimension: usize) -> f32 {
    // The sum of twelve even numbers is nearly normal, with deviation 1.
    let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    let rarity = 1.0 + (f64::from(term) + RANK_OFFSET).ln() / (dimension as f64).ln();
    ((0.5 * normal).exp() * rarity) as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn skewed_rows_are_skewed_and_the_same_again() {
        let skewed = Skewed { rows: 3_000, dimension: 1_000, non_zeros: 20, seed: 1 };
        let (base, queries) = skewed.generate(7).unwrap();
        assert_eq!((base.shape(), queries.rows()), ((3_000, 1_000), 7));
        assert_eq!(skewed.generate(7).unwrap().0, base);
        let mean = base.nnz() as f64 / 3_000.0;
        assert!((15.0..=20.0).contains(&mean), "{mean}");
        let count = |term: u32| base.indices().iter().filter(|&&index| index == term).count();
        assert!(count(0) > 5 * count(500), "{} and {}", count(0), count(500));
        assert!(base.data().iter().all(|&value| value > 0.0 && value.is_finite()));
    }

    #[test]
    fn a_set_without_rows_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders { data: dir.path().into(), cache: dir.path().join("cache") };
        let write = |what: &str, rows: usize| {
            let rows = SparseRows::new((rows, 2), vec![0; rows + 1], vec![], vec![]);
            csr::write(&dir.path().join(format!("text-{what}.csr")), &rows).unwrap();
        };
        for (rows, queries) in [(0, 1), (1, 0)] {
            write("base", rows);
            write("query", queries);
            let error = SparseSet::load("text", 0, 10, &folders).err().unwrap().to_string();
            assert!(error.starts_with(&format!("text: {rows} rows and {queries} queries")), "{error}");
        }
        write("query", 1);
        assert!(SparseSet::load("text", 0, 10, &folders).is_ok());
    }
}
