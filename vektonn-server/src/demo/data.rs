//! The bundled files of `testdata/demo`; where they come from and their licences stand in its README.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
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

/// Writes the configuration directory `config` and the licences of the data into a directory. What is there stays as it
/// is: nothing is written if a file of the same name says something else.
pub(super) fn write_files(directory: &Path) -> Result<()> {
    let files = CONFIG.into_iter().chain(LICENCES).map(|(path, text)| (directory.join(path), text));
    let missing: Result<Vec<_>> =
        files.map(|(path, text)| Ok((!is_there(&path, text)?).then_some((path, text)))).collect();
    for (path, text) in missing?.into_iter().flatten() {
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make directory {}", parent.display()))?;
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Whether a file is there and is the demo's.
fn is_there(path: &Path, text: &str) -> Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) if bytes == text.as_bytes() => Ok(true),
        Ok(_) => bail!(
            "{} is not the file that this demo would write there, and is left as it is: move it away, or name another directory",
            path.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn unpack(packed: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_others_are_left_alone() {
        for (path, _) in CONFIG.into_iter().chain(LICENCES) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "mine").unwrap();
            let error = write_files(directory.path()).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()) && !error.contains('\n'), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
            let others =
                CONFIG.into_iter().chain(LICENCES).filter(|(other, _)| directory.path().join(other).exists());
            assert_eq!(others.count(), 1, "nothing else was written");
        }
    }

    #[test]
    fn its_own_files_are_completed() {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path()).unwrap();
        std::fs::remove_file(directory.path().join(CONFIG[0].0)).unwrap();
        write_files(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join(CONFIG[0].0)).unwrap(), CONFIG[0].1);
    }
}
