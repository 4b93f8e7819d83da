//! `cargo xtask kafka check`: does the broker that tests rest on do what they expect of it?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cluster, ClusterOptions};

const BROKERS: u16 = 3;
/// The first controller to lead is any of them; over the rounds each broker is killed once.
const NOTICED_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Kills each broker of three in turn, waits until the others have noticed, and starts it again.
pub(super) fn run() -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let options = ClusterOptions::on_free_ports(BROKERS, &dir.path().join("kafka"))?;
    let (start, all) = (Instant::now(), BTreeSet::from_iter(0..BROKERS));
    let mut cluster = Cluster::start(&options)?;
    report("brokers up", start);
    println!("    {}", cluster.bootstrap_servers());
    for killed in 0..BROKERS {
        let index = usize::from(killed);
        cluster.kill(index)?;
        let start = Instant::now();
        let others: BTreeSet<_> = all.iter().copied().filter(|id| *id != killed).collect();
        for other in &others {
            wait_for_live(&cluster, usize::from(*other), &others)?;
        }
        report(&format!("broker {killed} killed and missed by the others"), start);
        let start = Instant::now();
        cluster.restart(index)?;
        ensure!(
            cluster.live_brokers(index)? == all,
            "broker {killed} does not know the others after its restart"
        );
        report(&format!("broker {killed} started again"), start);
    }
    cluster.stop()?;
    ensure!(!options.dir.exists(), "{} is still there", options.dir.display());
    Ok(())
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
