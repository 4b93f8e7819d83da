//! `vektonn verify`: do all processes that hold a shard hold the same, and is it what the log says?

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use reqwest::Url;
use vektonn_core::{IndexId, IndexMeta, Position, TopicPosition};
use vektonn_index::shard::Shard;
use vektonn_kafka::DataSource;
use vektonn_kafka::lifecycle::{ShardFollower, ShardState};

use super::kafka::KafkaArgs;
use super::logging::Logging;
use super::output::{print, printable};
use crate::catalog::CatalogFiles;
use crate::client::{Client, DEFAULT_URL};
use crate::dto::ShardDigest;

const EXAMPLE: &str = "Examples:
  vektonn verify http://host-1:8082 http://host-2:8082
  vektonn verify http://127.0.0.1:8081
  vektonn verify http://127.0.0.1:8081 --config examples/quick-start --kafka-bootstrap-servers 127.0.0.1:9092

An API names the processes of its shards, which are asked then. With --config every shard is also built anew from the
log in Kafka. Digests are compared where they are of the same position of the log.

A shard that only one process holds is shown, but not compared; a process that is named twice counts once, as long as both
names lead to the same address. The exit code is 1 if a shard differs or could not be compared because the log grows too
fast, and also if no shard had anything to be compared with.";

/// While the log grows, positions may differ; then all are asked again.
const TRIES: usize = 10;
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// A digest in this process falls between two changes within this time.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(30);
const REPLAY: &str = "replay of the log";

/// Compare what processes that hold the same shard hold, and what the log says
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct VerifyArgs {
    /// Where processes listen: servers, APIs or index shards
    #[arg(value_name = "URL", default_value = DEFAULT_URL)]
    urls: Vec<String>,
    /// Configuration directory, to build the shards anew from the log in Kafka
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) logging: Logging,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// A shard of an index.
type ShardName = (IndexId, String);

/// Somebody who holds a shard.
enum Holder {
    Process(Client),
    Replay(Arc<ShardFollower>),
}

/// The holders of each shard, by where they are.
type Holders = BTreeMap<ShardName, BTreeMap<String, Holder>>;

/// What came out for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Equal,
    Different,
    /// There was nobody to compare with.
    Alone,
    /// Positions went on differing.
    NotComparable,
}

/// Compares and prints.
pub(crate) async fn run(args: VerifyArgs) -> Result<()> {
    let (table, verdicts) = verify(&args).await?;
    let printed = print(table);
    if verdicts.contains(&Verdict::Different) || verdicts.contains(&Verdict::NotComparable) {
        bail!("not all shards were found to hold the same");
    }
    if !verdicts.contains(&Verdict::Equal) {
        bail!(
            "nothing was compared, for no shard has two holders: name more processes, or --config to compare with the log"
        );
    }
    printed
}

async fn verify(args: &VerifyArgs) -> Result<(Table, BTreeSet<Verdict>)> {
    let holders = find_holders(args).await?;
    if holders.is_empty() {
        bail!("there are no shards to compare");
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["index", "shard", "held by", "points", "digest", ""]);
    let mut verdicts = BTreeSet::new();
    for ((index, shard), holders) in &holders {
        let (digests, verdict) = compare(index, shard, holders).await?;
        for (place, digest) in &digests {
            let index = printable(&format!("{} {}", index.name, index.version));
            let (place, points) = (printable(place), digest.data_points_count.to_string());
            table.add_row([
                &index,
                &printable(shard),
                &place,
                &points,
                &printable(&digest.digest),
                verdict.word(),
            ]);
        }
        verdicts.insert(verdict);
    }
    Ok((table, verdicts))
}

async fn find_holders(args: &VerifyArgs) -> Result<Holders> {
    let replayed = match &args.config {
        Some(config) => {
            let log = args.kafka.open_required().context("--config compares with the log in Kafka")?;
            Some((config.clone(), log))
        }
        None => None,
    };
    let (mut holders, mut processes) = (Holders::new(), Processes::default());
    for url in &args.urls {
        find_processes(url, &mut processes, &mut holders).await?;
    }
    if let Some((config, log)) = replayed {
        let replays = tokio::task::spawn_blocking(move || replay(config, log)).await??;
        for (name, follower) in replays {
            let of_shard = holders.entry(name).or_default();
            of_shard.insert(REPLAY.to_owned(), Holder::Replay(follower));
        }
    }
    Ok(holders)
}

/// The processes that were named, each by the first of its URLs: `localhost` and `127.0.0.1` are one process, which would
/// always equal itself.
#[derive(Default)]
struct Processes(Vec<Process>);

struct Process {
    name: String,
    addresses: Vec<SocketAddr>,
    /// Several processes may answer behind one address.
    path: String,
}

impl Processes {
    /// The URL by which the process at this one was named first.
    fn name_of(&mut self, url: &str) -> Result<String> {
        let parsed = Url::parse(url).with_context(|| format!("'{url}' is not a URL"))?;
        // A name that leads nowhere is told when the process is asked.
        let addresses = parsed.socket_addrs(|| None).unwrap_or_default();
        let path = parsed.path().trim_end_matches('/').to_owned();
        let is_same = |other: &&Process| {
            path == other.path && addresses.iter().any(|address| other.addresses.contains(address))
        };
        if let Some(first) = self.0.iter().find(is_same) {
            return Ok(first.name.clone());
        }
        self.0.push(Process { name: url.to_owned(), addresses, path });
        Ok(url.to_owned())
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "DIFFERENT",
            Self::Alone => "only one holder: not compared",
            Self::NotComparable => "not comparable: the log grows too fast",
        }
    }
}

impl Holder {
    async fn digest(&self, index: &IndexId, shard: &str, min_position: &Position) -> Result<ShardDigest> {
        let follower = match self {
            Self::Process(client) => return Ok(client.digest(index, shard, min_position).await?),
            Self::Replay(follower) => Arc::clone(follower),
        };
        let deadline = Instant::now() + DIGEST_TIMEOUT;
        follower.wait_for(min_position, deadline).await?;
        let digest = tokio::task::spawn_blocking(move || follower.digest(deadline)).await?;
        let (position, digest) = digest.context("the shard changes without a pause")?;
        Ok(ShardDigest {
            position: position.to_string(),
            data_points_count: digest.points,
            digest: digest.to_string(),
        })
    }
}

/// Adds the shards of a process, or those that it names.
async fn find_processes(url: &str, processes: &mut Processes, holders: &mut Holders) -> Result<()> {
    for index in Client::new(url)?.indices().await? {
        let id = IndexId::new(index.name, index.version);
        for shard in index.shards {
            let mut urls: Vec<_> =
                shard.endpoints.iter().map(|endpoint| format!("http://{endpoint}")).collect();
            if urls.is_empty() {
                urls.push(url.to_owned());
            }
            let of_shard = holders.entry((id.clone(), shard.id)).or_default();
            for url in urls {
                let url = processes.name_of(&url)?;
                of_shard.insert(url.clone(), Holder::Process(Client::new(&url)?));
            }
        }
    }
    Ok(())
}

/// Builds all shards anew from the log.
fn replay(config: PathBuf, source: Arc<dyn DataSource>) -> Result<Vec<(ShardName, Arc<ShardFollower>)>> {
    let catalog = CatalogFiles { base: config, with_topology: false }.load()?;
    let names = |meta: &Arc<IndexMeta>| {
        let shards: Vec<_> = meta.shards().keys().map(|shard| (Arc::clone(meta), shard.clone())).collect();
        shards
    };
    let start = |(meta, shard): (Arc<IndexMeta>, String)| {
        let follower =
            ShardFollower::start(Arc::new(Shard::new(Arc::clone(&meta), &shard)?), Arc::clone(&source));
        Ok(((meta.id().clone(), shard), Arc::new(follower)))
    };
    let replays: Result<Vec<(ShardName, _)>> = catalog.indices.values().flat_map(names).map(start).collect();
    let replays = replays?;
    for ((index, shard), follower) in &replays {
        while !follower.is_serving() {
            if let ShardState::Failed(why) = follower.state() {
                bail!("shard '{shard}' of index {index} cannot be built from the log: {why}");
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
    }
    Ok(replays)
}

/// Asks the holders of a shard for their digests, until all are of the same position.
async fn compare(
    index: &IndexId,
    shard: &str,
    holders: &BTreeMap<String, Holder>,
) -> Result<(Vec<(String, ShardDigest)>, Verdict)> {
    // Nobody is asked to wait before it is known that all follow the same log.
    let (mut digests, mut furthest) = (Vec::new(), Position::new());
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        digests.clear();
        let wanted = furthest.clone();
        for (place, holder) in holders {
            let digest = holder.digest(index, shard, &wanted).await.with_context(|| place.clone())?;
            let position: Position = digest
                .position
                .parse()
                .with_context(|| format!("{place} answered an unreadable position"))?;
            if let Some(topic) = different_topic(&position, &furthest) {
                bail!("{place} follows another topic of the name {topic} than the processes before it");
            }
            furthest.merge_max(&position);
            digests.push((place.clone(), digest));
        }
        if digests.windows(2).all(|pair| pair[0].1.position == pair[1].1.position) {
            if digests.len() == 1 {
                return Ok((digests, Verdict::Alone));
            }
            let equal = digests.windows(2).all(|pair| pair[0].1 == pair[1].1);
            return Ok((digests, if equal { Verdict::Equal } else { Verdict::Different }));
        }
    }
    Ok((digests, Verdict::NotComparable))
}

/// A topic that was deleted and made again between two positions, or is of another log.
fn different_topic<'a>(one: &'a Position, other: &Position) -> Option<&'a str> {
    let differs = |(topic, at): &(&str, TopicPosition)| {
        other.get(topic).is_some_and(|other| other.topic_id != at.topic_id)
    };
    one.iter().find(differs).map(|(topic, _)| topic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::client::testing::TestServer;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: VerifyArgs,
    }

    fn args(args: &[&str]) -> VerifyArgs {
        Command::parse_from([&["verify"], args].concat()).args
    }

    #[tokio::test]
    async fn one_process_is_not_compared_with_itself() {
        let server = TestServer::start().await;
        let by_name = server.url.replace("127.0.0.1", "localhost");
        for urls in [vec![&*server.url], vec![&server.url, &by_name, &server.url]] {
            let (table, verdicts) = verify(&args(&urls)).await.unwrap();
            assert!(verdicts.into_iter().eq([Verdict::Alone]), "{table}");
            assert_eq!(table.to_string().matches("only one holder: not compared").count(), 1, "{table}");
            let error = run(args(&urls)).await.unwrap_err().to_string();
            assert!(error.starts_with("nothing was compared"), "{error}");
        }
        server.stop().await;
    }

    #[test]
    fn processes_behind_one_address_are_told_by_their_path() {
        let mut processes = Processes::default();
        let mut name = |url| processes.name_of(url).unwrap();
        assert_eq!(name("http://127.0.0.1:1/a"), "http://127.0.0.1:1/a");
        assert_eq!(name("http://127.0.0.1:1/b"), "http://127.0.0.1:1/b");
        assert_eq!(name("http://127.0.0.1:2/a"), "http://127.0.0.1:2/a");
        assert_eq!(name("http://127.0.0.1:1/a/"), "http://127.0.0.1:1/a");
    }

    #[tokio::test]
    async fn a_replay_needs_the_log() {
        let error = format!("{:#}", run(args(&["--config", "nowhere"])).await.unwrap_err());
        assert!(
            error.starts_with("--config compares with the log in Kafka: set --kafka-bootstrap-servers"),
            "{error}"
        );
    }
}
