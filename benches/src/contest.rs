//! Several contenders take turns at the same work, so that what disturbs the machine disturbs all of them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stats::{Spread, larger};

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

impl Turn<'_> {
    /// First query and number of queries of each call, where there are so many queries.
    pub(crate) fn calls(&self, queries: usize) -> Vec<(usize, usize)> {
        let together = self.search.together.min(queries);
        let starts = queries / together;
        let call = |call: usize| ((self.first / together + call) % starts * together, together);
        (0..self.queries.div_ceil(together)).map(call).collect()
    }
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

/// So many times shorter than a turn is what comes before it.
const WARM_UP: usize = 8;

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

    /// Queries of each turn.
    pub(crate) fn queries(&self) -> usize {
        self.0.first().map_or(0, |turn| turn.queries)
    }

    /// Queries per second of each round.
    pub(crate) fn rates(&self, clock: Clock) -> Vec<f64> {
        self.0.iter().map(|turn| 1.0 / turn.seconds_per_query(clock)).collect()
    }

    /// The same, if each query had taken so many seconds less: more than that.
    pub(crate) fn rates_without(&self, clock: Clock, overhead_s: f64) -> Result<Vec<f64>> {
        let rate = |turn: &Elapsed| {
            let seconds = turn.seconds_per_query(clock);
            ensure!(
                seconds > overhead_s,
                "an empty call takes {:.1} us, a whole search {:.1} us",
                overhead_s * 1e6,
                seconds * 1e6
            );
            Ok(1.0 / (seconds - overhead_s))
        };
        self.0.iter().map(rate).collect()
    }
}

impl Elapsed {
    fn seconds_per_query(&self, clock: Clock) -> f64 {
        let seconds = match clock {
            Clock::Wall => self.wall_s,
            Clock::Cpu => self.cpu_s,
        };
        seconds / self.queries as f64
    }
}

/// The ratio of two results of each round.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
}

/// The larger of two results of each round.
pub(crate) fn faster(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| larger(a, b)).collect()
}

/// Lets all lanes search in turn, round after round, each for about `turn` of time, and at least once. A contender that fails
/// leaves: each of its lanes has the reason instead of turns.
pub(crate) fn run(
    title: &str,
    contenders: &mut [&mut dyn Contender],
    lanes: &[Lane],
    cores: &[usize],
    rounds: usize,
    turn: Duration,
) -> Vec<Result<Turns>> {
    let progress = ProgressBar::new((lanes.len() * (rounds + 1)) as u64).with_message(title.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
        progress.set_style(style);
    }
    let mut gone: Vec<Option<String>> = vec![None; contenders.len()];
    let mut queries = vec![0; lanes.len()];
    let mut turns = vec![vec![]; lanes.len()];
    for round in 0..=rounds {
        for i in 0..lanes.len() {
            // Who begins changes, so that nobody always follows the same other one.
            let i = (i + round) % lanes.len();
            let lane = &lanes[i];
            progress.inc(1);
            if gone[lane.contender].is_some() {
                continue;
            }
            let contender = &mut *contenders[lane.contender];
            let done = if round == 0 {
                queries_of_turn(contender, lane, cores, turn).map(|found| queries[i] = found)
            } else {
                measured(contender, lane, cores, round * queries[i], queries[i]).map(|it| turns[i].push(it))
            };
            gone[lane.contender] = done.err().map(|why| format!("{}: {why:#}", lane.label));
        }
    }
    progress.finish_and_clear();
    let of_lane = |(lane, turns): (&Lane, Vec<Elapsed>)| {
        gone[lane.contender].as_ref().map_or(Ok(Turns(turns)), |why| Err(anyhow!("{why}")))
    };
    lanes.iter().zip(turns).map(of_lane).collect()
}

/// How many queries take about a turn. One alone tells little, and the first ones are slow: twice as many again and again, until they
/// take a quarter of it.
fn queries_of_turn(
    contender: &mut dyn Contender,
    lane: &Lane,
    cores: &[usize],
    turn: Duration,
) -> Result<usize> {
    use_cores(contender, lane, cores)?;
    let mut queries = lane.search.together;
    loop {
        let tried = contender.search(&Turn { search: &lane.search, first: 0, queries })?;
        if tried.wall_s >= turn.as_secs_f64() / 4.0 {
            let fitting = turn.as_secs_f64() / tried.seconds_per_query(Clock::Wall);
            return Ok((fitting as usize).max(lane.search.together));
        }
        queries *= 2;
    }
}

/// One turn, after a short one that warms up with other queries.
fn measured(
    contender: &mut dyn Contender,
    lane: &Lane,
    cores: &[usize],
    first: usize,
    queries: usize,
) -> Result<Elapsed> {
    use_cores(contender, lane, cores)?;
    let search = &lane.search;
    let warm_up = queries.div_ceil(WARM_UP);
    contender.search(&Turn { search, first: first + queries, queries: warm_up })?;
    contender.search(&Turn { search, first, queries })
}

/// The last ones: the first one is where the rest of the machine tends to work.
fn use_cores(contender: &mut dyn Contender, lane: &Lane, cores: &[usize]) -> Result<()> {
    let first = cores.len().checked_sub(lane.threads);
    let first = first.with_context(|| format!("{} threads on {} cores", lane.threads, cores.len()))?;
    contender.use_cores(&cores[first..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rates_are_queries_per_second() {
        let turn = |wall_s: f64, cpu_s: f64| Elapsed { queries: 100, wall_s, cpu_s };
        let turns = Turns::new(vec![turn(2.0, 1.0), turn(4.0, 2.0)]);
        assert_eq!(turns.rates(Clock::Wall), [50.0, 25.0]);
        assert_eq!(turns.rates(Clock::Cpu), [100.0, 50.0]);
        assert_eq!(turns.core_share(), 0.5);
        assert_eq!(turns.rates_without(Clock::Wall, 0.01).unwrap()[0], 100.0);
        let error = turns.rates_without(Clock::Wall, 0.02).unwrap_err().to_string();
        assert!(error.contains("an empty call takes 20000.0 us, a whole search 20000.0 us"), "{error}");
        assert_eq!(ratio(&[6.0, 2.0, 4.0], &[2.0, 2.0, 2.0]).median, 2.0);
        assert_eq!(faster(&[1.0, 4.0], &[3.0, 2.0]), [3.0, 4.0]);
    }
    /// Needs a millisecond for each query, ten more for its very first one, and fails after so many turns.
    struct Clumsy {
        turns: Vec<usize>,
        turns_max: usize,
    }

    impl Contender for Clumsy {
        fn use_cores(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }

        fn search(&mut self, turn: &Turn<'_>) -> Result<Elapsed> {
            ensure!(self.turns.len() < self.turns_max, "out of memory");
            let first = if self.turns.is_empty() { 0.01 } else { 0.0 };
            self.turns.push(turn.queries);
            let seconds = turn.queries as f64 * 1e-3 + first;
            Ok(Elapsed { queries: turn.queries, wall_s: seconds, cpu_s: seconds })
        }

        fn answers(&mut self, _: &Search) -> Result<Vec<i32>> {
            Ok(vec![])
        }

        fn latencies(&mut self, _: &Turn<'_>) -> Result<Vec<f64>> {
            Ok(vec![])
        }

        fn call_overhead(&mut self, _: usize) -> Result<f64> {
            Ok(0.0)
        }
    }

    #[test]
    fn one_that_fails_leaves_and_the_others_go_on() {
        let search = Search { k: 1, together: 1, setting: Value::Null };
        let lane = |contender, label: &str| Lane {
            label: label.to_owned(),
            contender,
            search: search.clone(),
            threads: 1,
        };
        let lanes = [lane(0, "steady"), lane(1, "weak, first"), lane(1, "weak, second")];
        let mut steady = Clumsy { turns: vec![], turns_max: usize::MAX };
        let mut weak = Clumsy { turns: vec![], turns_max: 15 };
        let mut contenders: [&mut dyn Contender; 2] = [&mut steady, &mut weak];
        let turns = run("a test", &mut contenders, &lanes, &[0], 3, Duration::from_millis(80));
        assert_eq!(turns[0].as_ref().unwrap().0.len(), 3);
        for (lane, why) in [(1, "weak"), (2, "weak")] {
            let error = turns[lane].as_ref().unwrap_err().to_string();
            assert!(error.starts_with(why) && error.ends_with("out of memory"), "{error}");
        }
        // The first query alone would say that eight fill a turn; each turn is preceded by a short one.
        assert_eq!(steady.turns, [1, 2, 4, 8, 16, 32, 10, 80, 10, 80, 10, 80]);
        assert_eq!(turns[0].as_ref().unwrap().queries(), 80);
    }
}
