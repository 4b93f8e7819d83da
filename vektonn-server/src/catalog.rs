//! The data sources and indices that a configuration directory describes.
//!
//! ```text
//! <base>/data-sources/<name>/<version>.yaml
//! <base>/indices/<name>/<version>.yaml
//! <base>/index-shards-topology.yaml
//! ```

use std::collections::{BTreeMap, BTreeSet};
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

/// What is remembered of a directory beside the catalog of the last reading.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// All data sources that there ever were: their logs stay as they are written.
    data_sources: BTreeMap<DataSourceId, Arc<DataSourceMeta>>,
    /// What was missing the last time.
    missing_data_sources: BTreeSet<DataSourceId>,
    missing_indices: BTreeSet<IndexId>,
}

/// Reads a directory once; what is wrong keeps its place in the catalog of before.
struct Reading<'a> {
    files: &'a CatalogFiles,
    before: &'a Catalog,
    memory: &'a mut Memory,
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
}

impl Memory {
    /// After the first reading.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        Self { data_sources: catalog.data_sources.clone(), ..Self::default() }
    }
}

impl CatalogFiles {
    /// Reads all files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn load(&self) -> Result<Catalog, CatalogError> {
        let (catalog, problems) = self.reload(&Catalog::default(), &mut Memory::default());
        problems.into_iter().next().map_or(Ok(catalog), Err)
    }

    /// Reads all files again. A file that is wrong counts as it was before, and so does one that is missing for the first time:
    /// while somebody replaces a file there may be none for a moment.
    pub(crate) fn reload(&self, before: &Catalog, memory: &mut Memory) -> (Catalog, Vec<CatalogError>) {
        let (catalog, problems) = Default::default();
        let mut reading = Reading { files: self, before, memory, catalog, problems };
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
        let (now, before) = (&mut self.catalog.data_sources, &self.before.data_sources);
        keep_for_once(now, before, &mut self.memory.missing_data_sources);
        self.memory.data_sources.extend(now.clone());
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
        if self.memory.data_sources.get(id).is_some_and(|known| **known != meta) {
            return Err(CatalogError::Changed { file });
        }
        if let Some(before) = self.before.data_sources.get(id) {
            return Ok(Arc::clone(before));
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
        let (now, before) = (&mut self.catalog.indices, &self.before.indices);
        keep_for_once(now, before, &mut self.memory.missing_indices);
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

/// Takes over what is missing now and was not missing the last time.
fn keep_for_once<Id: Ord + Clone, Meta>(
    now: &mut BTreeMap<Id, Arc<Meta>>,
    before: &BTreeMap<Id, Arc<Meta>>,
    missing: &mut BTreeSet<Id>,
) {
    let gone =
        |(id, meta): (&Id, &Arc<Meta>)| (!now.contains_key(id)).then(|| (id.clone(), Arc::clone(meta)));
    let gone: BTreeMap<_, _> = before.iter().filter_map(gone).collect();
    let ids = gone.keys().cloned().collect();
    now.extend(gone.into_iter().filter(|(id, _)| !missing.contains(id)));
    *missing = ids;
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

    /// A directory that changes.
    struct Directory {
        files: CatalogFiles,
        catalog: Catalog,
        memory: Memory,
        _directory: tempfile::TempDir,
    }

    impl Directory {
        fn new(paths: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let files = CatalogFiles { base: directory.path().to_owned(), with_topology: false };
            let (catalog, memory) = Default::default();
            let mut this = Self { files, catalog, memory, _directory: directory };
            paths.iter().for_each(|path| this.write(path, 2));
            this.catalog = this.files.load().unwrap();
            this.memory = Memory::of(&this.catalog);
            this
        }

        fn write(&self, path: &str, dimension: usize) {
            let text = match path.starts_with(INDICES) {
                true => "{dataSourceId: {name: A, version: 1}, indexAlgorithm: {type: FaissIndex.L2}, \
                     idAttributes: [Id], shardsById: {One: {}}}"
                    .to_owned(),
                false => format!(
                    "{{vectorDimension: {dimension}, vectorsAreSparse: false, \
                     attributeValueTypes: {{Id: Int64}}, permanentAttributes: [Id]}}"
                ),
            };
            let file = self.files.base.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn remove(&self, path: &str) {
            fs::remove_file(self.files.base.join(path)).unwrap();
        }

        /// What is there after one more reading, and what is wrong.
        fn read(&mut self) -> (Vec<String>, Vec<String>) {
            let (catalog, problems) = self.files.reload(&self.catalog, &mut self.memory);
            self.catalog = catalog;
            let data_sources =
                self.catalog.data_sources.keys().map(|id| format!("{DATA_SOURCES}/{}", id.name));
            let indices = self.catalog.indices.keys().map(|id| format!("{INDICES}/{}", id.name));
            (data_sources.chain(indices).collect(), problems.iter().map(ToString::to_string).collect())
        }
    }

    const A: &str = "data-sources/A/1.yaml";
    const B: &str = "data-sources/B/1.yaml";
    const X: &str = "indices/X/1.yaml";
    const Y: &str = "indices/Y/1.yaml";

    #[test]
    fn a_file_is_gone_when_it_is_missing_twice() {
        let mut directory = Directory::new(&[A, B, X, Y]);
        let all = ["data-sources/A", "data-sources/B", "indices/X", "indices/Y"].map(str::to_owned);
        directory.remove(X);
        assert_eq!(directory.read(), (all.to_vec(), vec![]));
        // Another one for a moment, which is not missing twice with that.
        directory.remove(Y);
        directory.remove(B);
        let without_x = [&all[..2], &all[3..]].concat();
        assert_eq!(directory.read(), (without_x.clone(), vec![]));
        directory.write(Y, 2);
        assert_eq!(directory.read(), ([&all[..1], &all[3..]].concat(), vec![]));
        directory.remove(Y);
        directory.write(B, 2);
        assert_eq!(directory.read(), (without_x, vec![]));
        assert_eq!(directory.read(), (all[..2].to_vec(), vec![]));
        // The data source of an index for a moment.
        directory.write(X, 2);
        assert_eq!(directory.read(), (all[..3].to_vec(), vec![]));
        directory.remove(A);
        assert_eq!(directory.read(), (all[..3].to_vec(), vec![]));
    }

    #[test]
    fn a_data_source_does_not_change_by_being_away() {
        let mut directory = Directory::new(&[A, B]);
        directory.remove(B);
        (0..3).for_each(|_| _ = directory.read());
        directory.write(B, 3);
        let (names, problems) = directory.read();
        assert_eq!(names, ["data-sources/A"]);
        assert!(problems[0].contains("must not change"), "{problems:?}");
        directory.write(B, 2);
        assert_eq!(
            directory.read(),
            (vec!["data-sources/A".to_owned(), "data-sources/B".to_owned()], vec![])
        );
    }
}
