//! Handwritten digits as dense vectors: one coordinate per pixel.

use anyhow::{Context, Result, ensure};
use vektonn_core::{Attribute, DataPoint, Vector};

use super::data;

/// Pixels along one side of a digit.
const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;
const INK_MAX: f64 = 16.0;
const SHADES: &[u8] = b" .:-=+*#%@";

/// One handwritten digit.
#[derive(Clone, Debug)]
pub(super) struct Digit {
    /// Row in the data set, from 0.
    pub(super) id: i64,
    /// What was meant: 0 to 9.
    pub(super) label: i64,
    /// Row by row, from 0 (white) to 16 (black).
    pub(super) pixels: Vec<f64>,
}

impl Digit {
    pub(super) fn vector(&self) -> Vector {
        Vector::dense(self.pixels.clone())
    }

    pub(super) fn point(&self) -> DataPoint {
        let attributes = vec![Attribute::new("Id", self.id), Attribute::new("Label", self.label)];
        DataPoint { attributes, vector: self.vector() }
    }
}

/// All bundled digits, by id.
pub(super) fn read() -> Result<Vec<Digit>> {
    data::digits_csv()?.lines().enumerate().map(|(row, line)| parse(row, line)).collect()
}

fn parse(row: usize, line: &str) -> Result<Digit> {
    let mut pixels = line
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<f64>, _>>()
        .with_context(|| format!("digits, line {}", row + 1))?;
    ensure!(pixels.len() == PIXELS + 1, "digits, line {}: {} columns", row + 1, pixels.len());
    let label = pixels.pop().unwrap_or_default() as i64;
    Ok(Digit { id: row as i64, label, pixels })
}

/// A digit as text: 8 lines of 16 characters, for characters are twice as high as wide.
pub(super) fn draw(pixels: impl IntoIterator<Item = f64>) -> Vec<String> {
    let shade = |ink: f64| {
        let darkness = (ink / INK_MAX).clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
        char::from(SHADES[darkness.round() as usize])
    };
    let shades: Vec<char> = pixels.into_iter().flat_map(|ink| [shade(ink); 2]).collect();
    shades.chunks(2 * SIDE).map(|row| row.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_digits_are_read() {
        let digits = read().unwrap();
        assert_eq!(digits.len(), 1797);
        assert!(digits.iter().all(|it| it.pixels.len() == 64 && (0..=9).contains(&it.label)));
        assert!(digits.iter().flat_map(|it| &it.pixels).all(|ink| (0.0..=INK_MAX).contains(ink)));
        let labels: Vec<i64> = digits.iter().take(10).map(|it| it.label).collect();
        assert_eq!(labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_digit_is_drawn_dark_where_the_ink_is() {
        let lines = draw(read().unwrap()[0].pixels.iter().copied());
        assert_eq!(lines.len(), 8);
        assert_eq!(lines[0], "    --##++..    ");
        assert!(lines.iter().all(|line| line.chars().count() == 16));
    }
}
