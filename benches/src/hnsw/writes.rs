//! Search latency while another thread writes as fast as it can.

use anyhow::{Result, bail};
use serde_json::json;

use super::{K, PARAMS, Setup, goal};
use crate::affinity;
use crate::contest::Search;
use crate::exact::{Disturbance, Round, disturb};
use crate::ours::Ours;
use crate::report::{Report, Required};
use crate::stats::Spread;

const RATIO_AT_MOST: f64 = 1.5;
/// Points replaced at a time.
const BATCHES: [usize; 2] = [1, 512];
/// As many latencies as elsewhere have no stable p99.
const LATENCIES_TIMES: usize = 5;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let &[writers, .., searchers] = &setup.cores[..] else { bail!("two cores are needed") };
    let (mut rows, mut worst) = (vec![], 0.0);
    for &(name, metric) in &setup.sets {
        let set = setup.load(name)?;
        let (mut ours, _) = Ours::hnsw(&set, metric, PARAMS, &setup.cores)?;
        for batch in BATCHES {
            let disturbance = Disturbance {
                set: &set,
                search: Search { k: K, together: 1, setting: json!({"ef": PARAMS.ef_search}) },
                latencies: setup.size.latencies * LATENCIES_TIMES,
                batch,
                cores: [writers, searchers],
            };
            let rounds = (0..setup.size.rounds).map(|number| disturb(&disturbance, &mut ours, number));
            let rounds: Vec<Round> = rounds.collect::<Result<_>>()?;
            let spread = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
            let ratio = spread(|round| round.busy / round.idle);
            worst = f64::max(worst, ratio.median);
            rows.push([
                format!("{name}, {batch} at a time"),
                format!("{:.3}", spread(|round| round.idle * 1e3)),
                format!("{:.3}", spread(|round| round.busy * 1e3)),
                format!("{ratio:.2}"),
                format!("{:.0}", spread(|round| round.upserts_per_s).median),
            ]);
        }
    }
    affinity::pin(&setup.cores)?;
    goal(report, "hnsw_p99_while_upserting_vs_idle", Required::AtMost(RATIO_AT_MOST), Some(worst));
    let heading = format!(
        "Searches of one thread, ef {}, k {K}, while a thread on another core replaces points as fast as it can. Medians of {} rounds \
         (range); the goal means the worst row.",
        PARAMS.ef_search, setup.size.rounds
    );
    report.add_table(heading, ["set, upserts", "p99 idle, ms", "p99 busy, ms", "ratio", "upserts/s"], rows);
    Ok(())
}
