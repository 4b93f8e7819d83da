//! Points per second through HTTP into Kafka, next to a producer that has the records already.

use anyhow::{Context, Result};
use vektonn_core::codec::Record;

use super::{BenchTopic, Kafka, bare};
use crate::catalog::Catalog;
use crate::data::Points;
use crate::ingest::stopwatch::{Outcome, Stopwatch};
use crate::ingest::system::spawn_api;
use crate::ingest::threads::in_turns;
use crate::ingest::upload::Uploads;
use crate::report::{Goal, Report, Required};
use crate::stats::Spread;

const SEED: u64 = 5;
const RATIO_MIN: f64 = 0.7;

#[derive(Clone, Copy, Default)]
struct Round {
    http: Outcome,
    producer: Outcome,
    waiting_producer: Outcome,
}

#[derive(Clone, Copy)]
enum Step {
    Http,
    /// A producer that sends everything and then waits.
    Producer,
    /// A producer that as many threads use as HTTP has connections, each waiting for one batch before the next.
    WaitingProducer,
}

/// A step, ready to begin: its topic is there, and one batch has been through.
struct Ready<'a> {
    kafka: &'a Kafka<'a>,
    uploads: &'a Uploads,
    catalog: Catalog,
    topic: BenchTopic,
}

pub(in crate::ingest) fn measure(kafka: &Kafka<'_>, report: &mut Report) -> Result<()> {
    let points = Points::random(kafka.size().kafka_upload_points, kafka.setup.dimension, SEED)?;
    let uploads = Uploads::new(&points)?;
    let mut rounds = vec![];
    // The first round warms up.
    for number in 0..=kafka.size().rounds {
        eprintln!("kafka upload: round {number} of {}", kafka.size().rounds);
        rounds.push(run_round(kafka, &uploads, number)?);
    }
    add_results(kafka, &points, &uploads, &rounds[1..], report);
    Ok(())
}

fn run_round(kafka: &Kafka<'_>, uploads: &Uploads, number: usize) -> Result<Round> {
    let mut steps = [Step::Http, Step::Producer, Step::WaitingProducer];
    let first = number % steps.len();
    steps.rotate_left(first);
    let mut round = Round::default();
    for (place, step) in steps.into_iter().enumerate() {
        let catalog = kafka.catalog(&format!("upload-{number}-{place}"));
        let topic = BenchTopic::create(kafka.servers, &catalog)?;
        let ready = Ready { kafka, uploads, catalog, topic };
        match step {
            Step::Http => round.http = ready.over_http().context("HTTP")?,
            Step::Producer => round.producer = ready.produce().context("a producer")?,
            Step::WaitingProducer => {
                round.waiting_producer = ready.produce_waiting().context("a waiting producer")?;
            }
        }
        ready.topic.check_end(uploads.points + uploads.records[0].len())?;
        ready.topic.delete()?;
    }
    Ok(round)
}

impl Ready<'_> {
    fn over_http(&self) -> Result<Outcome> {
        let Self { kafka, uploads, catalog, .. } = self;
        let mut server = spawn_api(kafka.setup, kafka.servers, catalog, &[])?;
        server.wait_ready()?;
        let path = catalog.upload_path();
        server.client().upload(&path, &uploads.bodies[0])?;
        let stopwatch = Stopwatch::start(server.id());
        in_turns(kafka.setup.connections, &uploads.bodies, || {
            let client = server.client();
            let path = &path;
            move |body: &Vec<u8>| client.upload(path, body).map(drop)
        })?;
        Ok(stopwatch.read(uploads.points))
    }

    fn producer(&self) -> Result<bare::Producer> {
        let producer = bare::Producer::new(self.kafka.servers, self.topic.name())?;
        producer.send(&self.uploads.records[0])?.wait()?;
        Ok(producer)
    }

    fn produce(&self) -> Result<Outcome> {
        let producer = self.producer()?;
        let stopwatch = Stopwatch::start(std::process::id());
        producer.send(self.uploads.records.iter().flatten())?.wait()?;
        Ok(stopwatch.read(self.uploads.points))
    }

    fn produce_waiting(&self) -> Result<Outcome> {
        let producer = self.producer()?;
        let stopwatch = Stopwatch::start(std::process::id());
        in_turns(self.kafka.setup.connections, &self.uploads.records, || {
            |batch: &Vec<Record>| producer.send(batch)?.wait()
        })?;
        Ok(stopwatch.read(self.uploads.points))
    }
}

fn add_results(kafka: &Kafka<'_>, points: &Points, uploads: &Uploads, rounds: &[Round], report: &mut Report) {
    let connections = kafka.setup.connections;
    let heading = format!(
        "Kafka upload: {}, {connections} connections to one API process, until acknowledged. The goal's reference is \
         the producer that waits as uploads do; one that never waits is harder to follow. Medians of {} rounds (range).",
        uploads.describe(points),
        rounds.len(),
    );
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
    let ratio_to = |of: fn(&Round) -> Outcome| {
        spread(&|round| round.http.points_per_second / of(round).points_per_second)
    };
    let row = |what: &str, of: fn(&Round) -> Outcome| {
        let rate = spread(&|round| of(round).points_per_second);
        let cpu = spread(&|round| of(round).cpu_us_per_point);
        [what.to_owned(), format!("{rate:.0}"), format!("{cpu:.1}"), format!("{:.2}", ratio_to(of))]
    };
    let waiting = format!("bare producer, {connections} threads that wait for each batch");
    let rows = [
        row("HTTP upload", |round| round.http),
        row("bare producer, sends all and then waits", |round| round.producer),
        row(&waiting, |round| round.waiting_producer),
    ];
    report.add_table(heading, ["", "points/s", "CPU us/point", "upload rate / this"], rows);
    let name = "kafka_upload_rate_per_bare_producer_rate";
    // Like for like: batches as large, as many at the same time, each acknowledged before the next.
    let measured = ratio_to(|round| round.waiting_producer).median;
    report.add_goal(Goal::new(name, Required::AtLeast(RATIO_MIN), measured));
}
