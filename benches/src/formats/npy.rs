//! NumPy's npy: two-dimensional arrays of f32, f64 or u8, in C order.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use npyz::{DType, NpyFile, Order};

use crate::matrix::Matrix;

pub(super) fn read(path: &Path) -> Result<Matrix> {
    let file = NpyFile::new(BufReader::new(File::open(path)?)).context("not an npy file")?;
    let &[_, columns] = file.shape() else {
        bail!("the array has {} dimensions, 2 are needed", file.shape().len());
    };
    if file.order() != Order::C {
        bail!("the array is in Fortran order");
    }
    let values = match file.dtype() {
        DType::Plain(kind) => match kind.to_string().as_str() {
            "<f4" => file.into_vec::<f32>()?,
            "<f8" => file.into_vec::<f64>()?.into_iter().map(|x| x as f32).collect(),
            "|u1" => file.into_vec::<u8>()?.into_iter().map(f32::from).collect(),
            kind => bail!("values of type {kind} are not read: f4, f8 and u1 are"),
        },
        _ => bail!("the array has records"),
    };
    Matrix::new(usize::try_from(columns)?, values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    #[test]
    fn arrays_of_f32_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut file = File::create(&path).unwrap();
        let header = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }");
        file.write_all(b"\x93NUMPY\x01\x00\x76\x00").unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(&[0, 0, 0, 0x3f, 0, 0, 0x80, 0x3f]).unwrap();
        drop(file);
        assert_eq!(read(&path).unwrap(), Matrix::new(1, vec![0.5, 1.0]).unwrap());
        std::fs::write(&path, b"no array").unwrap();
        assert!(read(&path).is_err());
    }
}
