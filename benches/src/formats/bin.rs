//! fbin, u8bin, ibin: u32 rows, u32 columns, then rows x columns values. And big-ann's ground truth: u32 queries, u32 k,
//! i32 ids, f32 distances.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{words, write_whole};
use crate::matrix::Matrix;

/// Ids and distances of each query's nearest neighbours, `k` of each.
#[derive(Debug, PartialEq)]
pub(crate) struct NeighborLists {
    pub(crate) k: usize,
    pub(crate) ids: Vec<i32>,
    pub(crate) distances: Vec<f32>,
}

pub(super) fn read_fbin(path: &Path) -> Result<Matrix> {
    let (columns, bytes) = read(path, 4)?;
    Matrix::new(columns, words(&bytes[HEADER_BYTES..], f32::from_le_bytes))
}

pub(super) fn read_u8bin(path: &Path) -> Result<Matrix> {
    let (columns, bytes) = read(path, 1)?;
    Matrix::new(columns, bytes[HEADER_BYTES..].iter().copied().map(f32::from).collect())
}

/// The number of columns, and all rows.
pub(super) fn read_ibin(path: &Path) -> Result<(usize, Vec<i32>)> {
    let (columns, bytes) = read(path, 4)?;
    Ok((columns, words(&bytes[HEADER_BYTES..], i32::from_le_bytes)))
}

pub(crate) fn read_neighbors(path: &Path) -> Result<NeighborLists> {
    let (k, bytes) = read(path, 8).with_context(|| format!("cannot read {}", path.display()))?;
    let (ids, distances) = bytes[HEADER_BYTES..].split_at((bytes.len() - HEADER_BYTES) / 2);
    Ok(NeighborLists {
        k,
        ids: words(ids, i32::from_le_bytes),
        distances: words(distances, f32::from_le_bytes),
    })
}

pub(crate) fn write_fbin(path: &Path, matrix: &Matrix) -> Result<()> {
    let words = matrix.values().iter().map(|x| x.to_le_bytes());
    write(path, matrix.len(), matrix.dimension(), words)
}

pub(crate) fn write_neighbors(path: &Path, lists: &NeighborLists) -> Result<()> {
    let ids = lists.ids.iter().map(|id| id.to_le_bytes());
    let distances = lists.distances.iter().map(|distance| distance.to_le_bytes());
    write(path, lists.ids.len() / lists.k, lists.k, ids.chain(distances))
}

const HEADER_BYTES: usize = 8;

/// The number of columns, and the file's bytes, as many as its header promises.
fn read(path: &Path, bytes_per_value: usize) -> Result<(usize, Vec<u8>)> {
    let mut bytes = fs::read(path)?;
    let (rows, columns) = header(&bytes).context("the file has no header")?;
    let expected = rows.checked_mul(columns).and_then(|values| values.checked_mul(bytes_per_value));
    let expected =
        expected.and_then(|bytes| bytes.checked_add(HEADER_BYTES)).context("the header is absurd")?;
    ensure!(bytes.len() >= expected, "the header promises {expected} bytes, the file has {}", bytes.len());
    bytes.truncate(expected);
    Ok((columns, bytes))
}

/// Rows and columns.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let ([rows, columns], _) = bytes.split_first_chunk::<HEADER_BYTES>()?.0.as_chunks::<4>() else {
        return None;
    };
    Some((u32::from_le_bytes(*rows) as usize, u32::from_le_bytes(*columns) as usize))
}

fn write(path: &Path, rows: usize, columns: usize, words: impl Iterator<Item = [u8; 4]>) -> Result<()> {
    let header = [u32::try_from(rows)?, u32::try_from(columns)?].map(u32::to_le_bytes);
    write_whole(path, |file| {
        Ok(header.into_iter().chain(words).try_for_each(|word| file.write_all(&word))?)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.fbin");
        let matrix = Matrix::new(2, vec![0.5, -1.0, 3.0, f32::MIN_POSITIVE]).unwrap();
        write_fbin(&path, &matrix).unwrap();
        assert_eq!(read_fbin(&path).unwrap(), matrix);
        assert_eq!(&fs::read(&path).unwrap()[..12], &[2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x3f]);

        let path = dir.path().join("a.bin");
        let lists = NeighborLists { k: 1, ids: vec![7, 8], distances: vec![0.25, 1.0] };
        write_neighbors(&path, &lists).unwrap();
        assert_eq!(read_neighbors(&path).unwrap(), lists);
    }

    #[test]
    fn bytes_are_coordinates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.u8bin");
        fs::write(&path, [1, 0, 0, 0, 2, 0, 0, 0, 255, 7]).unwrap();
        assert_eq!(read_u8bin(&path).unwrap(), Matrix::new(2, vec![255.0, 7.0]).unwrap());
        fs::write(&path, [2, 0, 0, 0, 2, 0, 0, 0, 255, 7]).unwrap();
        assert!(read_u8bin(&path).unwrap_err().to_string().contains("12 bytes"));
        fs::write(&path, [255; 9]).unwrap();
        assert!(read_u8bin(&path).is_err());
        fs::write(&path, [1, 0]).unwrap();
        assert!(read_u8bin(&path).is_err());
    }
}
