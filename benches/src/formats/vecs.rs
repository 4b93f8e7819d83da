//! fvecs, bvecs, ivecs: each row is an i32 with its dimension, then its values.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::words;
use crate::matrix::Matrix;

pub(super) fn read_fvecs(path: &Path) -> Result<Matrix> {
    let (dimension, bytes) = read(path, 4)?;
    Matrix::new(dimension, words(&bytes, f32::from_le_bytes))
}

pub(super) fn read_bvecs(path: &Path) -> Result<Matrix> {
    let (dimension, bytes) = read(path, 1)?;
    Matrix::new(dimension, bytes.into_iter().map(f32::from).collect())
}

/// The number of columns, and all rows.
pub(super) fn read_ivecs(path: &Path) -> Result<(usize, Vec<i32>)> {
    let (columns, bytes) = read(path, 4)?;
    Ok((columns, words(&bytes, i32::from_le_bytes)))
}

/// The dimension of all rows, and their values' bytes.
fn read(path: &Path, bytes_per_value: usize) -> Result<(usize, Vec<u8>)> {
    let bytes = fs::read(path)?;
    let dimension = *bytes.first_chunk::<4>().context("the file has no rows")?;
    let columns = usize::try_from(i32::from_le_bytes(dimension)).context("a negative dimension")?;
    let row_bytes = columns.checked_mul(bytes_per_value).and_then(|bytes| bytes.checked_add(4));
    let rows = bytes.chunks(row_bytes.context("the dimension is absurd")?);
    let mut values = Vec::with_capacity(bytes.len());
    for (i, row) in rows.enumerate() {
        let (head, row) = row.split_first_chunk::<4>().with_context(|| format!("row {i} is cut off"))?;
        ensure!(*head == dimension, "row {i} has another dimension than row 0");
        ensure!(row.len() == columns * bytes_per_value, "row {i} is cut off");
        values.extend_from_slice(row);
    }
    Ok((columns, values))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_follow_their_dimension() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, [2, 0, 0, 0, 5, 6, 2, 0, 0, 0, 7, 8]).unwrap();
        assert_eq!(read_bvecs(&path).unwrap(), Matrix::new(2, vec![5.0, 6.0, 7.0, 8.0]).unwrap());
        fs::write(&path, [2, 0, 0, 0, 5, 6, 2, 0, 0, 0, 7]).unwrap();
        assert_eq!(read_bvecs(&path).unwrap_err().to_string(), "row 1 is cut off");
        fs::write(&path, [2, 0, 0, 0, 5, 6, 1, 0, 0, 0, 7, 8]).unwrap();
        assert!(read_bvecs(&path).unwrap_err().to_string().contains("another dimension"));
        fs::write(&path, [1, 0, 0, 0, 0, 0, 0, 0x3f]).unwrap();
        assert_eq!(read_fvecs(&path).unwrap(), Matrix::new(1, vec![0.5]).unwrap());
        fs::write(&path, [1, 0, 0, 0, 9, 0, 0, 0]).unwrap();
        assert_eq!(read_ivecs(&path).unwrap(), (1, vec![9]));
        fs::write(&path, [255; 8]).unwrap();
        assert!(read_ivecs(&path).is_err());
    }
}
