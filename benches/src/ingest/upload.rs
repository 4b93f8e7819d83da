//! Points per second through HTTP, next to what must be done anyway: parsing the JSON, writing to the disk.

use std::hint::black_box;
use std::str::FromStr;

use anyhow::{Context, Result};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;
use vektonn_core::Position;
use vektonn_core::codec::{Record, encode_record};

use super::dto::InputDataPoint;
use super::stopwatch::{Outcome, Stopwatch};
use super::threads::in_turns;
use super::{Setup, UPLOAD_POINTS};
use crate::catalog::Catalog;
use crate::data::Points;
use crate::report::{Goal, Report, Required};
use crate::server::Server;
use crate::stats::Spread;

const SEED: u64 = 1;

/// The same points in all forms.
pub(super) struct Uploads {
    pub(super) points: usize,
    pub(super) bodies: Vec<Vec<u8>>,
    /// The records of each body.
    pub(super) records: Vec<Vec<Record>>,
    any_search: Vec<u8>,
}

/// One round's outcomes.
#[derive(Clone, Copy, Default)]
struct Round {
    parse: Outcome,
    acknowledged: Outcome,
    searchable: Outcome,
    fjall: Outcome,
    fjall_grouped: Outcome,
}

#[derive(Clone, Copy)]
enum Step {
    Parse,
    Http,
    Fjall,
    FjallGrouped,
}

pub(super) fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let points = Points::random(setup.size.upload_points, setup.dimension, SEED)?;
    let uploads = Uploads::new(&points)?;
    let mut rounds = vec![];
    for round in 0..setup.size.rounds {
        eprintln!("upload: round {} of {}", round + 1, setup.size.rounds);
        rounds.push(run_round(setup, &uploads, round)?);
    }
    add_results(setup, &points, &uploads, &rounds, report);
    Ok(())
}

/// Each round begins with another step, so that none of them always follows the same one.
fn run_round(setup: &Setup, uploads: &Uploads, number: usize) -> Result<Round> {
    let mut steps = [Step::Parse, Step::Http, Step::Fjall, Step::FjallGrouped];
    let first = number % steps.len();
    steps.rotate_left(first);
    let mut round = Round::default();
    for step in steps {
        match step {
            Step::Parse => round.parse = parse(uploads)?,
            Step::Http => [round.acknowledged, round.searchable] = upload(setup, uploads)?,
            Step::Fjall => round.fjall = write(setup, uploads, 1)?,
            Step::FjallGrouped => round.fjall_grouped = write(setup, uploads, setup.connections)?,
        }
    }
    Ok(round)
}

impl Uploads {
    pub(super) fn new(points: &Points) -> Result<Self> {
        let meta = Catalog::new(points.dimension()).meta()?;
        let record = |row| encode_record(meta.data_source(), &points.change(row));
        Ok(Self {
            points: points.len(),
            bodies: points.batches(UPLOAD_POINTS).map(|rows| points.upload_body(rows, 0)).collect(),
            records: points.batches(UPLOAD_POINTS).map(|rows| rows.map(record).collect()).collect(),
            any_search: points.search_body(0, 1),
        })
    }

    fn body_bytes(&self) -> usize {
        self.bodies.iter().map(Vec::len).sum()
    }

    /// What they are, for people.
    pub(super) fn describe(&self, points: &Points) -> String {
        let per_point = |bytes: usize| bytes as f64 / self.points as f64;
        format!(
            "{} points of {} dimensions, {UPLOAD_POINTS} per request; JSON: {:.1} digits per coordinate, {:.0} bytes \
             per point; in the log: {:.0} bytes",
            self.points,
            points.dimension(),
            points.mean_digits(),
            per_point(self.body_bytes()),
            per_point(self.records.iter().flatten().map(record_bytes).sum()),
        )
    }
}

/// What a record takes in the log.
pub(super) fn record_bytes(record: &Record) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, Vec::len)
}

/// serde_json alone, on this thread.
fn parse(uploads: &Uploads) -> Result<Outcome> {
    let stopwatch = Stopwatch::start(std::process::id());
    for body in &uploads.bodies {
        black_box(serde_json::from_slice::<Vec<InputDataPoint>>(body)?);
    }
    Ok(stopwatch.read(uploads.points))
}

/// Until the last upload is acknowledged, and until all points are searchable.
fn upload(setup: &Setup, uploads: &Uploads) -> Result<[Outcome; 2]> {
    let catalog = Catalog::new(setup.dimension);
    let server = Server::start(&setup.binary, &catalog.files(&[]), &setup.dir)?;
    let path = catalog.upload_path();
    let position = Mutex::new(Position::new());
    let stopwatch = Stopwatch::start(server.id());
    in_turns(setup.connections, &uploads.bodies, || {
        let client = server.client();
        let (path, position) = (&path, &position);
        move |body| {
            let token = client.upload(path, body)?;
            position.lock().merge_max(&Position::from_str(&token).context("a position")?);
            Ok(())
        }
    })?;
    let acknowledged = stopwatch.read(uploads.points);
    server.client().search_after(
        &position.into_inner().to_string(),
        &catalog.search_path(),
        &uploads.any_search,
    )?;
    Ok([acknowledged, stopwatch.read(uploads.points)])
}

/// The storage engine alone: the same keys and values, with one fsync for every `uploads_per_sync` uploads.
fn write(setup: &Setup, uploads: &Uploads, uploads_per_sync: usize) -> Result<Outcome> {
    let dir = tempfile::tempdir_in(&setup.dir)?;
    // Synced by its commits only, as the embedded data source does it.
    let db = Database::builder(dir.path()).manual_journal_persist(true).open()?;
    let keyspace = db.keyspace("points", KeyspaceCreateOptions::default)?;
    let stopwatch = Stopwatch::start(std::process::id());
    for group in uploads.records.chunks(uploads_per_sync) {
        let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
        for record in group.iter().flatten() {
            let value = record.value.as_deref().unwrap_or_default();
            batch.insert(&keyspace, record.key.as_slice(), value);
        }
        batch.commit()?;
    }
    Ok(stopwatch.read(uploads.points))
}

fn add_results(setup: &Setup, points: &Points, uploads: &Uploads, rounds: &[Round], report: &mut Report) {
    let heading = format!(
        "Upload: {}, {} connections. Medians of {} rounds (range).",
        uploads.describe(points),
        setup.connections,
        rounds.len(),
    );
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
    let json_mb = uploads.body_bytes() as f64 / uploads.points as f64 / 1e6;
    let ratio_to = |of: fn(&Round) -> Outcome| {
        spread(&|round| round.acknowledged.points_per_second / of(round).points_per_second)
    };
    let row = |what: &str, of: fn(&Round) -> Outcome| {
        let rate = spread(&|round| of(round).points_per_second);
        let cpu = spread(&|round| of(round).cpu_us_per_point);
        let json_rate = rate.median * json_mb;
        [
            what,
            &format!("{rate:.0}"),
            &format!("{json_rate:.0}"),
            &format!("{cpu:.1}"),
            &format!("{:.2}", ratio_to(of)),
        ]
        .map(str::to_owned)
    };
    let grouped = format!("fjall alone, 1 fsync per {} requests", setup.connections);
    let rows = [
        row("HTTP upload, until acknowledged", |round| round.acknowledged),
        row("HTTP upload, until searchable", |round| round.searchable),
        row("serde_json alone, 1 core", |round| round.parse),
        row("fjall alone, 1 fsync per request", |round| round.fjall),
        row(&grouped, |round| round.fjall_grouped),
    ];
    report.add_table(heading, ["", "points/s", "JSON MB/s", "CPU us/point", "upload rate / this"], rows);
    report.add_summary(format!(
        "upload over HTTP: {:.0} points of {} dimensions per second, each on disk when it is acknowledged; {:.2} of the rate at \
         which one core parses their JSON",
        spread(&|round| round.acknowledged.points_per_second).median,
        points.dimension(),
        ratio_to(|round| round.parse).median
    ));
    let ratio = ratio_to(|round| round.parse).median;
    report.add_goal(Goal::new("upload_rate_per_serde_json_rate", Required::AtLeast(0.5), ratio));
}
