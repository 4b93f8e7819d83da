//! The peers of one contest: those that can be started and built, and why the others cannot.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use vektonn_index::Metric;

use super::{Environment, Worker};
use crate::contest::{Built, Contender};
use crate::report::Report;
use crate::sweep::{Builds, Contestant};

/// A library with its parameters and the settings to search with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) label: &'static str,
    /// A module of `benches/peers`.
    pub(crate) engine: &'static str,
    pub(crate) parameters: Value,
    pub(crate) settings: Vec<Value>,
    /// More cores are no use to it.
    pub(crate) one_thread: bool,
}

/// A peer whose index is built.
struct Standing {
    peer: Peer,
    worker: Worker,
    builds: Builds,
}

/// The peers with their indexes built.
pub(crate) struct Lineup {
    standing: Vec<Standing>,
    /// Those that are installed, and could not build.
    failed: Vec<&'static str>,
    versions: Vec<String>,
}

impl Lineup {
    /// Starts each peer and lets it build its index of the files, one after the other, with a thread on each core. The report is told
    /// who is missing; `name` is what it calls the set.
    pub(crate) fn start(
        environment: &Environment,
        name: &str,
        [base, queries]: [&Path; 2],
        metric: Metric,
        peers: &[Peer],
        cores: &[usize],
        report: &mut Report,
    ) -> Self {
        let mut lineup = Self { standing: vec![], failed: vec![], versions: vec![] };
        for peer in peers {
            eprintln!("{} builds", peer.label);
            let start = || -> Result<Worker> {
                let mut worker = Worker::start(environment.python()?, peer.engine, None)?;
                worker.use_cores(cores)?;
                Ok(worker)
            };
            let built = start().and_then(|mut worker| {
                let built = worker.build_from(base, queries, metric, &peer.parameters);
                let built = built.inspect_err(|_| lineup.failed.push(peer.label))?;
                Ok((worker, built))
            });
            match built {
                Ok((worker, built)) => lineup.add(peer, worker, built, cores.len()),
                Err(why) => report.miss(format!("{name}: {}", peer.label), &why),
            }
        }
        lineup
    }

    fn add(&mut self, peer: &Peer, mut worker: Worker, built: Built, threads: usize) {
        if let Ok(about) = worker.about() {
            for (name, version) in about.versions {
                let version = format!("{name} {version}");
                if !self.versions.contains(&version) {
                    self.versions.push(version);
                }
            }
        }
        let builds = if threads == 1 {
            Builds { one_thread: Some(built), all_cores: None }
        } else {
            Builds { one_thread: None, all_cores: Some(built) }
        };
        self.standing.push(Standing { peer: peer.clone(), worker, builds });
    }

    /// Such as `hnswlib 0.8.0`.
    pub(crate) fn versions(&self) -> &[String] {
        &self.versions
    }

    /// The labels of all that are installed.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &'static str> {
        self.standing.iter().map(|standing| standing.peer.label).chain(self.failed.iter().copied())
    }

    pub(crate) fn contestants(&mut self) -> impl Iterator<Item = Contestant<'_>> {
        self.standing.iter_mut().map(|standing| Contestant {
            label: standing.peer.label.to_owned(),
            contender: &mut standing.worker,
            settings: standing.peer.settings.clone(),
            one_thread: standing.peer.one_thread,
            builds: standing.builds,
        })
    }
}
