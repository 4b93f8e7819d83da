//! The same over Kafka, next to what librdkafka does alone.

mod bare;
mod catch_up;
mod scatter;
mod topic;
mod upload;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::freshness::{self, Wanted};
use super::system::System;
use super::{Setup, Size};
use crate::catalog::Catalog;
use crate::report::Report;

pub(crate) use self::bare::Producer;
pub(super) use self::catch_up::measure as catch_up;
pub(super) use self::scatter::measure as scatter;
pub(crate) use self::topic::BenchTopic;
pub(super) use self::upload::measure as upload;

const SEARCHABLE_P99_MS_MAX: f64 = 150.0;

/// What the parts over Kafka need.
pub(super) struct Kafka<'a> {
    setup: &'a Setup,
    servers: &'a str,
}

impl<'a> Kafka<'a> {
    pub(super) fn new(setup: &'a Setup, servers: &'a str) -> Self {
        Self { setup, servers }
    }

    fn size(&self) -> &'static Size {
        self.setup.size
    }

    /// A catalog that nothing else uses.
    fn catalog(&self, name: &str) -> Catalog {
        Catalog::new(self.setup.dimension).version(unique_version(name))
    }
}

/// A version of this name that no other catalog has, so that two runs on one cluster do not meet.
pub(crate) fn unique_version(name: &str) -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{:x}", since_1970.as_micros())
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
