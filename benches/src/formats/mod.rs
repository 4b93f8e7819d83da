//! The files of the field: dense vectors, sparse vectors, nearest neighbours. All little-endian.

pub(crate) mod bin;
pub(crate) mod csr;
pub(crate) mod hdf5;
mod npy;
mod vecs;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::matrix::Matrix;

/// Reads dense vectors; the file's extension tells the format: fbin, u8bin, fvecs, bvecs or npy.
pub(crate) fn read_dense(path: &Path) -> Result<Matrix> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let read = match extension {
        "fbin" => bin::read_fbin(path),
        "u8bin" => bin::read_u8bin(path),
        "fvecs" => vecs::read_fvecs(path),
        "bvecs" => vecs::read_bvecs(path),
        "npy" => npy::read(path),
        _ => bail!("{}: not one of .fbin, .u8bin, .fvecs, .bvecs, .npy", path.display()),
    };
    read.with_context(|| format!("cannot read {}", path.display()))
}

/// Reads ids, one row for each query: ibin, ivecs, or big-ann's ground truth, bin. Also says how many a row has.
pub(crate) fn read_ids(path: &Path) -> Result<(usize, Vec<i32>)> {
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ivecs") => vecs::read_ivecs(path),
        Some("bin") => bin::read_neighbors(path).map(|lists| (lists.k, lists.ids)),
        _ => bin::read_ibin(path),
    };
    read.with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file aside and renames it, so that it is whole or not there.
fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let whole = || -> Result<()> {
        let partial = path.with_extension("partial");
        let mut file = BufWriter::new(File::create(&partial)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    };
    whole().with_context(|| format!("cannot write {}", path.display()))
}

/// Numbers of 4 bytes.
fn words<T>(bytes: &[u8], from: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks::<4>().0.iter().map(|&word| from(word)).collect()
}
