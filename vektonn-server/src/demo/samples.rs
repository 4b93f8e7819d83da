//! Searches that show what there is.

use std::fmt::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use indicatif::HumanCount;
use vektonn_core::{Attribute, FoundDataPoint, Position, SearchQuery, StoredVector};

use super::ask::QUESTIONS;
use super::*;
use crate::client::{nearest, text_of};

/// Row of a three that is written clearly.
const SAMPLE: usize = 13;
const OTHER_LABEL: i64 = 8;
/// What fits beside the digit itself on 80 columns.
const NEIGHBOURS: usize = 3;

impl Demo {
    /// The digits nearest to one of them.
    pub(super) async fn digits_alike(&self) -> Result<String> {
        let digit = &self.digits[SAMPLE];
        let query = SearchQuery { retrieve_vectors: true, ..nearest(vec![digit.vector()], NEIGHBOURS + 1) };
        // The digit itself is in the index: its own nearest neighbour.
        let found = self.search_one(DIGITS_L2, &query).await?;
        let others: Vec<FoundDataPoint> =
            found.into_iter().filter(|it| text_of(it, "Id") != digit.id.to_string()).collect();
        let title =
            format!("Handwritten digits, 64 pixels each: which look most like this one? ({DIGITS_L2})");
        Ok(format!("{title}\n\n{}", side_by_side(digit, &others)))
    }

    /// The digits of another label nearest to the same one: a search in one split.
    pub(super) async fn digits_of_one_label(&self) -> Result<String> {
        let digit = &self.digits[SAMPLE];
        let split_filter = vec![Attribute::new("Label", OTHER_LABEL)];
        let query =
            SearchQuery { split_filter, retrieve_vectors: true, ..nearest(vec![digit.vector()], NEIGHBOURS) };
        let found = self.search_one(DIGITS_BY_LABEL, &query).await?;
        let title = format!(
            "And among the {OTHER_LABEL}s only? ({DIGITS_BY_LABEL}, the split Label = {OTHER_LABEL})"
        );
        Ok(format!("{title}\n\n{}", side_by_side(digit, &found)))
    }

    /// How often the nearest other digit has the same label, for all digits in one request.
    pub(super) async fn all_digits_at_once(&self) -> Result<String> {
        let query = nearest(self.digits.iter().map(Digit::vector).collect(), 2);
        let started = Instant::now();
        let results = self.search(DIGITS_L2, &query).await?;
        let milliseconds = started.elapsed().as_millis();
        let same_label = |(digit, found): &(&Digit, &Vec<FoundDataPoint>)| {
            let other = found.iter().find(|it| text_of(it, "Id") != digit.id.to_string());
            other.is_some_and(|it| text_of(it, "Label") == digit.label.to_string())
        };
        let right = self.digits.iter().zip(&results).filter(same_label).count();
        let (all, percent) = (self.digits.len(), 100.0 * right as f64 / self.digits.len() as f64);
        Ok(format!(
            "All {} of them searched for in one request: {milliseconds} ms. The nearest other digit has the same label {percent:.1} % of the time.",
            HumanCount(all as u64)
        ))
    }

    /// Answers to some questions.
    pub(super) async fn dictionary_answers(&self) -> Result<String> {
        let mut text = format!("A dictionary in reverse: which word has this meaning? ({DICTIONARY_COSINE})");
        for question in QUESTIONS {
            write!(text, "\n\n{}", self.answer(question).await?)?;
        }
        Ok(text)
    }

    /// The best answer to the last question by the other two metrics.
    pub(super) async fn other_dictionary_indices(&self) -> Result<String> {
        let question = QUESTIONS[QUESTIONS.len() - 1];
        let vector = self.dictionary.vector(question).context("the question has no known word")?;
        let query = nearest(vec![vector], 1);
        let jaccard = self.search_one(DICTIONARY_JACCARD, &query).await?;
        let product = self.search_one(DICTIONARY_IP, &query).await?;
        let (jaccard, product) =
            (jaccard.first().context("no answer")?, product.first().context("no answer")?);
        Ok(format!(
            "By words in common ({DICTIONARY_JACCARD}): {} ({:.2}). By inner product ({DICTIONARY_IP}): {} ({:.2}).",
            text_of(jaccard, "Words"),
            1.0 - jaccard.distance,
            text_of(product, "Words"),
            product.distance,
        ))
    }

    /// The answer to a query with one vector.
    pub(super) async fn search_one(&self, index: &str, query: &SearchQuery) -> Result<Vec<FoundDataPoint>> {
        let results = self.search(index, query).await?;
        Ok(results.into_iter().flatten().collect())
    }

    async fn search(&self, index: &str, query: &SearchQuery) -> Result<Vec<Vec<FoundDataPoint>>> {
        Ok(self.client.search((index, VERSION), query, &Position::new()).await?)
    }
}

/// Drawings of a digit and its neighbours with their labels.
fn side_by_side(digit: &Digit, neighbours: &[FoundDataPoint]) -> String {
    let mut captions = vec![format!("a {}", digit.label)];
    let mut drawings = vec![digits::draw(digit.pixels.iter().copied())];
    for neighbour in neighbours.iter().take(NEIGHBOURS) {
        captions.push(format!("{} at {}", text_of(neighbour, "Label"), neighbour.distance));
        if let Some(StoredVector::Dense(vector)) = &neighbour.vector {
            drawings.push(digits::draw(vector.as_slice().iter().map(|&ink| f64::from(ink))));
        }
    }
    let mut text = String::new();
    let mut add = |columns: Vec<&str>| {
        let padded: String = columns.iter().map(|it| format!("  {it:<18}")).collect();
        text.push_str(padded.trim_end());
        text.push('\n');
    };
    add(captions.iter().map(String::as_str).collect());
    for line in 0..drawings[0].len() {
        add(drawings.iter().map(|it| it.get(line).map_or("", String::as_str)).collect());
    }
    text.truncate(text.trim_end().len());
    text
}
