//! Where the shards of indices run: `index-shards-topology.yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::IndexId;
use crate::yaml::{self, MetaError};

/// The endpoints of every shard of every index.
///
/// ```
/// use vektonn_core::{IndexId, Topology};
///
/// let topology = Topology::from_yaml("
/// Places:
///   1.0:
///     North: host-1:8082
///     South: [host-2:8082, host-3:8082]
/// ")?;
/// assert_eq!(topology.endpoints(&IndexId::new("Places", "1.0"), "South"), ["host-2:8082", "host-3:8082"]);
/// # Ok::<(), vektonn_core::MetaError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    endpoints: BTreeMap<IndexId, BTreeMap<String, Vec<String>>>,
}

/// Index name -> version -> shard id -> endpoints.
type TopologyFile = BTreeMap<String, Option<BTreeMap<String, Option<BTreeMap<String, Endpoints>>>>>;

/// One process, or several that hold the same shard.
#[derive(Deserialize)]
#[serde(untagged)]
enum Endpoints {
    One(String),
    Several(Vec<String>),
}

impl Topology {
    /// Reads the file.
    ///
    /// # Errors
    /// [`MetaError`] when it is not YAML of this shape, or an endpoint is not `host:port`.
    pub fn from_yaml(text: &str) -> Result<Self, MetaError> {
        let file: Option<TopologyFile> = yaml::from_str(text)?;
        let mut topology = Self::default();
        for (name, versions) in file.unwrap_or_default() {
            for (version, shards) in versions.unwrap_or_default() {
                let id = IndexId { name: name.clone(), version };
                let mut of_index = BTreeMap::new();
                for (shard, endpoints) in shards.unwrap_or_default() {
                    of_index.insert(shard.clone(), checked(&id, &shard, endpoints)?);
                }
                topology.endpoints.insert(id, of_index);
            }
        }
        Ok(topology)
    }

    /// The processes that hold a shard, each as `host:port`; none if the file does not name the shard.
    pub fn endpoints(&self, index: &IndexId, shard_id: &str) -> &[String] {
        self.endpoints.get(index).and_then(|shards| shards.get(shard_id)).map_or(&[], Vec::as_slice)
    }
}

fn checked(index: &IndexId, shard: &str, endpoints: Endpoints) -> Result<Vec<String>, MetaError> {
    let endpoints = match endpoints {
        Endpoints::One(endpoint) => vec![endpoint],
        Endpoints::Several(endpoints) => endpoints,
    };
    let wrong = |got: &str| MetaError::Endpoint {
        index: index.clone(),
        shard: shard.to_owned(),
        got: got.to_owned(),
    };
    if endpoints.is_empty() {
        return Err(wrong(""));
    }
    match endpoints.iter().find(|endpoint| !is_host_and_port(endpoint)) {
        Some(endpoint) => Err(wrong(endpoint)),
        None => Ok(endpoints),
    }
}

fn is_host_and_port(endpoint: &str) -> bool {
    let Some((host, port)) = endpoint.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '@']);
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_stay_text_and_unknown_shards_have_no_endpoints() {
        let topology = Topology::from_yaml("A:\n  1.0: {S: 'h:1'}\n  1.10: {S: ['h:2', '[::1]:3']}").unwrap();
        assert_eq!(topology.endpoints(&IndexId::new("A", "1.0"), "S"), ["h:1"]);
        assert_eq!(topology.endpoints(&IndexId::new("A", "1.10"), "S"), ["h:2", "[::1]:3"]);
        assert!(topology.endpoints(&IndexId::new("A", "1.1"), "S").is_empty());
        assert!(topology.endpoints(&IndexId::new("A", "1.0"), "T").is_empty());
    }

    #[test]
    fn an_empty_file_names_no_shards() {
        assert_eq!(Topology::from_yaml("").unwrap(), Topology::default());
        assert_eq!(
            Topology::from_yaml("A:\nB: {1: }").unwrap().endpoints(&IndexId::new("A", "1"), "S").len(),
            0
        );
    }

    #[test]
    fn what_is_not_an_endpoint_is_named() {
        for endpoint in ["http://h:1", "h", "h:0", "h:70000", ":8082", "h:x"] {
            let error = Topology::from_yaml(&format!("A: {{1.0: {{S: ['{endpoint}']}}}}")).unwrap_err();
            let id = IndexId::new("A", "1.0");
            let expected =
                format!("shard 'S' of index {id}: an endpoint must be host:port, got '{endpoint}'");
            assert_eq!(error.to_string(), expected);
        }
        assert!(Topology::from_yaml("A: {1.0: {S: []}}").is_err());
        assert!(Topology::from_yaml("A: {1.0: {S: 7}}").is_err());
    }
}
