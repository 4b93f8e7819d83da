//! The peers of one contest: those that can be started and built, and why the others cannot.

use std::path::Path;

use anyhow::{Error, Result};
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
    /// Labels of those that are not there, and why.
    missing: Vec<(String, String)>,
    versions: Vec<String>,
}

impl Lineup {
    /// Starts each peer and lets it build its index of the files, one after the other, with a thread on each core.
    pub(crate) fn start(
        environment: &Environment,
        [base, queries]: [&Path; 2],
        metric: Metric,
        peers: &[Peer],
        cores: &[usize],
    ) -> Self {
        let mut lineup = Self { standing: vec![], missing: vec![], versions: vec![] };
        for peer in peers {
            eprintln!("{} builds", peer.label);
            let start = || -> Result<(Worker, Built)> {
                let mut worker = Worker::start(environment.python()?, peer.engine, None)?;
                worker.use_cores(cores)?;
                let built = worker.build_from(base, queries, metric, &peer.parameters)?;
                Ok((worker, built))
            };
            match start() {
                Ok((worker, built)) => lineup.add(peer, worker, built, cores.len()),
                Err(error) => lineup.missing.push((peer.label.to_owned(), format!("{error:#}"))),
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

    /// One that is no worker of ours is not there either.
    pub(crate) fn miss(&mut self, label: &str, why: &Error) {
        self.missing.push((label.to_owned(), format!("{why:#}")));
    }

    /// Adds a table of those that are not there, and why, if there are any.
    pub(crate) fn report_missing(&self, report: &mut Report) {
        if !self.missing.is_empty() {
            let rows = self.missing.iter().map(|(label, why)| [label.clone(), why.clone()]);
            report.add_table("Not measured", ["engine", "why"], rows);
        }
    }

    /// Such as `hnswlib 0.8.0`.
    pub(crate) fn versions(&self) -> &[String] {
        &self.versions
    }

    pub(crate) fn contestants(&mut self) -> impl Iterator<Item = Contestant<'_>> {
        self.standing.iter_mut().map(|standing| Contestant {
            label: standing.peer.label.to_owned(),
            contender: &mut standing.worker,
            settings: standing.peer.settings.clone(),
            builds: standing.builds,
        })
    }
}
