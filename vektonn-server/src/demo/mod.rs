//! The demo: a server on bundled real data, some searches to look at, and a dictionary to be asked.

mod ask;
mod data;
mod dictionary;
mod digits;
mod load;
mod samples;
mod tf_idf;

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Result;

use crate::cli::output::print;
use crate::client::Client;
use crate::dto;
use dictionary::Dictionary;
use digits::Digit;

/// Every data source and index of the demo has this version.
const VERSION: &str = "1.0";
const DIGITS: &str = "Demo.Digits";
const DIGITS_L2: &str = "Demo.Digits.L2";
const DIGITS_BY_LABEL: &str = "Demo.Digits.ByLabel";
const DICTIONARY: &str = "Demo.Dictionary";
const DICTIONARY_COSINE: &str = "Demo.Dictionary.Cosine";
const DICTIONARY_JACCARD: &str = "Demo.Dictionary.Jaccard";
const DICTIONARY_IP: &str = "Demo.Dictionary.IP";

/// The demo's data, and a server to have it in.
pub(crate) struct Demo {
    url: String,
    client: Client,
    digits: Vec<Digit>,
    dictionary: Dictionary,
}

/// Writes the demo's configuration directory `config` and the licences of its data into a directory, unless it has other
/// files of these names.
pub(crate) fn write_files(directory: &Path) -> Result<()> {
    data::write_files(directory)
}

impl Demo {
    /// The demo on a server that serves the demo's configuration at a URL.
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self {
            url: url.to_owned(),
            client: Client::new(url)?,
            digits: digits::read()?,
            dictionary: Dictionary::read()?,
        })
    }

    /// Loads the data where it is missing, then shows samples or answers a question. Unless told to leave then, says
    /// where to look, and takes more questions on a terminal; returns when the user wants to leave.
    pub(crate) async fn run(&self, question: Option<&str>, leave: bool) -> Result<()> {
        say(&self.load().await?)?;
        match question {
            Some(question) => say(&self.answer(question).await?)?,
            None => self.show_samples().await?,
        }
        if leave {
            return Ok(());
        }
        say(&self.where_to_look()?)?;
        if io::stdin().is_terminal() {
            return self.take_questions().await;
        }
        std::future::pending().await
    }

    async fn show_samples(&self) -> Result<()> {
        say(&self.digits_alike().await?)?;
        say(&self.digits_of_one_label().await?)?;
        say(&self.all_digits_at_once().await?)?;
        say(&self.dictionary_answers().await?)?;
        say(&self.other_dictionary_indices().await?)
    }

    fn where_to_look(&self) -> Result<String> {
        let url = &self.url;
        let vector = serde_json::to_string(&self.dictionary.vector("dog").map(dto::Vector::from))?;
        Ok(format!(
            "The server goes on until Ctrl-C:
  {url}/          the API, to read and to try out
  {url}/metrics   what it counts and measures
  vektonn info --url {url}
  curl {url}/api/v1/search/{DICTIONARY_COSINE}/{VERSION} -H 'Content-Type: application/json' \\
    -d '{{\"k\": 3, \"retrieveVectors\": false, \"queryVectors\": [{vector}]}}'"
        ))
    }
}

/// Prints a text and an empty line.
fn say(text: &str) -> Result<()> {
    print(format_args!("{text}\n"))
}
