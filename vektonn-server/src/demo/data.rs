//! The bundled files of `testdata/demo`; where they come from and their licences stand in its README.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;

macro_rules! bundled {
    ($include:ident, $path:literal) => {
        $include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/demo/", $path))
    };
}

macro_rules! config_files {
    ($($path:literal),* $(,)?) => { [$(($path, bundled!(include_str, $path))),*] };
}

const DIGITS_CSV_GZ: &[u8] = bundled!(include_bytes, "digits.csv.gz");
const DICTIONARY_TSV_GZ: &[u8] = bundled!(include_bytes, "dictionary.tsv.gz");
/// English words that say nothing about a meaning, one a line.
pub(super) const STOP_WORDS: &str = bundled!(include_str, "stop-words.txt");
/// What must be said wherever the data goes.
const LICENCES: [(&str, &str); 2] = [
    ("README.md", bundled!(include_str, "README.md")),
    ("dictionary.LICENSE", bundled!(include_str, "dictionary.LICENSE")),
];
const CONFIG: [(&str, &str); 7] = config_files![
    "config/data-sources/Demo.Digits/1.0.yaml",
    "config/data-sources/Demo.Dictionary/1.0.yaml",
    "config/indices/Demo.Digits.L2/1.0.yaml",
    "config/indices/Demo.Digits.ByLabel/1.0.yaml",
    "config/indices/Demo.Dictionary.Cosine/1.0.yaml",
    "config/indices/Demo.Dictionary.Jaccard/1.0.yaml",
    "config/indices/Demo.Dictionary.IP/1.0.yaml",
];

/// The digits: one a line, 64 pixels from 0 to 16 and the label, separated by commas.
pub(super) fn digits_csv() -> Result<String> {
    unpack(DIGITS_CSV_GZ).context("the bundled digits")
}

/// The dictionary: one meaning a line, words, part of speech and definition, separated by tabs.
pub(super) fn dictionary_tsv() -> Result<String> {
    unpack(DICTIONARY_TSV_GZ).context("the bundled dictionary")
}

/// Writes the configuration directory `config` and the licences of the data into a directory.
pub(super) fn write_files(directory: &Path) -> Result<()> {
    for (path, text) in CONFIG.into_iter().chain(LICENCES) {
        let path = directory.join(path);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make directory {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn unpack(packed: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text)?;
    Ok(text)
}
