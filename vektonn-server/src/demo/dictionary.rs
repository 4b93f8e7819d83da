//! A dictionary to be searched by meaning: every definition is a sparse TF-IDF vector, and so is a question.

use anyhow::{Context, Result};
use vektonn_core::{Attribute, DataPoint, Vector};

use super::data;
use super::tf_idf::TfIdf;

/// The bundled dictionary.
pub(super) struct Dictionary {
    entries: Vec<Entry>,
    model: TfIdf,
}

/// One meaning.
struct Entry {
    /// A word and its synonyms, separated by commas.
    words: String,
    part_of_speech: String,
    definition: String,
}

impl Dictionary {
    pub(super) fn read() -> Result<Self> {
        let text = data::dictionary_tsv()?;
        let entries = text
            .lines()
            .enumerate()
            .map(|(row, line)| parse(line).with_context(|| format!("dictionary, line {}", row + 1)))
            .collect::<Result<Vec<Entry>>>()?;
        let model = TfIdf::of(entries.iter().map(|entry| entry.definition.as_str()));
        Ok(Self { entries, model })
    }

    /// The vector of a question; `None` if it has no word that occurs in a definition and means something.
    pub(super) fn vector(&self, question: &str) -> Option<Vector> {
        let pairs = self.model.vector(question);
        let (indices, coordinates): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|(index, coordinate)| (index as i32, coordinate)).unzip();
        (!indices.is_empty()).then(|| Vector::sparse(coordinates, indices))
    }

    /// All meanings that have a vector, as data points.
    pub(super) fn points(&self) -> impl Iterator<Item = DataPoint> {
        (0..).zip(&self.entries).filter_map(|(id, entry)| {
            let attributes = vec![
                Attribute::new("Id", id),
                Attribute::new("Words", entry.words.as_str()),
                Attribute::new("PartOfSpeech", entry.part_of_speech.as_str()),
                Attribute::new("Definition", entry.definition.as_str()),
            ];
            Some(DataPoint { attributes, vector: self.vector(&entry.definition)? })
        })
    }
}

fn parse(line: &str) -> Result<Entry> {
    let mut columns = line.split('\t').map(str::to_owned);
    let mut next = |what| columns.next().with_context(|| format!("no {what}"));
    Ok(Entry {
        words: next("words")?,
        part_of_speech: next("part of speech")?,
        definition: next("definition")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn definitions_have_the_known_shape() {
        let dictionary = Dictionary::read().unwrap();
        assert_eq!(dictionary.entries.len(), 28_604);

        let points: Vec<DataPoint> = dictionary.points().collect();
        assert_eq!(points.len(), 28_604 - 101);
        let non_zeros: usize = points.iter().map(|it| it.vector.coordinates().len()).sum();
        let per_definition = non_zeros as f64 / dictionary.entries.len() as f64;
        assert!((per_definition - 4.314).abs() < 0.001, "{per_definition}");

        let dimensions: std::collections::BTreeSet<i32> = points
            .iter()
            .flat_map(|it| match &it.vector {
                Vector::Sparse { coordinate_indices, .. } => coordinate_indices.clone(),
                Vector::Dense { .. } => panic!("definitions are sparse"),
            })
            .collect();
        assert_eq!((dimensions.len(), dimensions.last()), (17_361, Some(&17_360)));
    }

    #[test]
    fn similar_questions_have_similar_vectors() {
        let dictionary = Dictionary::read().unwrap();
        let cosine = |a: &str, b: &str| -> f64 {
            let (a, b) = (dictionary.model.vector(a), dictionary.model.vector(b));
            a.iter().map(|(i, x)| b.iter().filter(|(j, _)| j == i).map(|(_, y)| x * y).sum::<f64>()).sum()
        };
        let near =
            |a, b, expected: f64| assert!((cosine(a, b) - expected).abs() < 0.0001, "{a}: {}", cosine(a, b));
        near("a young dog", "a young dog", 1.0);
        near(
            "instrument for measuring temperature",
            "measuring instrument for measuring temperature",
            0.9663,
        );
        near("frozen water", "the frozen part of a body of water", 0.8935);
        near("a place where books are kept", "a room where books are kept", 0.7700);
    }
}
