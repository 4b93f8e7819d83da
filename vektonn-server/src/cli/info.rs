//! `vektonn info`: what a server has, and how it is.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use crate::client::{Client, DEFAULT_URL, DataSourceItem, IndexItem, ShardItem};

const EXAMPLE: &str = "Examples:
  vektonn info
  vektonn info --json | jq '.indices[].shards[].state'

A shard's lag is how many records of the log it has not applied yet; bad records are those it had to skip.";

/// List the data sources, indices and shards of a server
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct InfoArgs {
    /// Where the server listens
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Asks the server and prints what it has.
pub(crate) async fn run(args: InfoArgs) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{}", info(&args).await?)?)
}

async fn info(args: &InfoArgs) -> Result<String> {
    let client = Client::new(&args.url)?;
    let data_sources = client.get(&["api", "v1", "data-sources"]).await?;
    let indices = client.get(&["api", "v1", "indices"]).await?;
    if args.json {
        let (data_sources, indices): (Value, Value) = (data_sources.json()?, indices.json()?);
        return Ok(serde_json::to_string_pretty(&json!({"dataSources": data_sources, "indices": indices}))?);
    }
    let data_sources = data_source_table(&data_sources.json::<Vec<DataSourceItem>>()?);
    let indices = index_table(&indices.json::<Vec<IndexItem>>()?);
    Ok(format!("{data_sources}\n{indices}"))
}

fn data_source_table(data_sources: &[DataSourceItem]) -> Table {
    let mut table = table(&["data source", "version", "vectors", "attributes (* permanent)"]);
    for it in data_sources {
        let kind = if it.vectors_are_sparse { "sparse" } else { "dense" };
        let mark = |key| if it.permanent_attributes.contains(key) { "*" } else { "" };
        let attributes =
            it.attribute_value_types.iter().map(|(key, kind)| format!("{key}{}: {kind}", mark(key)));
        let attributes = attributes.collect::<Vec<_>>().join(", ");
        table.add_row([&it.name, &it.version, &format!("{kind}, {}", it.vector_dimension), &attributes]);
    }
    table
}

fn index_table(indices: &[IndexItem]) -> Table {
    let titles = ["index", "version", "data source", "algorithm", "split by", "shard", "state"];
    let numbers = ["points", "splits", "memory", "lag", "bad records"];
    let mut table = table(&[titles.as_slice(), &numbers].concat());
    for index in indices {
        for shard in &index.shards {
            table.add_row(index_row(index, shard));
        }
    }
    table
}

fn index_row(index: &IndexItem, shard: &ShardItem) -> Vec<Cell> {
    let data_source = format!("{} {}", index.data_source_name, index.data_source_version);
    let splits = index.split_attributes.join(", ");
    let texts =
        [&index.name, &index.version, &data_source, &index.index_algorithm, &splits, &shard.id, &shard.state];
    let numbers = [
        number(HumanCount(shard.data_points_count)),
        number(HumanCount(shard.splits_count)),
        number(HumanBytes(shard.bytes)),
        number(HumanCount(shard.lag_records)),
        number(HumanCount(shard.bad_records)),
    ];
    texts.into_iter().map(Cell::new).chain(numbers).collect()
}

fn number(value: impl Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles.to_vec());
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::client::testing::TestServer;

    #[tokio::test]
    async fn everything_is_listed() {
        let server = TestServer::start().await;
        server.upload_places(1234).await;
        let url = server.url.clone();
        let tables = info(&InfoArgs { url: url.clone(), json: false }).await.unwrap();
        for expected in
            ["Places", "dense, 2", "Id*: Int64, Name: String", "Places.L2", "Dense.L2", "ready", "1,234"]
        {
            assert!(tables.contains(expected), "no {expected} in\n{tables}");
        }
        let json: Value = serde_json::from_str(&info(&InfoArgs { url, json: true }).await.unwrap()).unwrap();
        assert_eq!(json["dataSources"][0]["vectorDimension"], 2);
        assert_eq!(json["indices"][0]["shards"][0]["dataPointsCount"], 1234);
        server.stop().await;
    }
}
