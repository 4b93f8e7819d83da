//! Who takes part.

use serde_json::{Value, json};
use vektonn_index::Metric;

use super::Size;
use crate::peers::Peer;

/// Libraries that search exactly, and have nothing to set.
pub(super) const EXACT: [&str; 5] =
    ["scipy", "numpy postings", "sparse_dot_topn", "scikit-learn", "nmslib inverted index"];
pub(super) const SEISMIC: &str = "seismic";
pub(super) const NMSLIB_HNSW: &str = "nmslib HNSW";
pub(super) const SPARNN: &str = "PySparNN's algorithm";

/// Those that know the metric.
pub(super) fn of(metric: Metric, size: &Size) -> Vec<Peer> {
    let exact = |label: &'static str, engine: &'static str| Peer {
        label,
        engine,
        parameters: json!({}),
        settings: vec![json!({})],
    };
    let mut peers = vec![exact(EXACT[0], "scipy_product"), exact(EXACT[1], "numpy_postings")];
    if metric == Metric::JaccardBinary {
        return peers;
    }
    peers.push(exact(EXACT[2], "sparse_dot_topn_product"));
    peers.push(exact(EXACT[4], "nmslib_sparse"));
    if metric == Metric::Cosine {
        peers.push(exact(EXACT[3], "sklearn_brute"));
    }
    let settings =
        |values: &[Value]| -> Vec<Value> { values.iter().step_by(size.settings_step).cloned().collect() };
    peers.extend([
        Peer {
            label: SEISMIC,
            engine: "seismic_raw",
            // Its defaults reach 0.97 on the text set; these, in twice the time to build, 0.998.
            parameters: json!({"n_postings": 8000, "summary_energy": 0.6, "doc_cut": 64}),
            settings: settings(
                &[(5, 0.9), (10, 0.8), (10, 0.9), (15, 0.9), (20, 0.9), (20, 0.8), (42, 1.0)].map(
                    |(query_cut, heap_factor)| json!({"query_cut": query_cut, "heap_factor": heap_factor}),
                ),
            ),
        },
        Peer {
            label: NMSLIB_HNSW,
            engine: "nmslib_sparse",
            parameters: json!({"method": "hnsw", "m": 16, "ef_construction": size.ef_construction}),
            settings: settings(&[50, 100, 200, 400, 800].map(|ef| json!({"ef": ef}))),
        },
        Peer {
            label: SPARNN,
            engine: "sparnn_clusters",
            parameters: json!({}),
            settings: settings(&[4, 16, 64].map(|clusters| json!({"clusters": clusters}))),
        },
    ]);
    peers
}
