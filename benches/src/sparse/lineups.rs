//! Who takes part.

use serde_json::{Value, json};
use vektonn_index::Metric;

use super::Size;
use crate::peers::Peer;

pub(super) const SCIPY: &str = "scipy";
pub(super) const NUMPY: &str = "numpy postings";
pub(super) const SPARSE_DOT_TOPN: &str = "sparse_dot_topn";
/// Libraries that search exactly, and have nothing to set.
pub(super) const EXACT: [&str; 5] = [SCIPY, NUMPY, SPARSE_DOT_TOPN, "scikit-learn", "nmslib inverted index"];
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
        one_thread: false,
    };
    let mut peers = vec![exact(SCIPY, "scipy_product"), exact(NUMPY, "numpy_postings")];
    if metric == Metric::JaccardBinary {
        return peers;
    }
    peers.push(exact(SPARSE_DOT_TOPN, "sparse_dot_topn_product"));
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
            one_thread: false,
        },
        Peer {
            label: NMSLIB_HNSW,
            engine: "nmslib_sparse",
            parameters: json!({"method": "hnsw", "m": 16, "ef_construction": size.ef_construction}),
            settings: settings(&[50, 100, 200, 400, 800].map(|ef| json!({"ef": ef}))),
            one_thread: false,
        },
        Peer {
            label: SPARNN,
            engine: "sparnn_clusters",
            parameters: json!({}),
            settings: settings(&[4, 16, 64].map(|clusters| json!({"clusters": clusters}))),
            one_thread: false,
        },
    ]);
    peers
}
