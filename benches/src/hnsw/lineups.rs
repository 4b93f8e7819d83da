//! Who takes part.

use serde_json::{Value, json};

use crate::peers::Peer;

pub(super) const HNSWLIB: &str = "hnswlib";
/// Graphs of the same kind, on f32.
pub(super) const GRAPHS: [&str; 3] = [HNSWLIB, "faiss HNSWFlat", "usearch f32"];

/// All libraries from PyPI, for `rows` vectors. Graphs with M 16 have 32 neighbours in their lowest layer.
pub(super) fn peers(rows: usize) -> Vec<Peer> {
    let graph =
        |label, engine, parameters| Peer { label, engine, parameters, settings: efs(), one_thread: false };
    vec![
        graph(GRAPHS[0], "hnswlib_hnsw", json!({"m": 16, "ef_construction": 200})),
        graph(GRAPHS[1], "faiss_hnsw", json!({"m": 16, "ef_construction": 200})),
        graph("faiss HNSW-SQ8", "faiss_hnsw", json!({"m": 16, "ef_construction": 200, "codes": "SQ8"})),
        graph(GRAPHS[2], "usearch_hnsw", json!({"m": 16, "ef_construction": 200, "dtype": "f32"})),
        graph("usearch bf16", "usearch_hnsw", json!({"m": 16, "ef_construction": 200, "dtype": "bf16"})),
        graph("usearch i8", "usearch_hnsw", json!({"m": 16, "ef_construction": 200, "dtype": "i8"})),
        graph("SVS Vamana", "svs_vamana", json!({"m": 32, "ef_construction": 200})),
        graph("SVS LVQ4x8", "svs_vamana", json!({"m": 32, "ef_construction": 200, "codes": "LVQ4x8"})),
        // Its binding keeps Python's lock while it searches, and has no batches.
        Peer {
            one_thread: true,
            ..graph("VSAG HGraph", "vsag_hgraph", json!({"m": 32, "ef_construction": 200}))
        },
        scann(rows),
    ]
}

/// The setting `ef` of graphs.
pub(super) fn efs() -> Vec<Value> {
    [16, 24, 40, 64, 100, 160, 280].map(|ef| json!({"ef": ef})).to_vec()
}

/// Its number of leaves grows with the root of the rows, and so does that of those to be searched.
fn scann(rows: usize) -> Peer {
    let leaves = (rows as f64).sqrt() * 1.6;
    let setting = |(share, reorder): (f64, usize)| {
        let searched = (leaves * share).ceil() as usize;
        json!({"leaves": searched, "reorder": reorder})
    };
    Peer {
        label: "ScaNN",
        engine: "scann_tree",
        parameters: json!({"leaves": leaves as usize}),
        settings: [(0.01, 30), (0.02, 40), (0.04, 60), (0.06, 100), (0.1, 100), (0.15, 150), (0.25, 200)]
            .map(setting)
            .to_vec(),
        one_thread: false,
    }
}
