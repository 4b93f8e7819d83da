use std::path::Path;
use vektonn_core::Position;
use vektonn_core::codec::Record;
use vektonn_kafka::*;
fn b<F: Future>(f: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
}
fn main() {
    let free: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let s = EmbeddedDataSource::open(
        Path::new("/tmp/small/d"),
        EmbeddedOptions { free_bytes_min: free, ..Default::default() },
    )
    .unwrap();
    let mut n = 0u64;
    let mut errs = 0;
    loop {
        let recs = (0..100)
            .map(|i| Record {
                topic: "t".into(),
                key: format!("{n}-{i}").into_bytes(),
                value: Some(vec![(n % 251) as u8; 10_000]),
            })
            .collect();
        let t = std::time::Instant::now();
        match b(s.append(recs)) {
            Ok(_) => {
                n += 1;
                if t.elapsed().as_millis() > 500 {
                    println!("slow {:?} at {n}", t.elapsed());
                }
            }
            Err(e) => {
                errs += 1;
                println!("after {n}: {e} ({:?})", t.elapsed());
                if errs == 3 {
                    break;
                }
            }
        }
    }
    let mut tail = s.tail(vec![], Position::new()).unwrap();
    let _ = tail.next(std::time::Duration::from_millis(1));
    println!("dropping");
    drop(tail);
    drop(s);
    println!("dropped");
    match EmbeddedDataSource::open(Path::new("/tmp/small/d"), EmbeddedOptions::default()) {
        Ok(_) => println!("reopened"),
        Err(e) => println!("open: {e}"),
    }
}
