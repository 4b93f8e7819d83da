//! The points that benchmarks upload, in all their forms: JSON, changes, queries.

use std::io::Write;
use std::ops::Range;

use anyhow::Result;
use vektonn_core::{Attribute, Change, DataPoint, SearchQuery, Vector};

use crate::matrix::Matrix;

/// Dense f32 vectors. In all forms the row is the point's `Id`, unless another first id is given.
pub(crate) struct Points(Matrix);

impl Points {
    /// Coordinates evenly distributed from -1 to 1; the same for the same seed.
    pub(crate) fn random(count: usize, dimension: usize, seed: u64) -> Result<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let coordinates = (0..count * dimension).map(|_| random.f32() * 2.0 - 1.0).collect();
        Ok(Self(Matrix::new(dimension, coordinates)?))
    }

    pub(crate) fn dimension(&self) -> usize {
        self.0.dimension()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The rows in batches, the last of which may be smaller.
    pub(crate) fn batches(&self, points_max: usize) -> impl Iterator<Item = Range<usize>> {
        let count = self.len();
        (0..count).step_by(points_max).map(move |start| start..count.min(start + points_max))
    }

    /// An upload's body, as compact JSON; each coordinate in the fewest digits that give its f32 back.
    pub(crate) fn upload_body(&self, rows: Range<usize>, first_id: i64) -> Vec<u8> {
        let mut body = b"[".to_vec();
        for row in rows {
            let id = first_id + row as i64;
            let comma = if body.len() > 1 { "," } else { "" };
            put(
                &mut body,
                format_args!("{comma}{{\"attributes\":[{{\"key\":\"Id\",\"value\":{{\"int64\":{id}}}}},"),
            );
            put(
                &mut body,
                format_args!("{{\"key\":\"Label\",\"value\":{{\"string\":\"{}\"}}}}],", label(id)),
            );
            put(&mut body, format_args!("\"vector\":"));
            self.put_vector(&mut body, row);
            body.push(b'}');
        }
        body.push(b']');
        body
    }

    /// The body of a search for the `k` nearest points of a row, without their vectors.
    pub(crate) fn search_body(&self, row: usize, k: usize) -> Vec<u8> {
        let mut body = b"{\"queryVectors\":[".to_vec();
        self.put_vector(&mut body, row);
        put(&mut body, format_args!("],\"k\":{k},\"retrieveVectors\":false}}"));
        body
    }

    fn put_vector(&self, body: &mut Vec<u8>, row: usize) {
        put(body, format_args!("{{\"isSparse\":false,\"coordinates\":["));
        for (i, x) in self.0.row(row).iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            put(body, format_args!("{comma}{x}"));
        }
        put(body, format_args!("]}}"));
    }

    /// The same search as a library takes it.
    pub(crate) fn search_query(&self, row: usize, k: usize) -> SearchQuery {
        SearchQuery {
            split_filter: vec![],
            query_vectors: vec![self.vector(row)],
            k,
            ef_search: None,
            approximation: None,
            retrieve_vectors: false,
        }
    }

    /// The upload of a row as a library takes it.
    pub(crate) fn change(&self, row: usize) -> Change {
        Change::Upsert(DataPoint { attributes: attributes(row as i64), vector: self.vector(row) })
    }

    /// Gives a change another id, and the label that goes with it.
    pub(crate) fn rename(change: &mut Change, id: i64) {
        if let Change::Upsert(point) = change {
            point.attributes = attributes(id);
        }
    }

    /// Coordinates in f64 as JSON gives them: the nearest to the decimal digits, not the widened f32.
    fn vector(&self, row: usize) -> Vector {
        let coordinates = self.0.row(row).iter().map(|x| x.to_string().parse().unwrap_or(f64::NAN));
        Vector::dense(coordinates.collect::<Vec<f64>>())
    }

    /// Digits of a coordinate in JSON, on average, without sign, point and leading zeros.
    pub(crate) fn mean_digits(&self) -> f64 {
        let digits = |x: &f32| x.to_string().trim_start_matches(['-', '0', '.']).replace('.', "").len();
        self.0.values().iter().map(digits).sum::<usize>() as f64 / self.0.values().len() as f64
    }
}

fn attributes(id: i64) -> Vec<Attribute> {
    vec![Attribute::new("Id", id), Attribute::new("Label", label(id))]
}

fn label(id: i64) -> String {
    format!("point {id}")
}

impl From<Matrix> for Points {
    fn from(rows: Matrix) -> Self {
        Self(rows)
    }
}

/// Writing to memory cannot fail.
fn put(body: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = body.write_fmt(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn bodies_are_json() {
        let points = Points(Matrix::new(2, vec![0.5, -1.0, 0.25, 3.0]).unwrap());
        let body: serde_json::Value = serde_json::from_slice(&points.upload_body(0..2, 10)).unwrap();
        assert_eq!(body[1]["attributes"][0]["value"]["int64"], 11);
        assert_eq!(body[1]["vector"]["coordinates"], serde_json::json!([0.25, 3]));
        let body: serde_json::Value = serde_json::from_slice(&points.search_body(0, 10)).unwrap();
        assert_eq!(body["queryVectors"][0]["coordinates"], serde_json::json!([0.5, -1]));
        assert_eq!(points.batches(1).collect::<Vec<_>>(), [0..1, 1..2]);
        assert_eq!(points.mean_digits(), 1.25);
    }
}
