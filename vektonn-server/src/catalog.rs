//! The data sources and indices that a configuration directory describes.
//!
//! ```text
//! <base>/data-sources/<name>/<version>.yaml
//! <base>/indices/<name>/<version>.yaml
//! <base>/index-shards-topology.yaml
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vektonn_core::{
    DataSourceId, DataSourceMeta, HnswParams, IndexId, IndexMeta, MemoryMode, MetaError, Topology, sharding,
};

const DATA_SOURCES: &str = "data-sources";
const INDICES: &str = "indices";
const TOPOLOGY: &str = "index-shards-topology.yaml";

/// All data sources and indices of a server, and where its shards run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Catalog {
    pub(crate) data_sources: BTreeMap<DataSourceId, Arc<DataSourceMeta>>,
    pub(crate) indices: BTreeMap<IndexId, Arc<IndexMeta>>,
    /// Only read for a process that asks other processes.
    pub(crate) topology: Topology,
}

/// What is wrong with a configuration directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    // Not named `source`: these messages are whole, and a chain would repeat the end of them.
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: {error}", file.display())]
    Meta { file: PathBuf, error: Box<MetaError> },
    #[error("{}: there is no data source '{}' of version '{}' (expected {})", file.display(), id.name, id.version, expected.display())]
    NoDataSource { file: PathBuf, id: DataSourceId, expected: PathBuf },
    #[error("{} and {} describe the same thing: keep one of them", first.display(), second.display())]
    Twice { first: PathBuf, second: PathBuf },
    #[error("{first} and {second} would write to the same topics, {topics}: rename one of them")]
    SameTopics { first: DataSourceId, second: DataSourceId, topics: String },
    #[error("{}: a data source must not change, for its log is written in the old way: make a new version of it", file.display())]
    Changed { file: PathBuf },
    #[error("{} has no endpoint for shard '{shard}' of index {index}", file.display())]
    NoEndpoint { file: PathBuf, shard: String, index: IndexId },
    #[error("{} has no data sources: expected files like {DATA_SOURCES}/<name>/<version>.yaml", base.display())]
    Empty { base: PathBuf },
}

/// A configuration directory, and what of it a process needs.
#[derive(Clone, Debug)]
pub(crate) struct CatalogFiles {
    pub(crate) base: PathBuf,
    /// Whether every shard must have an endpoint.
    pub(crate) with_topology: bool,
}

/// Reads a directory once; what is wrong keeps its place in the catalog of before.
struct Reading<'a> {
    files: &'a CatalogFiles,
    before: &'a Catalog,
    catalog: Catalog,
    problems: Vec<CatalogError>,
}

impl CatalogError {
    fn meta(file: &Path, error: MetaError) -> Self {
        Self::Meta { file: file.to_owned(), error: Box::new(error) }
    }

    /// Whether there is no such file or directory.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Read { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Catalog {
    /// Whether some index has its vectors in mapped files.
    pub(crate) fn keeps_vectors_in_files(&self) -> bool {
        let in_files = |params: HnswParams| params.memory == MemoryMode::Compact;
        self.indices.values().any(|meta| meta.algorithm().hnsw().is_some_and(in_files))
    }

    /// Whether everything that another one describes is here, too, as it is or changed.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        other.data_sources.keys().all(|id| self.data_sources.contains_key(id))
            && other.indices.keys().all(|id| self.indices.contains_key(id))
    }
}

impl CatalogFiles {
    /// Reads all files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn load(&self) -> Result<Catalog, CatalogError> {
        let (catalog, problems) = self.reload(&Catalog::default());
        problems.into_iter().next().map_or(Ok(catalog), Err)
    }

    /// Reads all files again. A file that is wrong counts as it was before.
    pub(crate) fn reload(&self, before: &Catalog) -> (Catalog, Vec<CatalogError>) {
        let mut reading = Reading { files: self, before, catalog: Catalog::default(), problems: Vec::new() };
        reading.data_sources();
        if self.with_topology {
            reading.topology();
        }
        reading.indices();
        (reading.catalog, reading.problems)
    }
}

impl Reading<'_> {
    fn data_sources(&mut self) {
        let files = match yaml_files(&self.files.base.join(DATA_SOURCES)) {
            Err(error) if !error.is_missing() => Err(error),
            Ok(files) if !files.is_empty() => Ok(files),
            _ => Err(CatalogError::Empty { base: self.files.base.clone() }),
        };
        let files = match files {
            Ok(files) => files,
            Err(problem) => {
                self.problems.push(problem);
                self.catalog.data_sources.clone_from(&self.before.data_sources);
                return;
            }
        };
        for ((name, version), file) in files {
            let id = DataSourceId { name, version };
            let before = self.before.data_sources.get(&id);
            let meta = self.read_data_source(&id, file).map_or_else(
                |problem| {
                    self.problems.push(problem);
                    before.cloned()
                },
                Some,
            );
            self.catalog.data_sources.extend(meta.map(|meta| (id, meta)));
        }
    }

    fn read_data_source(
        &self,
        id: &DataSourceId,
        file: PathBuf,
    ) -> Result<Arc<DataSourceMeta>, CatalogError> {
        let meta = match DataSourceMeta::from_yaml(id.clone(), &read(&file)?) {
            Ok(meta) => meta,
            Err(source) => return Err(CatalogError::meta(&file, source)),
        };
        match self.before.data_sources.get(id) {
            Some(before) if **before == meta => return Ok(Arc::clone(before)),
            Some(_) => return Err(CatalogError::Changed { file }),
            None => {}
        }
        let topics = sharding::topic_name(&meta, &[]);
        let mut others = self.catalog.data_sources.iter();
        match others.find(|(_, other)| sharding::topic_name(other, &[]) == topics) {
            Some((first, _)) => {
                Err(CatalogError::SameTopics { first: first.clone(), second: id.clone(), topics })
            }
            None => Ok(Arc::new(meta)),
        }
    }

    fn topology(&mut self) {
        let file = self.files.topology();
        let topology = read(&file)
            .and_then(|text| Topology::from_yaml(&text).map_err(|source| CatalogError::meta(&file, source)));
        self.catalog.topology = topology.unwrap_or_else(|problem| {
            self.problems.push(problem);
            self.before.topology.clone()
        });
    }

    fn indices(&mut self) {
        let files = match yaml_files(&self.files.base.join(INDICES)) {
            Ok(files) => files,
            // Later a missing directory is not one without files: a volume may come back.
            Err(problem) if problem.is_missing() && self.before.indices.is_empty() => return,
            Err(problem) => {
                self.problems.push(problem);
                self.catalog.indices.clone_from(&self.before.indices);
                return;
            }
        };
        for ((name, version), file) in files {
            let id = IndexId { name, version };
            let before = self.before.indices.get(&id);
            let meta = match self.read_index(&id, &file) {
                Ok(meta) if before.is_some_and(|before| **before == meta) => before.cloned(),
                Ok(meta) => {
                    warn(&file, &meta);
                    Some(Arc::new(meta))
                }
                Err(problem) => {
                    self.problems.push(problem);
                    before.cloned()
                }
            };
            self.catalog.indices.extend(meta.map(|meta| (id, meta)));
        }
    }

    fn read_index(&self, id: &IndexId, file: &Path) -> Result<IndexMeta, CatalogError> {
        let text = read(file)?;
        let wrong = |source| CatalogError::meta(file, source);
        let source_id = IndexMeta::data_source_id_from_yaml(&text).map_err(wrong)?;
        let Some(source) = self.catalog.data_sources.get(&source_id) else {
            let expected = self.files.base.join(DATA_SOURCES).join(&source_id.name);
            let expected = expected.join(format!("{}.yaml", source_id.version));
            return Err(CatalogError::NoDataSource { file: file.to_owned(), id: source_id, expected });
        };
        let meta = IndexMeta::from_yaml(id.clone(), &text, Arc::clone(source)).map_err(wrong)?;
        let has_no_endpoint = |shard: &&String| self.catalog.topology.endpoints(id, shard).is_empty();
        match meta.shards().keys().find(has_no_endpoint) {
            Some(shard) if self.files.with_topology => Err(CatalogError::NoEndpoint {
                file: self.files.topology(),
                shard: shard.clone(),
                index: id.clone(),
            }),
            _ => Ok(meta),
        }
    }
}

impl CatalogFiles {
    fn topology(&self) -> PathBuf {
        self.base.join(TOPOLOGY)
    }
}

/// Says what users may not expect of an index.
fn warn(file: &Path, meta: &IndexMeta) {
    for warning in meta.warnings() {
        tracing::warn!(file = %file.display(), "{warning}");
    }
}

/// The files `<name>/<version>.yaml` (or `.yml`) below a directory, by name and version.
fn yaml_files(directory: &Path) -> Result<BTreeMap<(String, String), PathBuf>, CatalogError> {
    let mut files = BTreeMap::new();
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
    let wrong = |error| CatalogError::Read { path: directory.to_owned(), error };
    let paths: io::Result<Vec<_>> =
        fs::read_dir(directory).map_err(wrong)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(wrong)?;
    paths.sort();
    Ok(paths)
}

fn read(file: &Path) -> Result<String, CatalogError> {
    fs::read_to_string(file).map_err(|error| CatalogError::Read { path: file.to_owned(), error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_example_to_start_from_serves_every_role() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quick-start");
        for with_topology in [false, true] {
            let catalog = CatalogFiles { base: base.clone(), with_topology }.load().unwrap();
            assert_eq!((catalog.data_sources.len(), catalog.indices.len()), (1, 1));
        }
    }
}
