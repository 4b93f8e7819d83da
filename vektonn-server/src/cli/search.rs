//! `vektonn search`: one search, as a table or as JSON.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde_json::{Map, Value, json};
use vektonn_core::{FoundDataPoint, Position, StoredVector};

use super::output::{print, printable};
use crate::client::{Client, DEFAULT_URL, text_of};
use crate::dto;

const K_DEFAULT: u32 = 10;
const TABLE_COORDINATES_MAX: usize = 8;
const EXAMPLE: &str = r#"Examples:
  vektonn search --index QuickStart.Index --version 1.0 --vector '[1.2, 3.4]' -k 5
  vektonn search --index Demo.Dictionary.Cosine --version 1.0 \
      --vector '{"isSparse": true, "coordinates": [0.6, 0.8], "coordinateIndices": [17, 4711]}'

A whole query, with several vectors or a split filter, comes from a file or from standard input:
  echo '{"splitFilter": [{"key": "Label", "value": {"int64": 3}}], "queryVectors": [...], "k": 5}' |
      vektonn search --index Demo.Digits.ByLabel --version 1.0 --query -"#;

/// Search an index for the nearest data points
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct SearchArgs {
    /// Where the server listens
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Name of the index
    #[arg(long, value_name = "NAME")]
    index: String,
    /// Version of the index
    #[arg(long = "version", id = "index-version", value_name = "VERSION")]
    version: String,
    /// How many data points to find [default: 10, or what the query says]
    #[arg(short, value_name = "COUNT")]
    k: Option<u32>,
    /// How much of a sparse query's weight to look for: above 0, and 1 is exact [default: as the index is configured]
    #[arg(long, value_name = "SHARE")]
    approximation: Option<f32>,
    /// What to search for: a JSON list of coordinates, or a vector object
    #[arg(long, value_name = "JSON", required_unless_present = "query")]
    vector: Option<String>,
    /// A file with a whole search query as JSON; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "vector")]
    query: Option<PathBuf>,
    /// Show the vectors of what is found
    #[arg(long)]
    vectors: bool,
    /// Wait until the index has what an upload wrote: the position that `vektonn upload` printed
    #[arg(long, value_name = "POSITION")]
    min_position: Option<Position>,
    /// Print the server's JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Searches and prints what is found.
pub(crate) async fn run(args: SearchArgs) -> Result<()> {
    print(search(&args).await?)
}

async fn search(args: &SearchArgs) -> Result<String> {
    let query = query(args)?;
    let client = Client::new(&args.url)?;
    let min_position = args.min_position.clone().unwrap_or_default();
    let answer = client.search_json((&args.index, &args.version), &query, &min_position).await?;
    if args.json {
        return Ok(answer.text);
    }
    let tables: Vec<String> = answer.found()?.iter().map(|found| table(found)).collect();
    let numbered = (1..).zip(&tables).map(|(number, table)| format!("Query vector {number}\n{table}"));
    Ok(if tables.len() == 1 { tables.concat() } else { numbered.collect::<Vec<_>>().join("\n\n") })
}

/// The search query in JSON.
fn query(args: &SearchArgs) -> Result<Value> {
    let mut query = match (&args.query, &args.vector) {
        (Some(file), _) => read_query(file)?,
        (None, Some(vector)) => {
            json!({"queryVectors": [vector_object(vector)?], "retrieveVectors": false})
        }
        (None, None) => bail!("expected --vector or --query"),
    };
    let Some(members) = query.as_object_mut() else {
        bail!("expected a search query, {{\"queryVectors\": [...], \"k\": 10}}, got {query}");
    };
    match args.k {
        Some(k) => set(members, "k", k.into()),
        None if name_of(members, "k").is_none() => set(members, "k", K_DEFAULT.into()),
        None => {}
    }
    if args.vectors {
        set(members, "retrieveVectors", true.into());
    }
    if let Some(share) = args.approximation {
        set(members, "approximation", share.into());
    }
    Ok(query)
}

/// How the query spells a property, whose name the server reads whatever its case.
fn name_of(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

fn set(members: &mut Map<String, Value>, name: &str, value: Value) {
    members.insert(name_of(members, name).unwrap_or_else(|| name.to_owned()), value);
}

fn read_query(file: &Path) -> Result<Value> {
    let (text, name) = if file == Path::new("-") {
        (io::read_to_string(io::stdin()), "standard input".into())
    } else {
        (std::fs::read_to_string(file), file.display().to_string())
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    serde_json::from_slice(dto::without_byte_order_mark(text.as_bytes()))
        .with_context(|| format!("{name} is not JSON"))
}

fn vector_object(text: &str) -> Result<Value> {
    let value: Value =
        serde_json::from_str(text).with_context(|| format!("--vector: '{text}' is not JSON"))?;
    match value {
        Value::Array(coordinates) => Ok(json!({"isSparse": false, "coordinates": coordinates})),
        Value::Object(_) => Ok(value),
        _ => bail!("--vector: expected a list of coordinates such as [1.2, 3.4], got {text}"),
    }
}

fn table(found: &[FoundDataPoint]) -> String {
    let Some(first) = found.first() else { return "Nothing found.".to_owned() };
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let keys: Vec<&str> = first.attributes.iter().map(|it| it.key.as_str()).collect();
    let titles = keys.iter().map(|key| printable(key));
    let vectors = found.iter().any(|point| point.vector.is_some());
    table.set_header(
        ["#", "distance"]
            .map(str::to_owned)
            .into_iter()
            .chain(titles)
            .chain(vectors.then(|| "vector".to_owned())),
    );
    for (number, point) in (1..).zip(found) {
        let distance = Cell::new(point.distance).set_alignment(CellAlignment::Right);
        let attributes = keys.iter().map(|key| Cell::new(printable(&text_of(point, key))));
        let vector = vectors.then(|| Cell::new(point.vector.as_ref().map(coordinates).unwrap_or_default()));
        table.add_row([Cell::new(number), distance].into_iter().chain(attributes).chain(vector));
    }
    table.to_string()
}

/// The first coordinates of a vector, with their dimensions if it is sparse.
fn coordinates(vector: &StoredVector) -> String {
    let (shown, all): (Vec<String>, usize) = match vector {
        StoredVector::Dense(vector) => {
            let values = vector.as_slice();
            (values.iter().take(TABLE_COORDINATES_MAX).map(f32::to_string).collect(), values.len())
        }
        StoredVector::Sparse(vector) => {
            let pairs = vector.indices().iter().zip(vector.values()).take(TABLE_COORDINATES_MAX);
            (pairs.map(|(index, value)| format!("{index}: {value}")).collect(), vector.values().len())
        }
    };
    let more = if all > shown.len() { ", ..." } else { "" };
    format!("[{}{more}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use vektonn_core::{DenseVector, SparseVector};

    use super::*;
    use crate::client::testing::TestServer;

    fn args(server: &TestServer, vector: Option<&str>) -> SearchArgs {
        SearchArgs {
            url: server.url.clone(),
            index: "Places.L2".to_owned(),
            version: "1.0".to_owned(),
            k: None,
            approximation: None,
            vector: vector.map(str::to_owned),
            query: None,
            vectors: false,
            min_position: None,
            json: false,
        }
    }

    #[tokio::test]
    async fn the_nearest_are_shown() {
        let server = TestServer::start().await;
        assert_eq!(search(&args(&server, Some("[0, 0]"))).await.unwrap(), "Nothing found.");
        server.upload_places(20).await;

        let table = search(&args(&server, Some("[4.2, 0]"))).await.unwrap();
        assert_eq!(table.matches("place ").count(), 10, "{table}");
        assert!(table.lines().nth(3).unwrap().contains("place 4") && !table.contains("[4, 0]"), "{table}");

        let shorter = SearchArgs { k: Some(2), vectors: true, ..args(&server, Some("[4, 1]")) };
        let table = search(&shorter).await.unwrap();
        assert!(table.matches("place ").count() == 2 && table.contains("[4, 0]"), "{table}");

        let json = search(&SearchArgs { json: true, ..shorter }).await.unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json[0]["nearestDataPoints"][0]["distance"], 1.0);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_query_file_is_asked_as_it_is() {
        let server = TestServer::start().await;
        server.upload_places(20).await;
        let vectors =
            r#"[{"isSparse": false, "coordinates": [1, 0]}, {"isSparse": false, "coordinates": [9, 0]}]"#;
        let query = Some(server.file(&format!("\u{feff}{{\"QueryVectors\": {vectors}, \"K\": 3}}")));
        let from_file = SearchArgs { query, ..args(&server, None) };
        let tables = search(&from_file).await.unwrap();
        assert!(tables.contains("Query vector 2") && tables.matches("place ").count() == 6, "{tables}");
        let tables = search(&SearchArgs { k: Some(1), vectors: true, ..from_file }).await.unwrap();
        assert_eq!(tables.matches("place ").count(), 2, "{tables}");
        assert!(tables.contains("[1, 0]") && tables.contains("[9, 0]"), "{tables}");
        server.stop().await;
    }

    #[tokio::test]
    async fn the_share_to_look_for_is_handed_on() {
        let server = TestServer::start().await;
        server.upload_places(20).await;
        let with = |share, query: &str| SearchArgs {
            approximation: Some(share),
            query: Some(server.file(query)),
            ..args(&server, None)
        };
        let one = r#"{"queryVectors": [{"isSparse": false, "coordinates": [1, 0]}], "Approximation": 7}"#;
        let table = search(&with(0.5, one)).await.unwrap();
        assert_eq!(table.matches("place ").count(), 10, "dense indices do not need it: {table}");
        let refused = search(&with(1.5, one)).await.unwrap_err().to_string();
        assert_eq!(refused, "Approximation must be above 0 and at most 1");
        server.stop().await;
    }

    #[tokio::test]
    async fn what_is_wrong_is_told() {
        let server = TestServer::start().await;
        let told = async |args: SearchArgs| format!("{:#}", search(&args).await.unwrap_err());
        let unknown = SearchArgs { index: "Nowhere".to_owned(), ..args(&server, Some("[1, 2]")) };
        assert_eq!(told(unknown).await, "Index IndexId { Name = Nowhere, Version = 1.0 } does not exist");
        let wrong = "Vector coordinates must have dimension: 2";
        assert_eq!(told(args(&server, Some("[1]"))).await, wrong);
        let not_json = told(args(&server, Some("[1,"))).await;
        assert!(not_json.starts_with("--vector: '[1,' is not JSON: "), "{not_json}");
        let text = told(args(&server, Some("\"x\""))).await;
        assert!(text.starts_with("--vector: expected a list of coordinates"), "{text}");
        let list = SearchArgs { query: Some(server.file("[1]")), ..args(&server, None) };
        assert!(told(list).await.starts_with("expected a search query"));
        server.stop().await;
    }

    #[test]
    fn a_table_does_not_command_the_terminal() {
        let attributes = vec![vektonn_core::Attribute::new("Na\u{7}me", "a\u{1b}[2J")];
        let table = table(&[FoundDataPoint { attributes, distance: 1.0, vector: None }]);
        assert!(table.contains("Na\\u{7}me") && table.contains("a\\u{1b}[2J"), "{table}");
        assert!(!table.contains(['\u{7}', '\u{1b}']), "{table}");
    }

    #[test]
    fn long_vectors_are_cut() {
        let dense = |values: Vec<f32>| StoredVector::Dense(DenseVector::new(values).unwrap());
        assert_eq!(coordinates(&dense(vec![0.5; 8])), format!("[{}]", ["0.5"; 8].join(", ")));
        assert_eq!(coordinates(&dense(vec![1.0; 9])), "[1, 1, 1, 1, 1, 1, 1, 1, ...]");
        let sparse = SparseVector::new(&[3_u32, 7], &[0.5, 2.0], 8).unwrap();
        assert_eq!(coordinates(&StoredVector::Sparse(sparse)), "[3: 0.5, 7: 2]");
    }
}
