//! The configuration that benchmarks serve: one data source with one index on it, L2, exact or a graph.

use std::fmt::Write;
use std::sync::Arc;

use anyhow::Result;
use vektonn_core::{DataSourceId, DataSourceMeta, HnswParams, IndexId, IndexMeta};

const SOURCE: &str = "Bench.Source";
const INDEX: &str = "Bench.Index";

/// The files of a configuration directory, as paths in it and text.
pub(crate) type ConfigFiles = Vec<(String, String)>;

/// A data source and its only index, both of the same version.
#[derive(Clone)]
pub(crate) struct Catalog {
    /// Another version is another topic in Kafka.
    version: String,
    dimension: usize,
    /// Points go to shards by their `Id`.
    shards: u16,
    /// Of a graph; none searches exactly.
    hnsw: Option<HnswParams>,
}

impl Catalog {
    /// Points of a dimension, in one shard, searched exactly.
    pub(crate) fn new(dimension: usize) -> Self {
        Self { version: "1.0".to_owned(), dimension, shards: 1, hnsw: None }
    }

    /// The same in a version of its own.
    pub(crate) fn version(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }

    /// The same in so many shards.
    pub(crate) fn shards(self, shards: u16) -> Self {
        Self { shards, ..self }
    }

    /// The same with a graph, in memory.
    pub(crate) fn hnsw(self, params: HnswParams) -> Self {
        Self { hnsw: Some(params), ..self }
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The shards' ids.
    pub(crate) fn shard_ids(&self) -> impl Iterator<Item = String> {
        (0..self.shards).map(|shard| format!("Shard{shard}"))
    }

    pub(crate) fn index_name(&self) -> &'static str {
        INDEX
    }

    pub(crate) fn index_version(&self) -> &str {
        &self.version
    }

    pub(crate) fn upload_path(&self) -> String {
        format!("/api/v1/upload/{SOURCE}/{}", self.version)
    }

    pub(crate) fn search_path(&self) -> String {
        format!("/api/v1/search/{INDEX}/{}", self.version)
    }

    /// What the configuration means.
    pub(crate) fn meta(&self) -> Result<IndexMeta> {
        let id = DataSourceId::new(SOURCE, &self.version);
        let data_source = DataSourceMeta::from_yaml(id, &self.data_source_yaml())?;
        let id = IndexId::new(INDEX, &self.version);
        Ok(IndexMeta::from_yaml(id, &self.index_yaml(), Arc::new(data_source))?)
    }

    /// The configuration directory. `endpoints` (`host:port`) are those of the shards, as far as they have any.
    pub(crate) fn files(&self, endpoints: &[String]) -> ConfigFiles {
        let mut topology = format!("{INDEX}:\n  \"{}\":\n", self.version);
        for (i, shard) in self.shard_ids().enumerate() {
            let endpoint = endpoints.get(i).map_or("localhost:8082", String::as_str);
            let _ = writeln!(topology, "    {shard}: \"{endpoint}\"");
        }
        vec![
            (format!("data-sources/{SOURCE}/{}.yaml", self.version), self.data_source_yaml()),
            (format!("indices/{INDEX}/{}.yaml", self.version), self.index_yaml()),
            ("index-shards-topology.yaml".to_owned(), topology),
        ]
    }

    fn data_source_yaml(&self) -> String {
        format!(
            "vectorDimension: {}\nattributeValueTypes: {{Id: Int64, Label: String}}\npermanentAttributes: [Id]\n",
            self.dimension
        )
    }

    fn index_yaml(&self) -> String {
        let params = self.hnsw.map_or_else(String::new, |HnswParams { m, ef_construction, ef_search, .. }| {
            format!(", params: {{Hnsw_M: {m}, Hnsw_EfConstruction: {ef_construction}, Hnsw_EfSearch: {ef_search}}}")
        });
        let mut yaml = format!(
            "dataSourceId: {{name: {SOURCE}, version: \"{}\"}}\nindexAlgorithm: {{type: FaissIndex.L2{params}}}\n\
             idAttributes: [Id]\nshardsById:\n",
            self.version
        );
        for (i, shard) in self.shard_ids().enumerate() {
            let rule = match self.shards {
                1 => String::new(),
                count => {
                    format!("shardsByAttributeKey: {{Id: {{numberOfShards: {count}, shardValues: [{i}]}}}}")
                }
            };
            let _ = writeln!(yaml, "  {shard}: {{{rule}}}");
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_index_is_valid() {
        for shards in [1, 4] {
            let catalog = Catalog::new(3).version("round-1").shards(shards);
            let meta = catalog.meta().unwrap();
            assert!(meta.warnings().is_empty(), "{:?}", meta.warnings());
            assert!(catalog.shard_ids().all(|shard| meta.shards().contains_key(&shard)));
            assert_eq!(meta.shards().len(), usize::from(shards));
            assert_eq!(meta.algorithm().hnsw(), None);
        }
        let params = HnswParams { m: 5, ef_construction: 70, ef_search: 30, ..HnswParams::default() };
        assert_eq!(Catalog::new(3).hnsw(params).meta().unwrap().algorithm().hnsw(), Some(params));
    }
}
