//! Several contenders take turns at the same work, so that what disturbs the machine disturbs all of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stats::Spread;

/// Someone who searches.
pub(crate) trait Contender {
    /// Uses one thread on each of these cores from now on.
    fn use_cores(&mut self, cores: &[usize]) -> Result<()>;

    /// Searches, and measures no more than that.
    fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed>;

    /// The ids that are found for all queries, each alone if `together` is 1: queries x k.
    fn answers(&mut self, search: &Search) -> Result<Vec<i32>>;

    /// Seconds that each of so many searches of one query took.
    fn latencies(&mut self, turn: &Turn<'_>) -> Result<Vec<f64>>;

    /// Seconds that a call costs which has nothing to search; 0 where there is no foreign language in between.
    fn call_overhead(&mut self, k: usize) -> Result<f64>;
}

/// How to search.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) k: usize,
    /// Queries in one call.
    pub(crate) together: usize,
    /// The contender's own parameters.
    pub(crate) setting: Value,
}

/// A piece of work: queries from number `first` on, and from the first query again after the last.
pub(crate) struct Turn<'a> {
    pub(crate) search: &'a Search,
    pub(crate) first: usize,
    pub(crate) queries: usize,
}

/// What a turn took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Elapsed {
    /// Queries that were really searched for.
    pub(crate) queries: usize,
    pub(crate) wall_s: f64,
    /// Of all threads of the process.
    pub(crate) cpu_s: f64,
}

/// What building an index took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Built {
    pub(crate) wall_s: f64,
    /// Of all threads of the process.
    pub(crate) cpu_s: f64,
    /// What the process has grown by, files apart where it can tell.
    pub(crate) bytes: f64,
    /// The most that it ever grew to.
    pub(crate) peak_bytes: f64,
}

/// One way to search that is compared with others.
pub(crate) struct Lane {
    pub(crate) label: String,
    /// Its place among the contenders.
    pub(crate) contender: usize,
    pub(crate) search: Search,
    /// How many cores, one thread on each.
    pub(crate) threads: usize,
}

/// What counts as time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    Wall,
    /// Processor time: for one thread, whatever else the machine does.
    Cpu,
}

/// The turns of one lane, one for each round.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Vec<Elapsed>);

impl Turns {
    #[cfg(test)]
    pub(crate) fn new(turns: Vec<Elapsed>) -> Self {
        Self(turns)
    }

    /// The share of one core that a turn had, in the median; less than 1 if other programs wanted it.
    pub(crate) fn core_share(&self) -> f64 {
        Spread::of(self.0.iter().map(|turn| turn.cpu_s / turn.wall_s).collect()).median
    }

    /// Queries per second of each round.
    pub(crate) fn rates(&self, clock: Clock) -> Vec<f64> {
        self.rates_without(clock, 0.0)
    }

    /// The same, if each query had taken so many seconds less.
    pub(crate) fn rates_without(&self, clock: Clock, overhead_s: f64) -> Vec<f64> {
        let rate = |turn: &Elapsed| {
            let seconds = match clock {
                Clock::Wall => turn.wall_s,
                Clock::Cpu => turn.cpu_s,
            };
            turn.queries as f64 / (seconds - overhead_s * turn.queries as f64)
        };
        self.0.iter().map(rate).collect()
    }
}

/// The ratio of two results of each round.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
}

/// The larger of two results of each round.
pub(crate) fn faster(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a.max(*b)).collect()
}

/// Lets all lanes search in turn, round after round, each for about `turn` of time, and at least once.
pub(crate) fn run(
    title: &str,
    contenders: &mut [&mut dyn Contender],
    lanes: &[Lane],
    cores: &[usize],
    rounds: usize,
    turn: Duration,
) -> Result<Vec<Turns>> {
    let mut run_one = |lane: &Lane, first: usize, queries: usize| {
        ensure!(lane.threads <= cores.len(), "{} threads on {} cores", lane.threads, cores.len());
        let contender = &mut contenders[lane.contender];
        // The last cores: the first one is where the rest of the machine tends to work.
        contender.use_cores(&cores[cores.len() - lane.threads..])?;
        let turn = Turn { search: &lane.search, first, queries };
        contender.search(&turn).with_context(|| lane.label.clone())
    };
    let progress = ProgressBar::new((lanes.len() * (rounds + 1)) as u64).with_message(title.to_owned());
    progress.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?);
    let mut queries = vec![];
    for lane in lanes {
        // Warms up, and tells how much fits into a turn.
        let tried = run_one(lane, 0, lane.search.together)?;
        let per_query = tried.wall_s / tried.queries as f64;
        queries.push(((turn.as_secs_f64() / per_query) as usize).max(lane.search.together));
        progress.inc(1);
    }
    let mut turns = vec![vec![]; lanes.len()];
    for round in 0..rounds {
        for i in 0..lanes.len() {
            // Who begins changes, so that nobody always follows the same other one.
            let i = (i + round) % lanes.len();
            turns[i].push(run_one(&lanes[i], round * queries[i], queries[i])?);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(turns.into_iter().map(Turns).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_queries_per_second() {
        let turn = |wall_s: f64, cpu_s: f64| Elapsed { queries: 100, wall_s, cpu_s };
        let turns = Turns::new(vec![turn(2.0, 1.0), turn(4.0, 2.0)]);
        assert_eq!(turns.rates(Clock::Wall), [50.0, 25.0]);
        assert_eq!(turns.rates(Clock::Cpu), [100.0, 50.0]);
        assert_eq!(turns.core_share(), 0.5);
        assert_eq!(turns.rates_without(Clock::Wall, 0.01), [100.0, 100.0 / 3.0]);
        assert_eq!(ratio(&[6.0, 2.0, 4.0], &[2.0, 2.0, 2.0]).median, 2.0);
        assert_eq!(faster(&[1.0, 4.0], &[3.0, 2.0]), [3.0, 4.0]);
    }
}
