//! Ours and other libraries' exact search in turn, on the same vectors.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vektonn_index::Metric;

use super::outcome::{FAISS_BLAS, FAISS_DEFAULT, OURS, Outcome, Way};
use super::{K, Setup, TOGETHER, short};
use crate::contest::{self, Clock, Contender, Lane, Search, Turn, Turns};
use crate::datasets::DenseSet;
use crate::ground_truth;
use crate::ours::Ours;
use crate::recall::{Recall, recall};
use crate::stats::percentiles_ms;

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
    missing: Vec<(String, String)>,
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
                Err(error) => missing.push((peer.name.to_owned(), format!("{error:#}"))),
            }
        }
        Self { setup, set, metric, engines, missing }
    }

    pub(super) fn fight(mut self) -> Result<Outcome> {
        let name = format!("{}, {}", self.set.name, short(self.metric));
        let truth = ground_truth::of(self.set, self.metric, self.setup.folders)?;
        let one = Search { k: K, together: 1, setting: json!({}) };
        let mut ways: Vec<Way> = vec![];
        for Engine { name, contender } in &mut self.engines {
            let mut judge = |search: &Search| -> Result<Recall> {
                recall(self.set, self.metric, &truth, &contender.answers(search)?, K)
            };
            let setting = json!({"blas_threshold": BLAS_THRESHOLD});
            let mut found = judge(&Search { k: K, together: TOGETHER, setting })?;
            if *name == OURS {
                found = found.min(judge(&one)?);
            }
            contender.use_cores(&self.setup.cores[self.setup.cores.len() - 1..])?;
            let turn = Turn { search: &one, first: 0, queries: LATENCIES };
            let latencies_ms = percentiles_ms(contender.latencies(&turn)?);
            let label = if *name == "faiss" { FAISS_DEFAULT } else { *name };
            ways.push(Way::new(label, found, latencies_ms, contender.call_overhead(K)?));
        }
        let core_share = self.measure_single(&name, &one, &mut ways)?;
        self.measure_batches(&name, &one, &mut ways)?;
        Ok(Outcome { name, ways, core_share, missing: self.missing })
    }

    /// Fills in the rates of one query at a time, ours and faiss's with two threads too; returns the share of its core that
    /// the most disturbed single thread had.
    fn measure_single(&mut self, name: &str, search: &Search, ways: &mut [Way]) -> Result<f64> {
        let two = self.threads();
        let with_two = |name: &str| [OURS, "faiss"].contains(&name);
        let lane = |(contender, threads): (usize, usize)| Lane {
            label: format!("{}, {threads} threads", self.engines[contender].name),
            contender,
            search: search.clone(),
            threads,
        };
        let engines = self.engines.iter().enumerate();
        let several = engines.filter(|(_, engine)| with_two(engine.name)).map(|(i, _)| (i, two));
        let several: Vec<_> = several.collect();
        let lanes = (0..self.engines.len()).map(|i| (i, 1)).chain(several.clone()).map(lane);
        let turns = self.run(name, &lanes.collect::<Vec<_>>())?;
        let (alone, together) = turns.split_at(ways.len());
        for (way, turns) in ways.iter_mut().zip(alone) {
            way.single = Some(turns.rates_without(Clock::Cpu, way.call_s));
        }
        for ((engine, _), turns) in several.into_iter().zip(together) {
            let call_s = ways[engine].call_s;
            ways[engine].single_two_threads =
                Some([turns, &alone[engine]].map(|turns| turns.rates_without(Clock::Wall, call_s)));
        }
        Ok(alone.iter().map(Turns::core_share).fold(1.0, f64::min))
    }

    /// Two, or one where there are no more.
    fn threads(&self) -> usize {
        self.setup.cores.len().min(2)
    }

    /// Fills in the rates of batches, with one thread and with two, or adds ways that there are only for them.
    fn measure_batches(&mut self, name: &str, search: &Search, ways: &mut Vec<Way>) -> Result<()> {
        let batches: Vec<_> =
            self.engines.iter().enumerate().flat_map(|(i, engine)| batches(engine.name, i)).collect();
        let threads = self.threads();
        let lanes = batches.iter().flat_map(|Batch { label, engine, together, setting }| {
            let search = Search { together: *together, setting: setting.clone(), ..search.clone() };
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
            if let (Some(way), [one, two]) = (way, turns) {
                way.batch = Some(one.rates(Clock::Cpu));
                way.two_threads = Some([two, one].map(|turns| turns.rates(Clock::Wall)));
            }
        }
        Ok(())
    }

    fn run(&mut self, name: &str, lanes: &[Lane]) -> Result<Vec<Turns>> {
        ensure!(!lanes.is_empty(), "{name}: nothing to measure");
        let Setup { cores, size, .. } = self.setup;
        let mut contenders: Vec<&mut dyn Contender> = vec![];
        for engine in &mut self.engines {
            contenders.push(&mut *engine.contender);
        }
        contest::run(name, &mut contenders, lanes, cores, size.rounds, size.turn)
    }
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
