//! Where Kafka is: arguments and environment variables.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use clap::Args;
use vektonn_kafka::DataSource;

/// The rest of such a variable's name is a property of librdkafka, as `VEKTONN_KAFKA_PROPERTY_SECURITY_PROTOCOL` is
/// `security.protocol`.
const PROPERTY_PREFIX: &str = "VEKTONN_KAFKA_PROPERTY_";

/// Settings of the Kafka data source.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kafka (VEKTONN_KAFKA_PROPERTY_<NAME> sets any other property of librdkafka)")]
pub(crate) struct KafkaArgs {
    /// Brokers to ask first: host:port, separated by commas
    #[arg(long, value_name = "SERVERS", env = "VEKTONN_KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// On how many brokers a new topic is kept
    #[arg(long, value_name = "COUNT", default_value_t = 1, env = "VEKTONN_KAFKA_TOPIC_REPLICATION_FACTOR")]
    kafka_topic_replication_factor: i32,
    /// Refuse topics that have several partitions or are not compacted; else partition 0 is served with a warning
    #[arg(long)]
    kafka_refuse_unsuitable_topics: bool,
}

impl KafkaArgs {
    /// The data source, if servers are named.
    ///
    /// # Errors
    /// When the settings are impossible. Kafka need not be there yet.
    pub(crate) fn open(&self) -> Result<Option<Arc<dyn DataSource>>> {
        let Some(servers) = self.kafka_bootstrap_servers.as_ref().filter(|servers| !servers.is_empty())
        else {
            return Ok(None);
        };
        let properties = properties(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        );
        let source = self.connect(servers, properties)?;
        // The servers may come from the environment, where nobody sees them.
        tracing::info!("data in Kafka at {servers}");
        Ok(Some(source))
    }

    #[cfg(feature = "kafka")]
    fn connect(&self, servers: &str, properties: BTreeMap<String, String>) -> Result<Arc<dyn DataSource>> {
        let mut options = vektonn_kafka::KafkaOptions::new(servers);
        options.replication_factor = self.kafka_topic_replication_factor;
        options.refuse_unsuitable_topics = self.kafka_refuse_unsuitable_topics;
        options.properties = properties;
        Ok(Arc::new(vektonn_kafka::KafkaDataSource::new(options)?))
    }

    #[cfg(not(feature = "kafka"))]
    fn connect(&self, servers: &str, _properties: BTreeMap<String, String>) -> Result<Arc<dyn DataSource>> {
        Err(anyhow!("this program was built without Kafka, it cannot connect to {servers}"))
    }

    /// The data source.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when no servers are named.
    pub(crate) fn open_required(&self) -> Result<Arc<dyn DataSource>> {
        let missing = || anyhow!("set --kafka-bootstrap-servers or VEKTONN_KAFKA_BOOTSTRAP_SERVERS");
        self.open()?.ok_or_else(missing)
    }
}

fn properties(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables
        .filter_map(|(name, value)| {
            let property = name.strip_prefix(PROPERTY_PREFIX)?;
            Some((property.to_ascii_lowercase().replace('_', "."), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_properties() {
        let variables = [
            ("VEKTONN_KAFKA_PROPERTY_SASL_MECHANISM", "PLAIN"),
            ("VEKTONN_KAFKA_PROPERTY_linger.ms", "20"),
            ("VEKTONN_KAFKA_BOOTSTRAP_SERVERS", "h:1"),
        ];
        let found = properties(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let expected = [("linger.ms", "20"), ("sasl.mechanism", "PLAIN")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
}
