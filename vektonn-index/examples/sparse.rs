//! Sparse vectors, from slices and from sprs, by cosine.
//!
//!     cargo run -p vektonn-index --example sparse

use vektonn_index::sprs::CsVec;
use vektonn_index::{IndexStore, Metric, SearchOptions, SparseVector, StoreChange, sparse_from_sprs};

const WORDS: [&str; 6] = ["bark", "cat", "dog", "house", "mouse", "tree"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let documents = IndexStore::sparse(Metric::Cosine, WORDS.len())?;
    // Indices may come in any order.
    let dogs_bark = SparseVector::new(&[2, 0], &[1.0, 1.0], WORDS.len())?;
    let tree_bark = CsVec::new(WORDS.len(), vec![0, 5], vec![1.0, 2.0]);
    let cat_and_mouse = SparseVector::new(&[1, 4, 3], &[1.0, 1.0, 0.5], WORDS.len())?;
    documents.apply([
        StoreChange::upsert("dogs bark", dogs_bark.into(), ()),
        StoreChange::upsert(
            "the bark of a tree",
            sparse_from_sprs(tree_bark.view(), WORDS.len())?.into(),
            (),
        ),
        StoreChange::upsert("cat and mouse in the house", cat_and_mouse.into(), ()),
    ])?;

    let query = SparseVector::new(&[0, 5], &[1.0, 1.0], WORDS.len())?;
    println!("bark, tree:");
    for found in documents.search(&query, &SearchOptions::new(3))? {
        println!("  {:.3}  {}", found.distance, found.id);
    }
    Ok(())
}
