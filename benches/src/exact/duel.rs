//! Ours and other libraries' exact search in turn, on the same vectors.

use anyhow::{Error, Result};
use serde_json::{Value, json};
use vektonn_index::Metric;

use super::outcome::{FAISS_BLAS, FAISS_DEFAULT, OURS, Outcome, Way};
use super::{K, Setup, TOGETHER, short};
use crate::affinity;
use crate::contest::{self, Clock, Contender, Lane, Search, Turn, Turns};
use crate::datasets::DenseSet;
use crate::formats::bin::NeighborLists;
use crate::ground_truth;
use crate::ours::Ours;
use crate::recall::{Recall, recall};
use crate::stats::{percentiles_ms, smaller};

/// faiss compares query by query below this many queries, and by matrix products of BLAS from it on.
const BLAS_THRESHOLD: usize = 20;
/// By default it compares query by query, however many come together: fewer give the same rate in less time.
const TOGETHER_BY_DEFAULT: usize = 64;
/// Latencies taken of each.
const LATENCIES: usize = 200;

/// The contenders of one set and metric.
pub(super) struct Duel<'a> {
    setup: &'a Setup<'a>,
    set: &'a DenseSet,
    metric: Metric,
    /// Ours first.
    engines: Vec<Engine<'a>>,
    /// Engines that cannot take part, and why.
    missing: Vec<(&'static str, Error)>,
}

struct Engine<'a> {
    name: &'static str,
    contender: Box<dyn Contender + 'a>,
}

/// A way to search in batches.
struct Batch {
    label: &'static str,
    engine: usize,
    together: usize,
    setting: Value,
}

impl<'a> Duel<'a> {
    pub(super) fn new(setup: &'a Setup<'a>, set: &'a DenseSet, metric: Metric) -> Result<Self> {
        // Where the last contender left this thread, new processes would begin.
        affinity::pin(&setup.cores)?;
        Ok(Self::of(setup, set, metric, Box::new(Ours::exact(set, metric)?)))
    }

    /// Of anything in our place.
    pub(super) fn of(
        setup: &'a Setup<'a>,
        set: &'a DenseSet,
        metric: Metric,
        ours: Box<dyn Contender + 'a>,
    ) -> Self {
        let mut engines = vec![Engine { name: OURS, contender: ours }];
        let mut missing = vec![];
        for peer in setup.peers.all() {
            match setup.peers.start(peer, set, metric) {
                Ok((worker, _)) => engines.push(Engine { name: peer.name, contender: Box::new(worker) }),
                Err(why) => missing.push((peer.name, why)),
            }
        }
        Self { setup, set, metric, engines, missing }
    }

    /// Engines that fail are missing in the outcome.
    ///
    /// # Errors
    /// Ours failed.
    pub(super) fn fight(mut self) -> Result<Outcome> {
        let name = format!("{}, {}", self.set.name, short(self.metric));
        let truth = ground_truth::of(self.set, self.metric, self.setup.folders)?;
        let mut ways: Vec<Way> = vec![];
        while let Some(engine) = self.engines.get_mut(ways.len()) {
            match unhurried(self.setup, self.set, self.metric, engine, &truth) {
                Ok(way) => ways.push(way),
                Err(why) => {
                    self.leaves(ways.len(), why)?;
                    self.engines.remove(ways.len());
                }
            }
        }
        let core_share = self.measure_single(&name, &mut ways)?;
        self.measure_batches(&name, &mut ways)?;
        Ok(Outcome { name, ways, core_share, missing: self.missing })
    }

    /// Without ours there is nothing to compare with; what another engine did before it failed remains.
    fn leaves(&mut self, engine: usize, why: Error) -> Result<()> {
        let name = self.engines[engine].name;
        if name == OURS {
            return Err(why);
        }
        if !self.missing.iter().any(|(missing, _)| *missing == name) {
            self.missing.push((name, why));
        }
        Ok(())
    }

    /// Fills in the rates of one query at a time, ours and faiss's with two threads too; returns the share of its core that
    /// the most disturbed single thread had.
    fn measure_single(&mut self, name: &str, ways: &mut [Way]) -> Result<f64> {
        let two = self.threads();
        let with_two = |engine: &Engine<'_>| [OURS, "faiss"].contains(&engine.name);
        let lane = |(contender, threads): (usize, usize)| Lane {
            label: format!("{}, {threads} threads", self.engines[contender].name),
            contender,
            search: one_query(),
            threads,
        };
        let several: Vec<_> = (0..ways.len()).filter(|&i| with_two(&self.engines[i])).collect();
        let lanes = (0..ways.len()).map(|i| (i, 1)).chain(several.iter().map(|&i| (i, two))).map(lane);
        let turns = self.run(name, &lanes.collect::<Vec<_>>())?;
        let (alone, together) = turns.split_at(ways.len());
        for (i, (way, turns)) in ways.iter_mut().zip(alone).enumerate() {
            let Some(turns) = turns else { continue };
            way.single_turn_queries = turns.queries();
            match turns.rates_without(Clock::Cpu, way.call_s) {
                Ok(rates) => way.single = Some(rates),
                Err(why) => self.leaves(i, why)?,
            }
        }
        for (i, together) in several.into_iter().zip(together) {
            if let (Some(two), Some(one)) = (together, &alone[i]) {
                let rates = |turns: &Turns| turns.rates_without(Clock::Wall, ways[i].call_s).ok();
                ways[i].single_two_threads = rates(two).zip(rates(one)).map(|(two, one)| [two, one]);
            }
        }
        Ok(alone.iter().flatten().map(Turns::core_share).fold(1.0, smaller))
    }

    /// Two, or one where there are no more.
    fn threads(&self) -> usize {
        self.setup.cores.len().min(2)
    }

    /// Fills in the rates of batches, with one thread and with two, or adds ways that there are only for them.
    fn measure_batches(&mut self, name: &str, ways: &mut Vec<Way>) -> Result<()> {
        let batches: Vec<_> =
            self.engines.iter().enumerate().flat_map(|(i, engine)| batches(engine.name, i)).collect();
        let threads = self.threads();
        let lanes = batches.iter().flat_map(|Batch { label, engine, together, setting }| {
            let search = Search { together: *together, setting: setting.clone(), ..one_query() };
            [1, threads].map(|threads| Lane {
                label: format!("{label}, {threads} threads"),
                contender: *engine,
                search: search.clone(),
                threads,
            })
        });
        let turns = self.run(name, &lanes.collect::<Vec<_>>())?;
        for (batch, turns) in batches.iter().zip(turns.chunks_exact(2)) {
            if !ways.iter().any(|way| way.label == batch.label) {
                ways.insert(batch.engine + 1, ways[batch.engine].only_batches(batch.label));
            }
            let way = ways.iter_mut().find(|way| way.label == batch.label);
            if let (Some(way), [Some(one), Some(two)]) = (way, turns) {
                way.batch = Some(one.rates(Clock::Cpu));
                way.batch_turn_queries = one.queries();
                way.two_threads = Some([two, one].map(|turns| turns.rates(Clock::Wall)));
            }
        }
        Ok(())
    }

    /// The turns of each lane, or none if its engine failed.
    fn run(&mut self, name: &str, lanes: &[Lane]) -> Result<Vec<Option<Turns>>> {
        let Setup { cores, size, .. } = self.setup;
        let mut contenders: Vec<&mut dyn Contender> = vec![];
        for engine in &mut self.engines {
            contenders.push(&mut *engine.contender);
        }
        let turns = contest::run(name, &mut contenders, lanes, cores, size.rounds, size.turn);
        let of_lane = |(lane, turns): (&Lane, Result<Turns>)| match turns {
            Ok(turns) => Ok(Some(turns)),
            Err(why) => self.leaves(lane.contender, why).map(|()| None),
        };
        lanes.iter().zip(turns).map(of_lane).collect()
    }
}

/// Recall and latencies.
fn unhurried(
    setup: &Setup<'_>,
    set: &DenseSet,
    metric: Metric,
    engine: &mut Engine<'_>,
    truth: &NeighborLists,
) -> Result<Way> {
    let Engine { name, contender } = engine;
    let mut judge =
        |search: &Search| -> Result<Recall> { recall(set, metric, truth, &contender.answers(search)?, K) };
    let mut found = judge(&Search {
        together: TOGETHER,
        setting: json!({"blas_threshold": BLAS_THRESHOLD}),
        ..one_query()
    })?;
    if *name == OURS {
        found = found.min(judge(&one_query())?);
    }
    contender.use_cores(&setup.cores[setup.cores.len() - 1..])?;
    let turn = Turn { search: &one_query(), first: 0, queries: LATENCIES };
    let latencies_ms = percentiles_ms(contender.latencies(&turn)?);
    let label = if *name == "faiss" { FAISS_DEFAULT } else { *name };
    Ok(Way::new(label, found, latencies_ms, contender.call_overhead(K)?))
}

/// Alone.
fn one_query() -> Search {
    Search { k: K, together: 1, setting: json!({}) }
}

fn batches(name: &str, engine: usize) -> Vec<Batch> {
    match name {
        OURS => vec![Batch { label: OURS, engine, together: TOGETHER, setting: json!({}) }],
        "faiss" => vec![
            Batch { label: FAISS_DEFAULT, engine, together: TOGETHER_BY_DEFAULT, setting: json!({}) },
            Batch {
                label: FAISS_BLAS,
                engine,
                together: TOGETHER,
                setting: json!({"blas_threshold": BLAS_THRESHOLD}),
            },
        ],
        // The others have no other way for batches than query by query.
        _ => vec![],
    }
}
