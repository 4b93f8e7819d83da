//! A real Kafka for tests: the one that `VEKTONN_TEST_KAFKA` names (bootstrap servers).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use vektonn_kafka::{KafkaDataSource, KafkaOptions};

use super::{Setting, set_setting};

/// The bootstrap servers, if there are any. Says so if not, and gives this test names of its own if there are.
pub fn servers() -> Option<String> {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    let Ok(servers) = std::env::var("VEKTONN_TEST_KAFKA") else {
        println!("skipped: VEKTONN_TEST_KAFKA names no Kafka (start one: cargo xtask kafka up)");
        return None;
    };
    let started = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    set_setting(Setting {
        suffix: format!("-{}-{started}-{test}", std::process::id()),
        // Topics are looked for twice before they are believed to be gone.
        quiet: Duration::from_millis(1_500),
        compacts_at_once: false,
        value_bytes_max: 900_000,
    });
    Some(servers)
}

pub fn options(servers: &str) -> KafkaOptions {
    KafkaOptions { topic_list_interval: Duration::from_millis(500), ..KafkaOptions::new(servers) }
}

pub fn open(servers: &str) -> KafkaDataSource {
    KafkaDataSource::new(options(servers)).unwrap()
}
