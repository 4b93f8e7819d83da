//! The data sources and indices that a configuration directory describes.
//!
//! ```text
//! <base>/data-sources/<name>/<version>.yaml
//! <base>/indices/<name>/<version>.yaml
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vektonn_core::{DataSourceId, DataSourceMeta, IndexId, IndexMeta, MetaError, sharding};

const DATA_SOURCES: &str = "data-sources";
const INDICES: &str = "indices";

/// All data sources and indices of a server.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) data_sources: BTreeMap<DataSourceId, Arc<DataSourceMeta>>,
    pub(crate) indices: BTreeMap<IndexId, Arc<IndexMeta>>,
}

/// What is wrong with a configuration directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", file.display())]
    Meta { file: PathBuf, source: MetaError },
    #[error("{}: there is no data source '{}' of version '{}' (expected {})", file.display(), id.name, id.version, expected.display())]
    NoDataSource { file: PathBuf, id: DataSourceId, expected: PathBuf },
    #[error("{} and {} describe the same thing: keep one of them", first.display(), second.display())]
    Twice { first: PathBuf, second: PathBuf },
    #[error("{first} and {second} would write to the same topics, {topics}: rename one of them")]
    SameTopics { first: DataSourceId, second: DataSourceId, topics: String },
    #[error("{} has no data sources: expected files like {DATA_SOURCES}/<name>/<version>.yaml", base.display())]
    Empty { base: PathBuf },
}

impl Catalog {
    /// Reads all files of a configuration directory.
    pub(crate) fn load(base: &Path) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        for ((name, version), file) in yaml_files(&base.join(DATA_SOURCES))? {
            let id = DataSourceId { name, version };
            let meta = DataSourceMeta::from_yaml(id.clone(), &read(&file)?)
                .map_err(|source| CatalogError::Meta { file, source })?;
            let topics = sharding::topic_name(&meta, &[]);
            if let Some((other, _)) =
                catalog.data_sources.iter().find(|(_, it)| sharding::topic_name(it, &[]) == topics)
            {
                return Err(CatalogError::SameTopics { first: other.clone(), second: id, topics });
            }
            catalog.data_sources.insert(id, Arc::new(meta));
        }
        if catalog.data_sources.is_empty() {
            return Err(CatalogError::Empty { base: base.to_owned() });
        }
        for ((name, version), file) in yaml_files(&base.join(INDICES))? {
            let meta = catalog.read_index(base, IndexId { name, version }, &file)?;
            for warning in meta.warnings() {
                tracing::warn!(file = %file.display(), "{warning}");
            }
            if meta.algorithm().is_approximate() {
                let algorithm = meta.algorithm();
                tracing::warn!(file = %file.display(), %algorithm, "this version searches exactly");
            }
            catalog.indices.insert(meta.id().clone(), Arc::new(meta));
        }
        Ok(catalog)
    }

    fn read_index(&self, base: &Path, id: IndexId, file: &Path) -> Result<IndexMeta, CatalogError> {
        let text = read(file)?;
        let wrong = |source| CatalogError::Meta { file: file.to_owned(), source };
        let source_id = IndexMeta::data_source_id_from_yaml(&text).map_err(wrong)?;
        let Some(source) = self.data_sources.get(&source_id) else {
            let expected = base.join(DATA_SOURCES).join(&source_id.name);
            let expected = expected.join(format!("{}.yaml", source_id.version));
            return Err(CatalogError::NoDataSource { file: file.to_owned(), id: source_id, expected });
        };
        IndexMeta::from_yaml(id, &text, Arc::clone(source)).map_err(wrong)
    }
}

/// The files `<name>/<version>.yaml` (or `.yml`) below a directory, by name and version. None if there is no such
/// directory.
fn yaml_files(directory: &Path) -> Result<BTreeMap<(String, String), PathBuf>, CatalogError> {
    let mut files = BTreeMap::new();
    if !directory.exists() {
        return Ok(files);
    }
    for named in entries(directory)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&named)? {
            let is_yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let (Some(name), Some(version)) = (named.file_name(), file.file_stem()) else { continue };
            if !is_yaml || !file.is_file() {
                continue;
            }
            let text = |part: &OsStr| part.to_string_lossy().into_owned();
            if let Some(first) = files.insert((text(name), text(version)), file.clone()) {
                return Err(CatalogError::Twice { first, second: file });
            }
        }
    }
    Ok(files)
}

/// The paths in a directory, sorted.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let wrong = |source| CatalogError::Read { path: directory.to_owned(), source };
    let paths: io::Result<Vec<_>> =
        fs::read_dir(directory).map_err(wrong)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(wrong)?;
    paths.sort();
    Ok(paths)
}

fn read(file: &Path) -> Result<String, CatalogError> {
    fs::read_to_string(file).map_err(|source| CatalogError::Read { path: file.to_owned(), source })
}
