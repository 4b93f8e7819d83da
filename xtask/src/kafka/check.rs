//! `cargo xtask kafka check`: does the broker that tests rest on do what they expect of it?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cluster, ClusterOptions};

const BROKERS: u16 = 3;
const NOTICED_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Kills each broker of three in turn, so one of them leads the controllers, and starts it again: the first when the
/// others have noticed, the rest at once.
pub(super) fn run() -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let options = ClusterOptions::on_free_ports(BROKERS, &dir.path().join("kafka"))?;
    let start = Instant::now();
    let mut cluster = Cluster::start(&options)?;
    report(&format!("brokers {} up", cluster.bootstrap_servers()), start);
    for killed in 0..BROKERS {
        let (index, start) = (usize::from(killed), Instant::now());
        cluster.kill(index)?;
        if killed == 0 {
            wait_until_missed(&cluster, killed)?;
            report("broker 0 killed and missed by the others", start);
        }
        let start = Instant::now();
        cluster.restart(index)?;
        let live = cluster.live_brokers(index)?;
        ensure!(live.len() == usize::from(BROKERS), "broker {killed} knows only {live:?} after its restart");
        report(&format!("broker {killed} started again"), start);
    }
    cluster.stop()?;
    ensure!(!options.dir.exists(), "{} is still there", options.dir.display());
    Ok(())
}

fn wait_until_missed(cluster: &Cluster, killed: u16) -> Result<()> {
    let others: BTreeSet<_> = (0..BROKERS).filter(|id| *id != killed).collect();
    others.iter().try_for_each(|id| wait_for_live(cluster, usize::from(*id), &others))
}

fn wait_for_live(cluster: &Cluster, index: usize, expected: &BTreeSet<u16>) -> Result<()> {
    let deadline = Instant::now() + NOTICED_TIMEOUT;
    // An error may pass too: while the controllers elect another leader, connections can be cut.
    while cluster.live_brokers(index).ok().as_ref() != Some(expected) {
        ensure!(
            Instant::now() < deadline,
            "broker {index} knows brokers {:?} of {expected:?} after {} s",
            cluster.live_brokers(index),
            NOTICED_TIMEOUT.as_secs()
        );
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn report(what: &str, start: Instant) {
    println!("    kafka: {what} after {:.1} s", start.elapsed().as_secs_f64());
}
