//! Synthetic vectors, the same for the same seed (up to the rounding of the processor's matrix product).

use std::f64::consts::TAU;
use std::fmt;

use anyhow::Result;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use fastrand::Rng;

use crate::matrix::Matrix;

/// Standard deviation of a point around its cluster's centre, whose own is 1.
const WITHIN_CLUSTER: f32 = 0.7;
/// Standard deviation of the noise in each of the dimensions, where the strongest latent direction's is about 1.
const NOISE: f32 = 0.05;

/// A mixture of normal distributions in few latent dimensions, spread linearly over many, plus noise.
///
/// Cluster i has a share of 1 / (i + 1) of the points (Zipf's law), latent direction j a standard deviation of
/// 1 / sqrt(j + 1). Without latent dimensions every coordinate is an independent standard normal number.
pub(super) struct Synthetic {
    pub(super) rows: usize,
    pub(super) dimension: usize,
    pub(super) clusters: usize,
    pub(super) latent: usize,
    pub(super) seed: u64,
}

impl fmt::Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.latent == 0 {
            return write!(f, "independent standard normal coordinates");
        }
        write!(
            f,
            "synthetic: {} normal clusters, sizes by Zipf's law, in {} latent dimensions of falling variance, plus noise",
            self.clusters, self.latent
        )
    }
}

impl Synthetic {
    /// Points and queries of the same distribution.
    pub(super) fn generate(&self, queries: usize) -> Result<(Matrix, Matrix)> {
        let mut random = Normal { random: Rng::with_seed(self.seed), spare: None };
        let rows = self.rows + queries;
        let mut values = if self.latent == 0 {
            random.vector(rows * self.dimension, 1.0)
        } else {
            let mut values = random.vector(rows * self.dimension, NOISE);
            self.add_mixture(&mut random, rows, &mut values);
            values
        };
        let of_queries = values.split_off(self.rows * self.dimension);
        Ok((Matrix::new(self.dimension, values)?, Matrix::new(self.dimension, of_queries)?))
    }

    fn add_mixture(&self, random: &mut Normal, rows: usize, values: &mut [f32]) {
        let (latent, dimension) = (self.latent, self.dimension);
        let mut directions = random.vector(latent * dimension, 1.0);
        for (j, direction) in directions.chunks_mut(dimension).enumerate() {
            direction.iter_mut().for_each(|x| *x /= ((j + 1) as f32).sqrt());
        }
        let centers = random.vector(self.clusters * latent, 1.0);
        let ends: Vec<f64> = (0..self.clusters)
            .scan(0.0, |sum, i| {
                *sum += 1.0 / (i + 1) as f64;
                Some(*sum)
            })
            .collect();
        let mut points = random.vector(rows * latent, WITHIN_CLUSTER);
        for point in points.chunks_mut(latent) {
            let at = random.random.f64() * ends[self.clusters - 1];
            let cluster = ends.partition_point(|&end| end <= at).min(self.clusters - 1);
            let center = &centers[cluster * latent..][..latent];
            point.iter_mut().zip(center).for_each(|(x, center)| *x += center);
        }
        matmul(
            MatMut::from_row_major_slice_mut(values, rows, dimension),
            Accum::Add,
            MatRef::from_row_major_slice(&points, rows, latent),
            MatRef::from_row_major_slice(&directions, latent, dimension),
            1.0,
            Par::Seq,
        );
    }
}

/// Normal random numbers (Box and Muller, 1958), two at a time.
struct Normal {
    random: Rng,
    spare: Option<f64>,
}

impl Normal {
    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // From (0, 1], whose logarithm is finite.
        let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
        let (sin, cos) = (TAU * self.random.f64()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    fn vector(&mut self, len: usize, deviation: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() as f32 * deviation).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_numbers_are_normal() {
        let mut random = Normal { random: Rng::with_seed(1), spare: None };
        let numbers = random.vector(100_000, 1.0);
        let moment = |power: i32| numbers.iter().map(|x| f64::from(*x).powi(power)).sum::<f64>() / 1e5;
        assert!(moment(1).abs() < 0.02 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn clusters_have_falling_sizes_and_few_directions() {
        let synthetic = Synthetic { rows: 2_000, dimension: 40, clusters: 10, latent: 2, seed: 1 };
        let (base, queries) = synthetic.generate(10).unwrap();
        assert_eq!((base.len(), queries.len()), (2_000, 10));
        assert_eq!(synthetic.generate(10).unwrap().0, base, "the same seed, the same vectors");
        // In the two latent directions nearly all of the variance.
        let gram = base.block(0, base.len()).transpose() * base.block(0, base.len());
        let mut variances = gram.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
        variances.reverse();
        let [latent, noise] = [variances[..2].iter().sum::<f32>(), variances[2..].iter().sum()];
        assert!(noise < 0.05 * latent, "{noise} of noise, {latent} in the latent directions");
    }
}
