//! Texts as sparse vectors: which words they use, weighed by how rare those are (sublinear TF-IDF).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::data;

/// The words that some texts use, and how rare each of them is.
pub(super) struct TfIdf {
    /// Word -> dimension, in alphabetical order.
    dimensions: HashMap<String, u32>,
    /// Dimension -> weight of a word that occurs once: `1 + ln((1 + texts) / (1 + texts with the word))`.
    weights: Vec<f64>,
    stop_words: HashSet<&'static str>,
}

impl TfIdf {
    /// Learns the words of some texts.
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let stop_words: HashSet<&str> = data::STOP_WORDS.lines().collect();
        let mut texts_with: BTreeMap<String, u32> = BTreeMap::new();
        let mut text_count = 0;
        for text in texts {
            text_count += 1;
            let text = text.to_lowercase();
            for word in words(&text, &stop_words).collect::<BTreeSet<_>>() {
                *texts_with.entry(word.to_owned()).or_default() += 1;
            }
        }
        let weight = |with: &u32| 1.0 + (f64::from(1 + text_count) / f64::from(1 + with)).ln();
        let weights = texts_with.values().map(weight).collect();
        Self { dimensions: texts_with.into_keys().zip(0..).collect(), weights, stop_words }
    }

    /// The vector of a text as pairs (dimension, coordinate), of length 1; empty if no known word is in it.
    pub(super) fn vector(&self, text: &str) -> Vec<(u32, f64)> {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for word in words(&text.to_lowercase(), &self.stop_words) {
            if let Some(&dimension) = self.dimensions.get(word) {
                *counts.entry(dimension).or_default() += 1.0;
            }
        }
        let coordinate = |(dimension, count): (u32, f64)| {
            (dimension, (1.0 + count.ln()) * self.weights[dimension as usize])
        };
        let mut vector: Vec<(u32, f64)> = counts.into_iter().map(coordinate).collect();
        let length = vector.iter().map(|(_, it)| it * it).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|(_, it)| *it /= length);
        vector
    }
}

/// The words of a lower-case text: runs of two or more letters `a` to `z`, without stop words.
fn words<'a>(text: &'a str, stop_words: &HashSet<&str>) -> impl Iterator<Item = &'a str> {
    let runs = text.split(|it: char| !it.is_ascii_lowercase()).filter(|run| run.len() >= 2);
    runs.filter(|word| !stop_words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_texts() -> TfIdf {
        TfIdf::of(["a red rose", "the Rose-garden, 2 roses"].into_iter())
    }

    #[test]
    fn words_are_runs_of_letters_without_stop_words() {
        let model = two_texts();
        let mut words: Vec<_> =
            model.dimensions.iter().map(|(word, dimension)| (*dimension, word.as_str())).collect();
        words.sort_unstable();
        assert_eq!(words, [(0, "garden"), (1, "red"), (2, "rose"), (3, "roses")]);
    }

    #[test]
    fn rare_and_repeated_words_weigh_more() {
        let vector = two_texts().vector("rose red, red ROSE red nonsense");
        let (red, rose) = ((1.0 + 3f64.ln()) * (1.0 + 1.5f64.ln()), 1.0 + 2f64.ln());
        let length = red.hypot(rose);
        assert_eq!(vector.len(), 2);
        assert!((vector[0].1 - red / length).abs() < 1e-12 && vector[0].0 == 1);
        assert!((vector[1].1 - rose / length).abs() < 1e-12 && vector[1].0 == 2);
    }

    #[test]
    fn a_text_without_known_words_has_no_coordinates() {
        assert_eq!(two_texts().vector("the 1 xyzzy"), []);
        assert_eq!(two_texts().vector(""), []);
    }
}
