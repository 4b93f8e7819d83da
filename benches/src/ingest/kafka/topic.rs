//! Topics of a run: created as Vektonn creates them, and deleted when they are no longer needed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use vektonn_core::codec::encode_record;

use crate::catalog::Catalog;
use crate::data::Points;

/// What Vektonn sets for its topics.
const CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "268435456"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("delete.retention.ms", "86400000"),
];
const TIMEOUT: Duration = Duration::from_secs(30);

/// The only topic of a catalog's data source.
pub(crate) struct BenchTopic {
    servers: String,
    name: String,
}

impl BenchTopic {
    /// Creates the topic.
    pub(crate) fn create(servers: &str, catalog: &Catalog) -> Result<Self> {
        let meta = catalog.meta()?;
        let any_point = Points::random(1, catalog.dimension(), 0)?.change(0);
        let name = encode_record(meta.data_source(), &any_point).topic;
        let topic = Self { servers: servers.to_owned(), name };
        let config = |topic, (name, value)| NewTopic::set(topic, name, value);
        let new = NewTopic::new(&topic.name, 1, TopicReplication::Fixed(1));
        let new = CONFIG.into_iter().fold(new, config);
        topic.ask(async |admin, options| admin.create_topics([&new], &options).await)?;
        Ok(topic)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Deletes it.
    pub(crate) fn delete(self) -> Result<()> {
        self.ask(async |admin, options| admin.delete_topics(&[&self.name], &options).await)
    }

    /// Fails unless so many records were ever written to it.
    pub(crate) fn check_end(&self, records: usize) -> Result<()> {
        let consumer: BaseConsumer = self.client().create().context("a client")?;
        let (_, end) = consumer.fetch_watermarks(&self.name, 0, TIMEOUT).context("the end of the topic")?;
        ensure!(usize::try_from(end) == Ok(records), "{} ends at {end}, not at {records}", self.name);
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn ask(
        &self,
        question: impl AsyncFnOnce(
            &AdminClient<DefaultClientContext>,
            AdminOptions,
        ) -> rdkafka::error::KafkaResult<Vec<rdkafka::admin::TopicResult>>,
    ) -> Result<()> {
        let admin: AdminClient<_> = self.client().create().context("a client")?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = runtime.block_on(question(&admin, options));
        for answer in answers.with_context(|| format!("topic {}", self.name))? {
            answer.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
        }
        Ok(())
    }
}
