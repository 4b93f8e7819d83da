//! What uploads and searches go to: one process, or an API process and one for each shard, on Kafka.

use anyhow::{Result, ensure};

use super::Setup;
use crate::catalog::Catalog;
use crate::http::Client;
use crate::server::{Launch, Role, Server, free_port};

/// Running processes that serve a catalog; dropping it kills them.
pub(super) struct System {
    front: Server,
    shards: Vec<Server>,
    upload_path: String,
    search_path: String,
}

impl System {
    /// One process with an embedded data source.
    pub(super) fn embedded(setup: &Setup, catalog: &Catalog) -> Result<Self> {
        let front = Server::start(&setup.binary, &catalog.files(&[]), &setup.dir)?;
        Ok(Self::new(front, vec![], catalog))
    }

    /// `vektonn api` and a `vektonn index-shard` for each shard, all of them ready.
    pub(super) fn on_kafka(setup: &Setup, servers: &str, catalog: &Catalog) -> Result<Self> {
        let mut shards = vec![];
        for shard_id in catalog.shard_ids() {
            shards.push(spawn_shard(setup, servers, catalog, &shard_id)?);
        }
        let endpoints: Vec<_> = shards.iter().map(|shard| shard.address().to_owned()).collect();
        let mut front = spawn_api(setup, servers, catalog, &endpoints)?;
        shards.iter_mut().chain([&mut front]).try_for_each(Server::wait_ready)?;
        Ok(Self::new(front, shards, catalog))
    }

    fn new(front: Server, shards: Vec<Server>, catalog: &Catalog) -> Self {
        Self { front, shards, upload_path: catalog.upload_path(), search_path: catalog.search_path() }
    }

    /// A new connection to the process that takes uploads and searches.
    pub(super) fn connect(&self) -> Connection<'_> {
        Connection { client: self.front.client(), system: self }
    }

    /// A new connection to each of the shards' own processes.
    pub(super) fn connect_to_shards(&self) -> Vec<Client> {
        self.shards.iter().map(Server::client).collect()
    }
}

/// A connection that knows where uploads and searches go.
pub(super) struct Connection<'s> {
    client: Client,
    system: &'s System,
}

impl Connection<'_> {
    /// Uploads a JSON body; returns the log's position after it.
    pub(super) fn upload(&self, body: &[u8]) -> Result<String> {
        self.client.upload(&self.system.upload_path, body)
    }

    /// Searches with a JSON body; returns the JSON answer's text.
    pub(super) fn search(&self, body: &[u8]) -> Result<String> {
        self.client.search(&self.system.search_path, body)
    }

    /// The same, but first waits until the log's `position` is searchable.
    pub(super) fn search_after(&self, position: &str, body: &[u8]) -> Result<String> {
        self.client.search_after(position, &self.system.search_path, body)
    }

    /// Uploads the bodies one after another and waits until all of them are searchable.
    pub(super) fn load(&self, bodies: impl IntoIterator<Item = Vec<u8>>, any_search: &[u8]) -> Result<()> {
        let mut position = None;
        for body in bodies {
            position = Some(self.upload(&body)?);
        }
        ensure!(position.is_some(), "nothing was loaded");
        position.iter().try_for_each(|position| self.search_after(position, any_search).map(drop))
    }
}

/// Starts `vektonn api` without waiting for it.
pub(super) fn spawn_api(
    setup: &Setup,
    servers: &str,
    catalog: &Catalog,
    endpoints: &[String],
) -> Result<Server> {
    spawn(setup, catalog, endpoints, Role::Api { servers })
}

/// Starts `vektonn index-shard` without waiting for it.
pub(super) fn spawn_shard(setup: &Setup, servers: &str, catalog: &Catalog, shard_id: &str) -> Result<Server> {
    spawn(setup, catalog, &[], Role::Shard { servers, catalog, shard_id })
}

fn spawn(setup: &Setup, catalog: &Catalog, endpoints: &[String], role: Role<'_>) -> Result<Server> {
    let config = catalog.files(endpoints);
    let port = free_port()?;
    Server::spawn(&Launch { binary: &setup.binary, parent: &setup.dir, config: &config, port, role })
}
