//! Exact search of one thread over vectors from a file, alone and in batches, next to a scan of all vectors.
//!
//! `exact_speed BASE QUERIES METRIC [SECONDS]`, where files are u8bin or fbin (u32 count, u32 dimension, coordinates as u8
//! or f32) and the metric is L2, IP or cosine. Reads lines of `single` or `batch` from the standard input, if there are
//! any, answers each with queries per second of time and of processor time, and so can be interleaved with others by a script.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::BufRead;
use std::time::{Duration, Instant};

use faer::MatRef;
use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange, StoredVector};

const K: usize = 10;

fn read(path: &str) -> (usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let dimension = number(4);
    let values = if path.ends_with("u8bin") {
        bytes[8..].iter().map(|&x| f32::from(x)).collect()
    } else {
        bytes[8..].as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
    };
    (dimension, values)
}

/// What this process has used, by Linux's count of hundredths of a second; NaN elsewhere.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap_or(f64::NAN)).sum::<f64>() / 100.0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (dimension, base) = read(&arguments[0]);
    let (_, queries) = read(&arguments[1]);
    let metric = match arguments[2].as_str() {
        "L2" => Metric::L2,
        "IP" => Metric::InnerProduct,
        _ => Metric::Cosine,
    };
    let seconds = arguments.get(3).map_or(1.0, |seconds| seconds.parse().unwrap());
    let store = IndexStore::<u32>::dense(metric, dimension).unwrap();
    let started = Instant::now();
    for (i, rows) in base.chunks(dimension * 1000).enumerate() {
        let changes = rows.chunks(dimension).enumerate().map(|(j, row)| {
            let vector = StoredVector::try_from(row).unwrap();
            StoreChange::upsert((i * 1000 + j) as u32, vector, ())
        });
        store.apply(changes).unwrap();
    }
    let rows = base.len() / dimension;
    let insert = started.elapsed();
    eprintln!(
        "{rows} x {dimension}: inserted at {:.0}/s, {:.3} of the raw bytes",
        rows as f64 / insert.as_secs_f64(),
        store.bytes() as f64 / (base.len() * 4) as f64
    );
    drop(base);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let options = SearchOptions::new(K);
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (mut count, mut at) = (0, 0);
        let (started, cpu) = (Instant::now(), cpu_seconds());
        while started.elapsed() < Duration::from_secs_f64(seconds) {
            let together = if line == "single" { 1 } else { 256 };
            let first = at % (queries.len() / dimension - together + 1);
            let some = &queries[first * dimension..][..together * dimension];
            if together == 1 {
                store.search(some, &options).unwrap();
            } else {
                let some = MatRef::from_row_major_slice(some, together, dimension);
                pool.install(|| store.search_batch(some, &options)).unwrap();
            }
            count += together;
            at += together;
        }
        let per_second = |seconds: f64| count as f64 / seconds;
        println!("{:.1} {:.1}", per_second(started.elapsed().as_secs_f64()), per_second(cpu_seconds() - cpu));
    }
}
