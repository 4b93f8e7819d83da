//! The files of ann-benchmarks: HDF5 with the data sets `train`, `test`, `neighbors` and `distances`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hdf5_reader::Hdf5File;
use vektonn_index::Metric;

use crate::datasets::KnownNeighbors;
use crate::matrix::Matrix;

/// What is searched, the queries, and their neighbours.
pub(crate) struct AnnBenchmark {
    pub(crate) base: Matrix,
    pub(crate) queries: Matrix,
    /// The attribute `distance`, such as `euclidean` or `angular`.
    pub(crate) distance: String,
    pub(crate) known: Option<KnownNeighbors>,
}

pub(crate) fn read(path: &Path) -> Result<AnnBenchmark> {
    let read = || -> Result<AnnBenchmark> {
        let file = Hdf5File::open(path)?;
        let distance = file.root_group()?.attribute("distance").and_then(|attribute| attribute.read_string());
        let distance = distance.unwrap_or_default();
        Ok(AnnBenchmark {
            base: matrix(&file, "train")?,
            queries: matrix(&file, "test")?,
            known: neighbors(&file, &distance)?,
            distance,
        })
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// None if the file has none, or a distance that is not searched by here.
fn neighbors(file: &Hdf5File, distance: &str) -> Result<Option<KnownNeighbors>> {
    let metric = match distance {
        "euclidean" => Metric::L2,
        "angular" => Metric::Cosine,
        "dot" => Metric::InnerProduct,
        _ => return Ok(None),
    };
    let Ok(data) = file.dataset("neighbors") else { return Ok(None) };
    let &[_, k] = data.shape() else {
        bail!("neighbors has {} dimensions, 2 are needed", data.shape().len());
    };
    let ids = match data.read_array::<i32>() {
        Ok(ids) => ids.into_raw_vec_and_offset().0,
        Err(_) => {
            let ids = data.read_array::<i64>().context("neighbors is neither i32 nor i64")?;
            ids.into_iter().map(i32::try_from).collect::<Result<_, _>>().context("neighbors")?
        }
    };
    Ok(Some(KnownNeighbors { metric, k: usize::try_from(k)?, ids }))
}

fn matrix(file: &Hdf5File, name: &str) -> Result<Matrix> {
    let data = file.dataset(name).with_context(|| format!("the data set {name}"))?;
    let &[_, columns] = data.shape() else {
        bail!("{name} has {} dimensions, 2 are needed", data.shape().len());
    };
    let values = match data.read_array::<f32>() {
        Ok(values) => values.into_raw_vec_and_offset().0,
        Err(_) => {
            let values =
                data.read_array::<f64>().with_context(|| format!("{name} is neither f32 nor f64"))?;
            values.into_iter().map(|x| x as f32).collect()
        }
    };
    Matrix::new(usize::try_from(columns)?, values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// `testdata/README.md` tells how the file was made.
    #[test]
    fn a_file_of_h5py_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tiny.hdf5");
        let file = read(Path::new(path)).unwrap();
        let expected = |rows: usize, seed: f32| {
            Matrix::new(3, (0..rows * 3).map(|i| seed + i as f32 / 4.0).collect()).unwrap()
        };
        assert_eq!(file.base, expected(5, 0.0));
        assert_eq!(file.queries, expected(2, 100.0));
        assert_eq!(file.distance, "euclidean");
        let known = file.known.unwrap();
        assert_eq!((known.metric, known.k, known.ids), (Metric::L2, 2, vec![0; 4]));
        assert!(read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_err());
    }
}
