//! Dense vectors with your own ids and payloads: insert, search, update, delete.
//!
//!     cargo run -p vektonn-index --example dense

use vektonn_index::{IndexStore, Metric, SearchOptions, StoreChange};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let colours = IndexStore::dense(Metric::L2, 3)?;
    colours.apply([
        StoreChange::upsert(1, [1.0, 0.0, 0.0].try_into()?, "red"),
        StoreChange::upsert(2, [0.0, 1.0, 0.0].try_into()?, "green"),
        StoreChange::upsert(3, [0.0, 0.0, 1.0].try_into()?, "blue"),
        StoreChange::upsert(4, [1.0, 0.65, 0.0].try_into()?, "orange"),
    ])?;

    let tomato = [1.0, 0.39, 0.28];
    println!("Nearest to tomato:");
    for hit in colours.view().search(&tomato, &SearchOptions::new(2))? {
        println!("  {:<8} at {:.3}", hit.payload, hit.distance);
    }

    // A batch appears whole or not at all; searches never wait for it.
    colours.apply([StoreChange::delete(1), StoreChange::upsert(4, [1.0, 0.84, 0.0].try_into()?, "gold")])?;
    let nearest = colours.search(&tomato, &SearchOptions::new(1))?;
    println!("After red is gone and orange became gold: id {}", nearest[0].id);
    Ok(())
}
