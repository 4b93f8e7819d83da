//! Search latency while another thread writes as fast as it can.

use anyhow::{Result, bail};
use serde_json::json;

use super::{K, PARAMS, Setup};
use crate::contest::Search;
use crate::exact::{BATCHES, Disturbance, Disturbed};
use crate::ours::Ours;
use crate::report::Report;

/// As many latencies as elsewhere have no stable p99.
const LATENCIES_TIMES: usize = 5;

pub(super) fn measure(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let &[writers, .., searchers] = &setup.cores[..] else { bail!("two cores are needed") };
    let mut disturbed = Disturbed::default();
    for &(name, metric) in &setup.sets {
        report.attempt(format!("writes, {name}"), |_| {
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
                disturbed.add(&disturbance, &mut ours, setup.size.rounds)?;
            }
            Ok(())
        });
    }
    let heading = format!(
        "Searches of one thread, ef {}, k {K}, while a thread on another core replaces points as fast as it can. Medians of {} rounds \
         (range); the goal means the worst row.",
        PARAMS.ef_search, setup.size.rounds
    );
    let rows = setup.sets.len() * BATCHES.len();
    disturbed.report("hnsw_p99_while_upserting_vs_idle", heading, rows, report);
    Ok(())
}
