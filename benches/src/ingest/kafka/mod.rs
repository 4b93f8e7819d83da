//! The same over Kafka, next to what librdkafka does alone.

mod bare;
mod catch_up;
mod scatter;
mod topic;
mod upload;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use self::topic::BenchTopic;
use super::freshness::{self, Wanted};
use super::system::System;
use super::{Setup, Size};
use crate::catalog::Catalog;
use crate::report::Report;

pub(super) use self::catch_up::measure as catch_up;
pub(super) use self::scatter::measure as scatter;
pub(super) use self::upload::measure as upload;

const SEARCHABLE_P99_MS_MAX: f64 = 150.0;

/// What the parts over Kafka need.
pub(super) struct Kafka<'a> {
    setup: &'a Setup,
    servers: &'a str,
    /// In the names of this run's topics, so that two runs on one cluster do not meet.
    run: String,
}

impl<'a> Kafka<'a> {
    pub(super) fn new(setup: &'a Setup, servers: &'a str) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { setup, servers, run: format!("{:x}", since_1970.as_micros()) }
    }

    fn size(&self) -> &'static Size {
        self.setup.size
    }

    /// A catalog that nothing else uses.
    fn catalog(&self, name: &str) -> Catalog {
        Catalog::new(self.setup.dimension).version(format!("{name}-{}", self.run))
    }
}

/// From an upload's acknowledgement to a search that finds it: `vektonn api` and `vektonn index-shard`.
pub(super) fn freshness(kafka: &Kafka<'_>, report: &mut Report) -> Result<()> {
    let catalog = kafka.catalog("freshness");
    let topic = BenchTopic::create(kafka.servers, &catalog)?;
    let system = System::on_kafka(kafka.setup, kafka.servers, &catalog)?;
    let wanted = Wanted {
        what: "Kafka, one API and one shard process",
        goal: "kafka_acknowledged_to_searchable",
        p99_ms_max: SEARCHABLE_P99_MS_MAX,
    };
    freshness::measure(kafka.setup, &system, &wanted, report)?;
    drop(system);
    topic.delete()
}
