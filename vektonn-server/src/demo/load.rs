//! Getting the demo's data into the server, and into its indices.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use vektonn_core::{DataPoint, Position};

use super::*;
use crate::client::{ClientError, nearest};

const UPLOAD_POINTS: usize = 1000;
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);

impl Demo {
    /// Uploads what is not there yet and waits until searches see it; says what there is.
    pub(super) async fn load(&self) -> Result<String> {
        self.wait_until_ready().await?;
        let started = Instant::now();
        let digits: Vec<DataPoint> = self.digits.iter().map(Digit::point).collect();
        let definitions: Vec<DataPoint> = self.dictionary.points().collect();
        let bar = ProgressBar::new((digits.len() + definitions.len()) as u64).with_style(
            ProgressStyle::with_template("  loading {wide_bar} {human_pos} of {human_len} data points")?,
        );
        let loaded_digits = self.load_source(DIGITS, &[DIGITS_L2, DIGITS_BY_LABEL], &digits, &bar).await?;
        let indices = [DICTIONARY_COSINE, DICTIONARY_JACCARD, DICTIONARY_IP];
        let loaded_definitions = self.load_source(DICTIONARY, &indices, &definitions, &bar).await?;
        bar.finish_and_clear();
        let how = match loaded_digits || loaded_definitions {
            true => format!("loaded and searchable after {:.1} s", started.elapsed().as_secs_f64()),
            false => "already there".to_owned(),
        };
        Ok(format!(
            "Vektonn at {}: {} handwritten digits and {} dictionary definitions, {how}.",
            self.url,
            HumanCount(digits.len() as u64),
            HumanCount(definitions.len() as u64),
        ))
    }

    /// Uploads a data source unless all its indices hold it; tells whether it did.
    async fn load_source(
        &self,
        name: &str,
        indices: &[&str],
        points: &[DataPoint],
        bar: &ProgressBar,
    ) -> Result<bool> {
        if self.hold(indices, points.len()).await? {
            bar.inc(points.len() as u64);
            return Ok(false);
        }
        let mut written = Position::new();
        for points in points.chunks(UPLOAD_POINTS) {
            written.merge_max(&self.client.upload_points((name, VERSION), points).await?);
            bar.inc(points.len() as u64);
        }
        let Some(point) = points.first() else { return Ok(true) };
        for index in indices {
            let query = nearest(vec![point.vector.clone()], 1);
            self.client.search((index, VERSION), &query, &written).await?;
        }
        Ok(true)
    }

    /// Whether each of these indices has exactly so many data points.
    async fn hold(&self, indices: &[&str], points: usize) -> Result<bool> {
        let on_server = self.client.indices().await?;
        let holds = |index: &&str| {
            on_server.iter().find(|it| it.name == **index && it.version == VERSION).is_some_and(|it| {
                it.shards.iter().filter_map(|shard| shard.data_points_count).sum::<u64>() == points as u64
            })
        };
        Ok(indices.iter().all(holds))
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            match self.client.get(&["readyz"]).await {
                Err(ClientError::Refused { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(READY_POLL).await;
                }
                other => return Ok(other.map(|_| ())?),
            }
        }
    }
}
