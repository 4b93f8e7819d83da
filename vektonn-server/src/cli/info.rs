//! `vektonn info`: what a server has, and how it is.

use std::fmt::Display;

use anyhow::Result;
use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::output::{print, printable};
use crate::client::{Client, DEFAULT_URL};
use crate::dto::{DataSourceItem, IndexItem, ShardDetails, ShardItem};

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
    print(info(&args).await?)
}

async fn info(args: &InfoArgs) -> Result<String> {
    let client = Client::new(&args.url)?;
    let data_sources = client.get(&["api", "v1", "data-sources"]).await?;
    let indices = client.get(&["api", "v1", "indices"]).await?;
    if args.json {
        let (data_sources, indices): (Value, Value) = (data_sources.json()?, indices.json()?);
        return Ok(serde_json::to_string_pretty(&json!({"dataSources": data_sources, "indices": indices}))?);
    }
    let indices: Vec<IndexItem> = indices.json()?;
    let data_sources = data_sources.json::<Vec<DataSourceItem>>()?;
    Ok(data_sources.iter().map(|it| describe(it, &indices)).collect::<Vec<_>>().join("\n\n"))
}

/// A data source and the indices on it.
fn describe(source: &DataSourceItem, indices: &[IndexItem]) -> String {
    let kind = if source.vectors_are_sparse { "sparse" } else { "dense" };
    let mark = |key| if source.permanent_attributes.contains(key) { "*" } else { "" };
    let attributes =
        source.attribute_value_types.iter().map(|(key, kind)| format!("{key}{} {kind}", mark(key)));
    let title = format!(
        "Data source {} {}: {kind} vectors of {} dimensions; attributes (* permanent): {}",
        source.name,
        source.version,
        HumanCount(source.vector_dimension as u64),
        attributes.collect::<Vec<_>>().join(", ")
    );
    let is_on_it =
        |it: &&IndexItem| it.data_source_name == source.name && it.data_source_version == source.version;
    let indices: Vec<&IndexItem> = indices.iter().filter(is_on_it).collect();
    if indices.is_empty() {
        format!("{}\nNo index.", printable(&title))
    } else {
        format!("{}\n{}", printable(&title), index_table(&indices))
    }
}

fn index_table(indices: &[&IndexItem]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let titles = [
        "index",
        "algorithm",
        "search",
        "split by",
        "shard",
        "state",
        "points",
        "memory",
        "lag",
        "bad records",
    ];
    table.set_header(titles);
    for index in indices {
        for shard in &index.shards {
            table.add_row(index_row(index, shard));
        }
    }
    // On a narrow terminal names stay whole.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

fn index_row(index: &IndexItem, shard: &ShardItem) -> Vec<Cell> {
    let (name, details) = (format!("{} {}", index.name, index.version), shard.details.as_ref());
    let splits = match index.split_attributes.as_slice() {
        [] => String::new(),
        keys => format!("{} ({})", keys.join(", "), known(details.map(|it| HumanCount(it.splits_count)))),
    };
    let search = if index.searches_exactly { "exact" } else { "approximate" };
    let texts = [&name, &index.index_algorithm, search, &splits, &shard.id, &shard.state];
    let numbers = [
        number(shard.data_points_count.map(HumanCount)),
        number(details.map(|it| HumanBytes(it.bytes))),
        number(details.map(lag)),
        number(details.map(|it| HumanCount(it.bad_records))),
    ];
    texts.into_iter().map(|text| Cell::new(printable(text))).chain(numbers).collect()
}

fn lag(shard: &ShardDetails) -> String {
    match shard.lag_records {
        0 => "0".to_owned(),
        records => format!("{} ({:.1} s)", HumanCount(records), shard.lag_seconds),
    }
}

/// Of a shard in another process not all is known here.
fn known(value: Option<impl Display>) -> String {
    value.map_or("?".to_owned(), |value| value.to_string())
}

fn number(value: Option<impl Display>) -> Cell {
    Cell::new(known(value)).set_alignment(CellAlignment::Right)
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
        for expected in [
            "Places 1.0: dense vectors of 2 dimensions",
            "Id* Int64, Name String",
            "Places.L2",
            "Dense.L2",
            "ready",
            "1,234",
        ] {
            assert!(tables.contains(expected), "no {expected} in\n{tables}");
        }
        let json: Value = serde_json::from_str(&info(&InfoArgs { url, json: true }).await.unwrap()).unwrap();
        assert_eq!(json["dataSources"][0]["vectorDimension"], 2);
        assert_eq!(json["indices"][0]["shards"][0]["dataPointsCount"], 1234);
        server.stop().await;
    }
}
