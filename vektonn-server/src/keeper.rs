//! Keeps what is served in step with the configuration directory: new indices are built, changed ones are built
//! beside the old ones and swapped when ready, and indices that are gone are stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use vektonn_core::{IndexId, IndexMeta};
use vektonn_index::shard::{Shard, ShardError};
use vektonn_kafka::DataSource;
use vektonn_kafka::lifecycle::ShardFollower;

use crate::catalog::{Catalog, CatalogError, CatalogFiles, Memory};
use crate::remote::{RemoteClient, RemoteShard};
use crate::served::{Served, ServedIndex, ServedShard};

/// The configuration files are read again this often.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Which shards a process searches, and where they are.
#[derive(Clone)]
pub(crate) enum Holding {
    /// All shards of all indices, in this process.
    Everything,
    /// One shard, in this process.
    OneShard { index: IndexId, shard_id: String },
    /// All shards of all indices, in other processes.
    Elsewhere(RemoteClient),
}

/// Keeps [`Served`] up to date, on a thread of its own, until dropped.
pub(crate) struct Keeper {
    served: Arc<ArcSwap<Served>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
struct Keeping {
    files: CatalogFiles,
    holding: Holding,
    source: Arc<dyn DataSource>,
    /// Where vectors may be in files.
    vectors: PathBuf,
    catalog: Catalog,
    memory: Memory,
    served: Arc<ArcSwap<Served>>,
    /// Replaced or gone, but perhaps still searched.
    retired: Vec<Arc<ServedIndex>>,
}

impl Keeper {
    /// Opens everything of the catalog, which has been read from the files; vectors of compact indices are kept in files in
    /// `vectors`.
    ///
    /// # Errors
    /// When the catalog lacks what is to be held, or why a shard cannot be built.
    pub(crate) fn open(
        files: CatalogFiles,
        catalog: Catalog,
        holding: Holding,
        source: Arc<dyn DataSource>,
        vectors: PathBuf,
    ) -> Result<Self> {
        holding.check(&catalog)?;
        let served = Arc::new(ArcSwap::default());
        let (catalog_before, memory, retired) = (Catalog::default(), Memory::of(&catalog), Vec::new());
        let mut keeping = Keeping {
            files,
            holding,
            source,
            vectors,
            catalog: catalog_before,
            memory,
            served: Arc::clone(&served),
            retired,
        };
        keeping.follow(catalog, &[])?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || keeping.run(&stopped))
            .context("cannot start a thread")?;
        Ok(Self { served, stop: Some(stop), thread: Some(thread) })
    }

    /// What is served; changes with time.
    pub(crate) fn served(&self) -> &Arc<ArcSwap<Served>> {
        &self.served
    }
}

impl Drop for Keeper {
    /// Stops all shards of this process.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the configuration thread panicked");
        }
    }
}

impl Holding {
    fn check(&self, catalog: &Catalog) -> Result<()> {
        let Self::OneShard { index, shard_id } = self else { return Ok(()) };
        let meta = catalog.indices.get(index).ok_or_else(|| anyhow!("there is no file for {index}"))?;
        match meta.shards().contains_key(shard_id) {
            true => Ok(()),
            false => {
                let shards: Vec<_> = meta.shards().keys().map(String::as_str).collect();
                Err(anyhow!("{index} has no shard '{shard_id}', but {}", shards.join(", ")))
            }
        }
    }

    /// Whether this process searches a shard.
    fn includes(&self, index: &IndexId, shard: &str) -> bool {
        match self {
            Self::OneShard { index: ours, shard_id } => ours == index && shard_id == shard,
            Self::Everything | Self::Elsewhere(_) => true,
        }
    }
}

impl Keeping {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        while stopped.recv_timeout(REFRESH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let (catalog, problems) = self.files.reload(&self.catalog, &mut self.memory);
            // What went wrong has been logged; what was there before still counts.
            let _ = self.follow(catalog, &problems);
            // A search that has begun on a retired index ends on it.
            self.retired.retain(|index| {
                Arc::strong_count(index) > 1 || {
                    index.stop();
                    false
                }
            });
        }
        let served = self.served.swap(Arc::default());
        let all = served.indices.values().chain(served.warming.values()).chain(&self.retired);
        let followers: Vec<_> = all.flat_map(|index| index.followers()).collect();
        followers.iter().for_each(|follower| follower.begin_stop());
        followers.iter().for_each(|follower| follower.stop());
    }

    /// Brings what is served in step with the catalog.
    ///
    /// # Errors
    /// Why the first of the shards that cannot be built cannot.
    fn follow(&mut self, catalog: Catalog, problems: &[CatalogError]) -> Result<(), ShardError> {
        let before = self.served.load_full();
        let missing = self.holding.check(&catalog).err();
        let problems = problems.iter().map(ToString::to_string);
        let problems: Vec<_> = problems.chain(missing.iter().map(ToString::to_string)).collect();
        for problem in problems.iter().filter(|problem| !before.problems.contains(problem)) {
            tracing::error!("{problem}; what was there before still counts");
        }
        let is_ready_to_swap = before.warming.values().any(|index| index.is_serving());
        if catalog == self.catalog && problems == before.problems && !is_ready_to_swap {
            return Ok(());
        }
        let mut next = Served { data_sources: catalog.data_sources.clone(), problems, ..Served::default() };
        let mut outcome = Ok(());
        for (id, meta) in &catalog.indices {
            if let Err(error) = self.place(&before, &mut next, &catalog, id, meta) {
                tracing::error!(%error, "cannot build a shard");
                next.indices.extend(before.indices.get(id).map(|old| (id.clone(), Arc::clone(old))));
                outcome = outcome.and(Err(error));
            }
        }
        if missing.is_some() {
            // What a process is there for goes on as it was.
            before
                .indices
                .iter()
                .for_each(|(id, old)| _ = next.indices.entry(id.clone()).or_insert(Arc::clone(old)));
        }
        self.catalog = catalog;
        let next = Arc::new(next);
        self.served.store(Arc::clone(&next));
        self.retire(&before, &next);
        outcome
    }

    /// Finds the place of an index in what is served next.
    fn place(
        &self,
        before: &Served,
        next: &mut Served,
        catalog: &Catalog,
        id: &IndexId,
        meta: &Arc<IndexMeta>,
    ) -> Result<(), ShardError> {
        let is_up_to_date = |index: &&Arc<ServedIndex>| self.is_up_to_date(index, catalog, meta);
        let serving = before.indices.get(id);
        if let Some(index) = serving.filter(is_up_to_date) {
            next.indices.insert(id.clone(), Arc::clone(index));
            return Ok(());
        }
        let warming = before.warming.get(id).filter(is_up_to_date);
        let fresh = match warming {
            Some(index) => Arc::clone(index),
            None => {
                if serving.is_some() {
                    tracing::info!(index = %id.name, version = %id.version, "building it as it is configured now");
                }
                match self.open_index(catalog, meta)? {
                    Some(index) => Arc::new(index),
                    None => return Ok(()),
                }
            }
        };
        match serving {
            Some(old) if !fresh.is_serving() => {
                next.indices.insert(id.clone(), Arc::clone(old));
                next.warming.insert(id.clone(), fresh);
            }
            Some(_) => {
                tracing::info!(index = %id.name, version = %id.version, "serving as it is configured now");
                next.indices.insert(id.clone(), fresh);
            }
            None => _ = next.indices.insert(id.clone(), fresh),
        }
        Ok(())
    }

    fn is_up_to_date(&self, index: &ServedIndex, catalog: &Catalog, meta: &IndexMeta) -> bool {
        let endpoints_are = |(shard_id, shard): (&String, &ServedShard)| match shard {
            ServedShard::Local(_) => true,
            ServedShard::Remote(remote) => {
                remote.endpoints().eq(catalog.topology.endpoints(meta.id(), shard_id))
            }
        };
        *index.meta == *meta && index.shards.iter().all(endpoints_are)
    }

    /// An index with the shards of it that this process holds; `None` if there are none.
    fn open_index(
        &self,
        catalog: &Catalog,
        meta: &Arc<IndexMeta>,
    ) -> Result<Option<ServedIndex>, ShardError> {
        let ids = meta.shards().keys().filter(|shard_id| self.holding.includes(meta.id(), shard_id));
        let shards: BTreeMap<_, _> = ids
            .map(|shard_id| Ok((shard_id.clone(), self.open_shard(catalog, meta, shard_id)?)))
            .collect::<Result<_, ShardError>>()?;
        let is_new = !self.catalog.data_sources.is_empty();
        Ok((!shards.is_empty()).then(|| ServedIndex::new(Arc::clone(meta), shards, is_new)))
    }

    fn open_shard(
        &self,
        catalog: &Catalog,
        meta: &Arc<IndexMeta>,
        shard_id: &str,
    ) -> Result<ServedShard, ShardError> {
        if let Holding::Elsewhere(client) = &self.holding {
            let endpoints = catalog.topology.endpoints(meta.id(), shard_id);
            let remote = RemoteShard::new(client.clone(), meta.id().clone(), shard_id, endpoints);
            return Ok(ServedShard::Remote(Arc::new(remote)));
        }
        let shard = Shard::new_in(Arc::clone(meta), shard_id, &self.vectors)?;
        let follower = ShardFollower::start(Arc::new(shard), Arc::clone(&self.source));
        Ok(ServedShard::Local(Arc::new(follower)))
    }

    /// Remembers to stop what is not served any more.
    fn retire(&mut self, before: &Served, next: &Served) {
        let is_kept = |index: &Arc<ServedIndex>| {
            next.indices.values().chain(next.warming.values()).any(|kept| Arc::ptr_eq(kept, index))
        };
        for index in before.indices.values().chain(before.warming.values()).filter(|index| !is_kept(index)) {
            let id = index.meta.id();
            tracing::info!(index = %id.name, version = %id.version, "replaced or gone");
            self.retired.push(Arc::clone(index));
        }
    }
}
