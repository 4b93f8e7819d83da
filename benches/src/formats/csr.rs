//! big-ann's sparse vectors: i64 rows, columns, non-zeros; i64 starts of the rows and the end; i32 column indices; f32 values.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sprs::CsMatI;

use super::{words, write_whole};

/// Sparse rows.
pub(crate) type SparseRows = CsMatI<f32, u32, usize>;

pub(crate) fn read(path: &Path) -> Result<SparseRows> {
    parse(&fs::read(path)?).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn write(path: &Path, rows: &SparseRows) -> Result<()> {
    let header = [rows.rows(), rows.cols(), rows.nnz()];
    let starts = rows.proper_indptr();
    write_whole(path, |file| {
        let mut numbers = header.iter().chain(starts.iter());
        numbers.try_for_each(|&number| file.write_all(&(number as i64).to_le_bytes()))?;
        rows.indices().iter().try_for_each(|index| file.write_all(&index.to_le_bytes()))?;
        Ok(rows.data().iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))?)
    })
}

fn parse(bytes: &[u8]) -> Result<SparseRows> {
    let (header, rest) = bytes.split_at_checked(24).context("the file has no header")?;
    let numbers = |bytes: &[u8]| -> Result<Vec<usize>> {
        let numbers = bytes.as_chunks::<8>().0.iter().map(|&number| i64::from_le_bytes(number));
        numbers.map(|number| Ok(usize::try_from(number)?)).collect()
    };
    let [rows, columns, non_zeros] = numbers(header)?[..] else { unreachable!("24 bytes are three numbers") };
    let starts_bytes =
        rows.checked_add(1).and_then(|rows| rows.checked_mul(8)).context("the header is absurd")?;
    let values_bytes = non_zeros.checked_mul(4).context("the header is absurd")?;
    let (starts, rest) = rest.split_at_checked(starts_bytes).context("the file ends in the rows' starts")?;
    let (indices, rest) = rest.split_at_checked(values_bytes).context("the file ends in the indices")?;
    ensure!(rest.len() >= values_bytes, "the file ends in the values");
    let indices = words(indices, u32::from_le_bytes);
    let values = words(&rest[..values_bytes], f32::from_le_bytes);
    let starts = numbers(starts)?;
    ensure!(
        starts.is_sorted() && (starts[0], starts[rows]) == (0, non_zeros),
        "the rows' starts do not ascend from 0 to {non_zeros}"
    );
    let rows = CsMatI::new_from_unsorted((rows, columns), starts, indices, values);
    rows.map_err(|(.., error)| anyhow::anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn file(numbers: &[i64], indices: &[i32], values: &[f32]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        let indices = indices.iter().flat_map(|index| index.to_le_bytes());
        numbers.chain(indices).chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
    }

    #[test]
    fn rows_are_read_and_sorted() {
        let rows = parse(&file(&[2, 5, 3, 0, 2, 3], &[4, 1, 0], &[0.5, 2.0, 1.0])).unwrap();
        assert_eq!(rows.shape(), (2, 5));
        let row = rows.outer_view(0).unwrap();
        assert_eq!((row.indices(), row.data()), (&[1, 4][..], &[2.0, 0.5][..]));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csr");
        let rows = parse(&file(&[2, 5, 3, 0, 2, 3], &[4, 1, 0], &[0.5, 2.0, 1.0])).unwrap();
        write(&path, &rows).unwrap();
        assert_eq!(read(&path).unwrap(), rows);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        let last: SparseRows = rows.slice_outer(1..2).to_owned();
        write(&path, &last).unwrap();
        assert_eq!(read(&path).unwrap().proper_indptr()[..], [0, 1]);
    }

    #[test]
    fn a_file_that_cannot_be_written_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csr");
        fs::write(&path, "what was there").unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"a part of it")?;
            anyhow::bail!("the disk is full")
        });
        let error = format!("{:#}", failed.unwrap_err());
        assert!(error.contains("rows.csr: the disk is full"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "what was there");
    }

    #[test]
    fn broken_files_are_refused() {
        let whole = file(&[2, 5, 3, 0, 2, 3], &[4, 1, 0], &[0.5, 2.0, 1.0]);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
        for numbers in [[2, 4, 3, 0, 2, 3], [2, 5, 3, 0, 2, 2], [2, 5, 3, 2, 0, 3], [-1, 5, 3, 0, 2, 3]] {
            assert!(parse(&file(&numbers, &[4, 1, 0], &[0.5, 2.0, 1.0])).is_err(), "{numbers:?}");
        }
    }
}
