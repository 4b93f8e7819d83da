//! The first search of README.md.

use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = IndexStore::dense(Metric::L2, 2)?;
    store.apply([
        StoreChange::upsert("origin", [0.0, 0.0].try_into()?, ()),
        StoreChange::upsert("north", [0.0, 2.0].try_into()?, ()),
    ])?;
    let nearest = store.search(&[-0.5, 0.0], &SearchOptions::new(1))?;
    assert_eq!((nearest[0].id, nearest[0].distance), ("origin", 0.25));
    Ok(())
}
