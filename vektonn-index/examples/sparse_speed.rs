//! Sparse search of one thread over vectors from a file.
//!
//! `sparse_speed BASE QUERIES METRIC [SECONDS]`, where files are in big-ann's CSR format (i64 rows, columns and
//! non-zeros; i64 start of each row; i32 indices; f32 values) and the metric is IP, cosine or Jaccard. Reads lines from
//! the standard input and answers each: `single` with queries per second of time and of processor time, `check` with how many of
//! the first queries are answered as by comparing all points, `scan` with queries per second of a two-pointer
//! scan, `recall` with that of all queries, a number makes searches
//! approximate with this share, `churn` replaces every point once in single-point batches and
//! answers with changes per second likewise, and `bytes` with bytes in use. So it can be interleaved with others by a script.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::BufRead;
use std::time::{Duration, Instant};

use vektonn_index::{IndexStore, Metric, SearchOptions, SparseVector, StoreChange};

const K: usize = 10;
const CHECKED: usize = 100;

fn read(path: &str) -> (Vec<SparseVector>, usize) {
    let bytes = std::fs::read(path).unwrap();
    let long = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (rows, columns, non_zeros) = (long(0), long(8), long(16));
    let indices = 24 + (rows + 1) * 8;
    let values = indices + non_zeros * 4;
    let row = |row: usize| {
        let range = long(24 + row * 8)..long(32 + row * 8);
        let row_indices: Vec<u32> = range.clone().map(|i| word(indices + i * 4)).collect();
        let row_values: Vec<f32> = range.map(|i| f32::from_bits(word(values + i * 4))).collect();
        SparseVector::new(&row_indices, &row_values, columns).unwrap()
    };
    ((0..rows).map(row).collect(), columns)
}

/// What this process has used, by Linux's count of hundredths of a second; NaN elsewhere.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap_or(f64::NAN)).sum::<f64>() / 100.0
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// By merging the indices of both.
fn dot(a: &SparseVector, b: &SparseVector) -> f64 {
    let (mut sum, mut i, mut j) = (0.0, 0, 0);
    while let (Some(at_a), Some(at_b)) = (a.indices().get(i), b.indices().get(j)) {
        if at_a == at_b {
            sum += f64::from(a.values()[i]) * f64::from(b.values()[j]);
        }
        i += usize::from(at_a <= at_b);
        j += usize::from(at_b <= at_a);
    }
    sum
}

fn report(count: usize, started: Instant, cpu: f64) {
    let per_second = |seconds: f64| count as f64 / seconds;
    println!("{:.1} {:.1}", per_second(started.elapsed().as_secs_f64()), per_second(cpu_seconds() - cpu));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (base, dimension) = read(&arguments[0]);
    let (queries, _) = read(&arguments[1]);
    let metric = match arguments[2].as_str() {
        "IP" => Metric::InnerProduct,
        "Jaccard" => Metric::JaccardBinary,
        _ => Metric::Cosine,
    };
    let seconds = Duration::from_secs_f64(arguments.get(3).map_or(1.0, |seconds| seconds.parse().unwrap()));
    let store = IndexStore::<u32>::sparse(metric, dimension).unwrap();
    let before = resident_bytes();
    let started = Instant::now();
    let points = base.iter().zip(0..).map(|(vector, id)| StoreChange::upsert(id, vector.clone().into(), ()));
    let points: Vec<_> = points.collect();
    for points in points.chunks(1000) {
        store.apply(points.to_vec()).unwrap();
    }
    drop(points);
    let insert = started.elapsed();
    let non_zeros: usize = base.iter().map(|vector| vector.values().len()).sum();
    eprintln!(
        "{} points, {non_zeros} non-zeros: inserted at {:.0}/s, {:.2} bytes per non-zero, {:.2} resident",
        base.len(),
        base.len() as f64 / insert.as_secs_f64(),
        store.bytes() as f64 / non_zeros as f64,
        (resident_bytes() - before) as f64 / non_zeros as f64,
    );
    let mut options = SearchOptions::new(K);
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            share if share.parse::<f32>().is_ok() => {
                options.approximation = share.parse().ok();
                println!("share {share}");
            }
            "recall" => {
                // Ties count by their distance.
                let found = queries.iter().map(|query| {
                    let exact = store.search(query, &SearchOptions::new(K)).unwrap();
                    let found = store.search(query, &options).unwrap();
                    found.iter().filter(|found| found.distance <= exact[K - 1].distance).count()
                });
                println!("{:.4}", found.sum::<usize>() as f64 / (K * queries.len()) as f64);
            }
            "single" => {
                let (mut count, started, cpu) = (0, Instant::now(), cpu_seconds());
                while started.elapsed() < seconds {
                    store.search(&queries[count % queries.len()], &options).unwrap();
                    count += 1;
                }
                report(count, started, cpu);
            }
            "scan" => {
                let (mut count, started, cpu) = (0, Instant::now(), cpu_seconds());
                while started.elapsed() < seconds {
                    let query = &queries[count % queries.len()];
                    let mut products: Vec<_> = base.iter().map(|vector| dot(vector, query)).collect();
                    products.select_nth_unstable_by(K, |a, b| b.total_cmp(a));
                    count += 1;
                }
                report(count, started, cpu);
            }
            "check" => {
                let agree = |query: &&SparseVector| {
                    let all = store.search(*query, &SearchOptions::new(store.len())).unwrap();
                    store.search(*query, &options).unwrap()[..] == all[..K]
                };
                let found = queries.iter().take(CHECKED).filter(agree).count();
                println!("{found} of {}", queries.len().min(CHECKED));
            }
            "churn" => {
                let (started, cpu) = (Instant::now(), cpu_seconds());
                for (i, vector) in base.iter().enumerate() {
                    // A step without a common divisor: not in the order of insertion.
                    let id = (i * 7919 % base.len()) as u32;
                    store.apply([StoreChange::upsert(id, vector.clone().into(), ())]).unwrap();
                }
                report(base.len(), started, cpu);
            }
            "bytes" => println!("{:.3}", store.bytes() as f64 / non_zeros as f64),
            other => println!("unknown: {other}"),
        }
    }
}
